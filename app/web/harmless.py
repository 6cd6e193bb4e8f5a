"""HTML of others, shown on a page of ours: only what words need is left of it."""

from html import escape
from urllib.parse import urlsplit

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString, PreformattedString
from markupsafe import Markup

# None of them can run, load, send or cover anything.
KEPT = frozenset(
    {
        *("a", "abbr", "b", "blockquote", "br", "cite", "code", "details", "em", "h1", "h2", "h3"),
        *("h4", "hr", "i", "li", "ol", "p", "q", "s", "small", "span", "strong", "sub"),
        *("summary", "sup", "u", "ul"),
    }
)
EMPTY = frozenset({"br", "hr"})
# Neither they nor what stands in them is words.
DROPPED = frozenset({"script", "style", "template", "noscript", "iframe", "object", "svg", "math"})
# Of what is nested deeper, the words alone are shown.
DEEPEST = 50


def harmless(html: str) -> Markup:
    """Return a piece of HTML whose tags can do no harm; all others become their words.

    A picture becomes the words that stand for it, since pages of ours load none from elsewhere.
    """
    return Markup(shown(BeautifulSoup(html, "html.parser")))  # noqa: S704 - each part was escaped


def shown(node: Tag, depth: int = 0) -> str:
    """Return what is inside ``node``, part by part."""
    if depth > DEEPEST:
        return escape(node.get_text())
    parts = []
    for child in node.children:
        if isinstance(child, Tag):
            parts.append(tag(child, depth + 1))
        elif isinstance(child, NavigableString) and not isinstance(child, PreformattedString):
            parts.append(escape(str(child)))
    return "".join(parts)


def tag(element: Tag, depth: int) -> str:
    """Return an element with the attributes that matter."""
    name = element.name.lower()
    if name in DROPPED:
        return ""
    if name == "img":
        return f"[{escape(str(element.get('alt') or 'picture'))}]"
    inside = shown(element, depth)
    if name not in KEPT:
        return inside
    if name in EMPTY:
        return f"<{name}>"
    return f"<{name}{link(element) if name == 'a' else ''}>{inside}</{name}>"


def link(element: Tag) -> str:
    """Return where a link leads, if that is a web page."""
    href = str(element.get("href") or "")
    try:
        is_web = urlsplit(href).scheme in {"http", "https"}
    except ValueError:
        return ""
    return f' href="{escape(href)}" rel="nofollow noreferrer"' if is_web else ""
