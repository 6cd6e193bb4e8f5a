"""One microformat without those inside of it, for mf2py to read."""

from copy import copy

from bs4 import Tag
from bs4.element import AttributeValueList

from app.indieweb.rels import words

# mf2py reads a microformat inside another once per property it is: `class="h-card p-a p-b"`,
# thirty times nested, would take it years. What is inside is not about ours anyway.
NESTED = frozenset({"h-adr", "h-app", "h-card", "h-cite", "h-entry", "h-event", "h-feed", "h-item"})


def flat(element: Tag, kind: str, kept: tuple[str, ...]) -> Tag:
    """Return a copy of ``element``, a microformat of that ``kind``, that holds no other.

    Of its properties those are left whose names begin with one of ``kept``.
    """
    alone = copy(element)
    alone["class"] = AttributeValueList([kind])
    for tag in alone.find_all(True):  # noqa: FBT003 - Beautiful Soup's word for any element
        classes = [] if tag.decomposed else words(tag.get("class"))
        if not NESTED.isdisjoint(classes):
            tag.decompose()
        elif classes:
            # "e-…" would be copied and printed; its text is enough, and it counts as a property.
            named = ("p-" + name[2:] if name.startswith("e-") else name for name in classes)
            tag["class"] = AttributeValueList(name for name in named if name.startswith(kept))
    return alone
