"""What a person is told, or asked, once: kinds of notices, and the message that tells of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a notice is about. One of each kind and subject is open at a time."""

    # The connection stopped: the person connects again.
    TRAKT = "trakt"
    # The site no longer takes our key: the person signs in again.
    SITE = "site"
    # Posts failed in a row, so nothing is sent until the person, or a later try, says go on.
    PAUSED = "paused"
    # Posts of which nobody can tell whether they arrived, as a digest.
    UNSURE = "unsure"
    # Many plays of one show became known at once; the subject is the show's id.
    BUNCH = "bunch"
    # The site holds older posts of ours: shall posting start from the newest of them?
    START = "start"
    # This database may be an old copy, and the site cannot be read: what waits may be there.
    GATE = "gate"
    # The source no longer shows many plays that it showed before.
    ABSENT = "absent"
    # Trakt refuses the app, so only whoever runs the bridge can mend it; they are told, too.
    CLOSED = "closed"


# The title of a message about one notice, after our name.
TITLES: dict[str, str] = {
    Kind.TRAKT: "please connect Trakt again",
    Kind.SITE: "please sign in again",
    Kind.PAUSED: "posting is paused",
    Kind.UNSURE: "did these posts arrive?",
    Kind.BUNCH: "post all of these?",
    Kind.START: "where shall posting start?",
    Kind.GATE: "are these posts on your site?",
    Kind.ABSENT: "many plays are gone from Trakt",
    Kind.CLOSED: "Trakt refuses the app",
}

# The strictest of the services takes 1,024 characters; the dashboard shows the rest.
MOST_TOLD = 3
LONGEST = 250


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent to where a person wants to be told, as plain text."""

    title: str
    body: str


def message(told: Sequence[tuple[str, str]], address: str) -> Message:
    """Return one message for notices, each a kind and what it says; ``address`` is the bridge's.

    A kind that this version does not know is told too: a newer one may have opened it.
    """
    title = f"{len(told)} things need you"
    if len(told) == 1:
        title = TITLES.get(told[0][0], "something needs you")
    parts = [shortened(said) for _, said in told[:MOST_TOLD]]
    if more := len(told) - len(parts):
        parts.append(f"And {more} more.")
    return Message(f"OwnYourTrakt: {title}", "\n\n".join([*parts, address]))


def shortened(said: str) -> str:
    """Return what a notice says, cut at a word where it is long."""
    if len(said) <= LONGEST:
        return said
    return said[:LONGEST].rpartition(" ")[0].rstrip(" ,;:") + " …"
