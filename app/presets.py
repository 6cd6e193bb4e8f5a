"""The styles that suit the servers people have, as measured or read (docs/wording.md says why).

A preset chooses the shape and what the content is written in, never the words.
"""

from dataclasses import dataclass, replace

from app.style import Shape, Style


@dataclass(frozen=True, slots=True)
class Preset:
    """What suits one kind of server, and in a sentence why."""

    name: str
    label: str
    shape: Shape
    html: bool
    why: str

    def applied(self, style: Style) -> Style:
        """Return ``style`` in the shape of this preset; all else stays."""
        return replace(style, shape=self.shape, html=self.html)


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "wordpress",
            "WordPress (Post Kinds)",
            Shape.NESTED,
            html=True,
            why=(
                "Post Kinds shows a nested watch as what it is, and fetches and replaces a plain "
                "address. WordPress would show the signs of a plain text as they are, not as links."
            ),
        ),
        Preset(
            "indiekit",
            "Indiekit",
            Shape.NESTED,
            html=True,
            why="It keeps everything, and turns HTML into Markdown.",
        ),
        Preset(
            "micro.blog",
            "Micro.blog",
            Shape.FORM,
            html=False,
            why=(
                "It documents form-encoded posts, and is told in that form not to cross-post "
                "everywhere. What counts there is the text."
            ),
        ),
        Preset(
            "known",
            "Known",
            Shape.NESTED,
            html=True,
            why="It shows the content and ignores what it does not know.",
        ),
        Preset(
            "drupal",
            "Drupal (IndieWeb)",
            Shape.NESTED,
            html=False,
            why="Its notes want a content and no name; plain text is safe.",
        ),
        Preset(
            "microblog.pub",
            "microblog.pub",
            Shape.NOTE,
            html=False,
            why="It keeps the content alone, and breaks at anything but a plain text there.",
        ),
    )
}


def suggested(server: str) -> Preset | None:
    """Return what suits a server that was recognised as ``server``, None for any other."""
    return PRESETS.get(server)
