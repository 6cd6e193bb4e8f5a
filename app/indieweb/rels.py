"""Links that are told in headers, and what links of all kinds have in common.

httpx2's ``Response.links`` keeps the last link of a rel, so it will not do.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from urllib.parse import urljoin

import httpx2

# HTML's white space; Python's own idea of it holds characters that belong to a URL.
SPACE = " \t\n\f\r"
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
