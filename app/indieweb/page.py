"""A page, parsed: where it says its endpoints are, ``Link`` headers first, and what made it.

Endpoints only from ``<link>``: visitors may be able to write an ``<a rel>`` into a comment, and
would then choose them. mf2py reads ``<a>``, so it will not do.
"""

import io
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import chain
from typing import Any

import html5lib
import webencodings  # type: ignore[import-untyped]  # ships no types
from bs4 import BeautifulSoup, Tag
from bs4.builder import (  # type: ignore[attr-defined]  # registered there at run time
    HTML5TreeBuilder,
)
from bs4.dammit import EncodingDetector

from app.indieweb.rels import header_links, resolved, words

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
HTML_NAMESPACE = "http://www.w3.org/1999/xhtml"
CHARSET = re.compile(r"""charset\s*=\s*["']?([^\s"';,]+)""", re.IGNORECASE | re.ASCII)
# html5lib is quadratic in nesting depth and in attributes: a page of 1 MiB could keep it busy
# for hours; an honest one takes 2 s. Browsers stop nesting at 512 as well.
DEEPEST = 512
PATIENCE = timedelta(seconds=2)
PIECE = 1024


def page_links(document: BeautifulSoup | None, url: str, headers: Sequence[str]) -> dict[str, str]:
    """Return the first target of each rel on the page at ``url``, headers before elements.

    ``headers`` are the values of its ``Link`` headers, ``document`` is None when it is not HTML.
    """
    first: dict[str, str] = {}
    in_page = html_links(document, url) if document else ()
    for rel, target in chain(header_links(headers, url), in_page):
        first.setdefault(rel, target)
    return first


def html_document(body: bytes, content_type: str) -> BeautifulSoup | None:
    """Return the parsed page, or None when ``content_type`` does not say that it is HTML.

    Of a page that is nested too deeply, or takes too long, only the part before that is read.
    Slow: call it in a thread.
    """
    media_type, _, parameters = content_type.partition(";")
    if media_type.strip().lower() not in HTML_TYPES:
        return None
    charset = CHARSET.search(parameters)
    # Without a tag Beautiful Soup would warn that this looks like a file name.
    page = text_of(body, charset[1] if charset else None) if b"<" in body else "<p>"
    return BeautifulSoup(page, builder=PatientBuilder())


def text_of(body: bytes, charset: str | None) -> str:
    """Return the text of a page: byte order mark, ``charset``, ``<meta>``, else UTF-8."""
    declared = charset or EncodingDetector.find_declared_encoding(body, is_html=True)
    # Python knows more encodings than the web, among them some that are slow on purpose.
    encoding = webencodings.lookup(declared or "") or webencodings.UTF8
    text: str = webencodings.decode(body, encoding)[0]
    return text


class Impatient(Exception):
    """The page is not worth reading on."""


class PatientBuilder(HTML5TreeBuilder):  # type: ignore[misc]  # see the import
    """Builds the tree of a page, and stops where a page becomes an attack."""

    def prepare_markup(
        self, markup: str, *_: object, **__: object
    ) -> Iterator[tuple[str, None, None, bool]]:
        """Hand the page on without the warning that it looks like XML: strangers write it."""
        yield markup, None, None, False

    def feed(self, markup: str) -> None:
        """Read the page piece by piece, so that there are moments to stop."""
        parser = html5lib.HTMLParser(tree=self.create_treebuilder)
        self.underlying_builder.parser = parser
        with suppress(Impatient):
            parser.parse(Pieces(markup, parser.tree))


class Pieces(io.StringIO):
    """A page that lets itself be read a little at a time, and not for ever."""

    def __init__(self, page: str, tree: Any) -> None:  # noqa: ANN401 - html5lib ships no types
        super().__init__(page)
        self.tree = tree
        # This thread's own time: on a busy machine a page must not seem slow.
        self.until = time.thread_time() + PATIENCE.total_seconds()

    def read(self, size: int | None = -1, /) -> str:
        """Return the next piece, or raise `Impatient`."""
        if time.thread_time() > self.until or len(self.tree.openElements) > DEEPEST:
            raise Impatient
        return super().read(PIECE if size is None or size < 0 else min(size, PIECE))


def html_links(document: BeautifulSoup, base: str) -> Iterator[tuple[str, str]]:
    """Yield rel (in lower case) and target of every ``<link>``, in the order of the page.

    An element without ``href`` is no link; an empty one leads to the page itself.
    """
    found = list(elements(document, {"link", "base"}))
    base = base_url(found, base)
    for link in found:
        href = link.get("href")
        if link.name == "link" and isinstance(href, str):
            url = resolved(base, href)
            yield from ((rel, url) for rel in words(link.get("rel")))


def base_url(found: Iterable[Tag], page: str) -> str:
    """Return what relative URLs of the page are relative to: the first ``<base href>``."""
    for base in found:
        href = base.get("href")
        if base.name == "base" and isinstance(href, str):
            target = resolved(page, href)
            return target if target.startswith(("http://", "https://")) else page
    return page


def generators(document: BeautifulSoup) -> Iterator[str]:
    """Yield what a page says that it was made by."""
    for meta in elements(document, {"meta"}):
        if str(meta.get("name", "")).lower() == "generator":
            yield str(meta.get("content", ""))


def elements(document: Tag, names: set[str]) -> Iterator[Tag]:
    """Yield the elements with one of ``names``, none from inside a ``<template>`` or an SVG.

    Without recursion: the depth is the stranger's choice.
    """
    waiting: list[Tag] = [document]
    while waiting:
        tag = waiting.pop()
        if tag.name == "template":
            continue
        if tag.name in names and tag.namespace in {HTML_NAMESPACE, None}:
            yield tag
        waiting.extend(child for child in reversed(tag.contents) if isinstance(child, Tag))
