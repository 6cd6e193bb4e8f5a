"""Nonsense at every route, signed in and out: no bug, no trace, and nothing comes back as markup.

The forms are read by our own code and not declared to FastAPI, so a schema would not know their
fields; the routes and the fields come from the app and its pages instead.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import NOON
from tests.routes import Way, ways
from tests.test_every_route import FORMS, of_ada, token_of
from tests.test_questions import a_bunch
from tests.world import BRIDGE, Clock, World, running_world

# Whatever is sent carries it; as markup it must not come back.
MARK = "<xmark a=\"1\" b='2'>"
NASTY = [
    MARK, "", "0", "-1", "1", "1e9", "9" * 30, "\x00", "\r\nX-Mark: 1", "../../etc/passwd", "%00",
    "\ud7ff", "{{7*7}}", "' OR 1=1 --", "javascript:alert(1)", "http://[", "//evil.example", "٣",
    "a" * 5000, "\u202e", "on",
]  # fmt: skip
TEXTS = st.one_of(st.sampled_from(NASTY), st.text(max_size=40)).map(lambda text: text + MARK) | (
    st.sampled_from(NASTY)
)
FIELDS = [
    "me", "code", "state", "iss", "error", "error_description", "q", "page", "said", "watch",
    "timezone", "choice", "hours", "address", "sure", "afresh",
]  # fmt: skip
HEADERS = ["Accept", "Content-Type", "Referer", "X-Forwarded-For", "User-Agent", "Cookie", "Range"]
TRACES = ("Traceback", "site-packages", "sqlalchemy", 'File "/', "most recent call")


@dataclass
class Fuzzed:
    """A world, what can be asked of it, and who asks: Ada, or nobody."""

    world: World
    token: str
    ways: list[Way]
    loop: asyncio.AbstractEventLoop

    def ask(self, request: httpx2.Request, *, is_ada: bool) -> httpx2.Response:
        if is_ada:
            self.world.browser.client.cookies.set_cookie_header(request)
        return self.loop.run_until_complete(self.asked(request))

    async def asked(self, request: httpx2.Request) -> httpx2.Response:
        self.world.bridge.limits.buckets.clear()
        transport = httpx2.ASGITransport(app=self.world.app)
        async with httpx2.AsyncClient(transport=transport) as client:
            return await client.send(request)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    """One world for all examples: what they may do to it is nothing that breaks it."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        yield runner.run(begun(stack, tmp_path_factory.mktemp("fuzz")))
        runner.run(stack.aclose())


async def begun(stack: AsyncExitStack, folder: Path) -> Fuzzed:
    world = await stack.enter_async_context(running_world(folder, Clock(NOON)))
    await a_bunch(world)
    token = await token_of(world.browser)
    # Whoever ends a session, or the account, leaves nothing to go on with.
    last = {"/settings/delete", "/signout", "/signout/everywhere"}
    found = [way for way in ways(world.app) if way[1] not in last]  # type: ignore[arg-type] # it is FastAPI
    return Fuzzed(world, token, found, asyncio.get_running_loop())


def sane(answer: httpx2.Response) -> None:
    assert answer.status_code < 500 or answer.status_code == 502, answer.text
    assert not [trace for trace in TRACES if trace in answer.text]
    assert "X-Mark" not in answer.headers
    assert answer.headers["Content-Security-Policy"]
    if "html" in answer.headers.get("Content-Type", ""):
        assert "<xmark" not in answer.text


def filled(path: str, text: str) -> str:
    """A path with nonsense where its ids are."""
    for name in ("key", "action", "answer"):
        path = path.replace(f"{{{name}}}", quote(text, safe="") or "x")
    return path


MANY = settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@MANY
@given(data=st.data())
def test_nonsense_in_addresses_and_headers_is_answered_in_peace(
    fuzzed: Fuzzed, data: st.DataObject
) -> None:
    way = data.draw(st.sampled_from(fuzzed.ways))
    path = filled(way[1], data.draw(TEXTS)) if data.draw(st.booleans()) else of_ada(way[1])
    query = data.draw(st.dictionaries(st.sampled_from(FIELDS), TEXTS, max_size=4))
    headers = data.draw(st.dictionaries(st.sampled_from(HEADERS), TEXTS, max_size=2))
    sent = {name.encode(): text.encode("utf-8", "replace") for name, text in headers.items()}

    url = f"{BRIDGE}{path}?{urlencode(query, errors='replace')}"
    is_ada = "Cookie" not in headers and data.draw(st.booleans())

    sane(fuzzed.ask(httpx2.Request(way[0], url, headers=sent), is_ada=is_ada))


@MANY
@given(data=st.data())
def test_nonsense_in_forms_is_answered_in_peace(fuzzed: Fuzzed, data: st.DataObject) -> None:
    way = data.draw(st.sampled_from([way for way in fuzzed.ways if way[0] == "POST"]))
    path = filled(way[1], data.draw(TEXTS)) if data.draw(st.booleans()) else of_ada(way[1])
    names = st.sampled_from([*FIELDS, *FORMS[way[1]]])
    fields = data.draw(st.dictionaries(names, TEXTS, max_size=5))
    if MARK not in fields.get("me", ""):
        # No name that somebody may have is looked up.
        fields.pop("me", None)
    body = urlencode({**FORMS[way[1]], **fields, "csrf": fuzzed.token}, errors="replace").encode()
    if data.draw(st.booleans()):
        body += data.draw(st.binary(max_size=40))

    headers = {"Origin": BRIDGE, "Content-Type": "application/x-www-form-urlencoded"}
    is_ada = data.draw(st.integers(0, 4)) > 0
    request = httpx2.Request("POST", BRIDGE + path, content=body, headers=headers)

    sane(fuzzed.ask(request, is_ada=is_ada))
