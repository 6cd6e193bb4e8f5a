"""Where a page says its endpoints are: ``Link`` headers first, then ``<link>`` elements.

Only ``<link>``: visitors may be able to write an ``<a rel>`` into a comment, and would then
choose the endpoints. httpx2's ``Response.links`` keeps the last link of a rel and mf2py reads
``<a>``, so neither will do.
"""

import asyncio
import io
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from itertools import chain
from typing import Any, TypeVar
from urllib.parse import urljoin

import html5lib
import httpx2
import webencodings  # type: ignore[import-untyped]  # ships no types
from bs4 import BeautifulSoup, Tag
from bs4.builder import (  # type: ignore[attr-defined]  # registered there at run time
    HTML5TreeBuilder,
)
from bs4.dammit import EncodingDetector

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
HTML_NAMESPACE = "http://www.w3.org/1999/xhtml"
# HTML's white space; Python's own idea of it holds characters that belong to a URL.
SPACE = " \t\n\f\r"
CHARSET = re.compile(r"""charset\s*=\s*["']?([^\s"';,]+)""", re.IGNORECASE | re.ASCII)
# html5lib is quadratic in nesting depth and in attributes: a page of 1 MiB could keep it busy
# for hours; an honest one takes 2 s. Browsers stop nesting at 512 as well.
DEEPEST = 512
PATIENCE = timedelta(seconds=2)
PIECE = 1024
# The tree of a page takes a hundred times its room, and Python's threads share one processor.
READERS = ThreadPoolExecutor(2, "reader")
Read = TypeVar("Read")
# One link of a header, and one of its parameters (RFC 8288 §3, read as generously as §B.2).
BETWEEN = re.compile(r"[\s,]*")
TARGET = re.compile(r"<([^<>]*)>")
PARAMETER = re.compile(
    r"""\s*;\s*(?P<name>[^\s=;,"<>]*)\s*(?:=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<token>[^;,"]*)))?""",
    re.DOTALL,
)
# What separates links is a comma outside of quotes; an unclosed quote runs to the end.
TO_NEXT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*(?:"|\Z))*(?:,|\Z)', re.DOTALL)


async def apart(
    read: Callable[[str, httpx2.Response], Read], url: str, page: httpx2.Response
) -> Read:
    """Return what ``read`` makes of a page, in one of the threads that do nothing else."""
    return await asyncio.get_running_loop().run_in_executor(READERS, read, url, page)


def page_links(document: BeautifulSoup | None, url: str, headers: Sequence[str]) -> dict[str, str]:
    """Return the first target of each rel on the page at ``url``, headers before elements.

    ``headers`` are the values of its ``Link`` headers, ``document`` is None when it is not HTML.
    """
    first: dict[str, str] = {}
    in_page = html_links(document, url) if document else ()
    for rel, target in chain(header_links(headers, url), in_page):
        first.setdefault(rel, target)
    return first


def header_links(headers: Sequence[str], base: str) -> Iterator[tuple[str, str]]:
    """Yield rel (in lower case) and target of every link in the ``Link`` headers of ``base``.

    Only the first ``rel`` of a link counts, and only links whose context is ``base`` itself.
    A damaged link is passed over, up to the next comma.
    """
    for header in headers:
        for target, parameters in links_of(header):
            if resolved(base, parameters.get("anchor", "")) == base:
                url = resolved(base, target)
                yield from ((rel, url) for rel in words(parameters.get("rel", "")))


def links_of(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield target and parameters of each link; of repeated parameters the first one."""
    position = 0
    while position < len(header):
        position = end_of(BETWEEN, header, position)
        link = TARGET.match(header, position)
        if link:
            parameters, position = parameters_at(header, link.end())
            yield link[1].strip(), parameters
        position = end_of(TO_NEXT, header, position)


def end_of(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Return where ``pattern``, matched at ``position``, ends; the end of all if it does not."""
    found = pattern.match(text, position)
    return found.end() if found else len(text)


def parameters_at(header: str, position: int) -> tuple[dict[str, str], int]:
    """Return the parameters that begin at ``position``, and where they end."""
    parameters: dict[str, str] = {}
    while found := PARAMETER.match(header, position):
        position = found.end()
        value = found["token"] if found["quoted"] is None else unescaped(found["quoted"])
        parameters.setdefault(found["name"].lower(), (value or "").strip())
    return parameters, position


def unescaped(quoted: str) -> str:
    """Return the text of a quoted string (RFC 9110 §5.6.4)."""
    return re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)


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


def words(value: object) -> list[str]:
    """Return the words of an attribute in lower case, whether they were split already or not."""
    if isinstance(value, str):
        return value.lower().split()
    return [str(word).lower() for word in value] if isinstance(value, list) else []


def resolved(base: str, reference: str) -> str:
    """Return ``reference`` as seen from ``base``; what cannot be resolved stays as it is.

    Whether the result is a URL we use is for the reader of the link to decide.
    """
    try:
        return urljoin(base, reference.strip(SPACE))
    except ValueError:
        return reference
