"""Those who ask slowly, endlessly, or in crowds, on real sockets; the server is that of `serve`."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app import server
from app.server import LARGEST_HEAD, patient
from app.waits import Waits
from app.web.headers import protection
from tests.world import World, listening

HEAD = b"POST /poll HTTP/1.1\r\nHost: localhost\r\n"
HASTY = Waits(receive=timedelta(seconds=0.3), answer=timedelta(seconds=0.3))
CALM = Waits()


@asynccontextmanager
async def served(app: ASGIApp, waits: Waits) -> AsyncIterator[int]:
    """Serve ``app`` as `serve` does, on a port of its own."""
    listener = listening()
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        lifespan="off",
        timeout_graceful_shutdown=1,
        http=patient(waits, protection(secure=True)),
        ws="none",
        h11_max_incomplete_event_size=LARGEST_HEAD,
    )
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        running.should_exit = True
        await task


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Read everything, then answer."""
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def ended(reader: StreamReader) -> bytes:
    """Return all that came until the other side hung up."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def drip(writer: StreamWriter, letter: bytes) -> None:
    """Say a letter now and then, until nobody listens any more."""
    while not writer.is_closing():
        writer.write(letter)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("said", "then"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nX-Slow: ", b"a"),
        (HEAD + b"Content-Length: 100000\r\n\r\n", b"a"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    ],
    ids=["silence", "a head without end", "a body that drips", "chunks that drip"],
)
async def test_a_request_that_never_ends_is_given_up(said: bytes, then: bytes) -> None:
    async with served(hello, HASTY) as port, connected(port) as (reader, writer):
        writer.write(said)
        slow = asyncio.create_task(drip(writer, then)) if then else None

        assert await ended(reader) == b""
        if slow:
            slow.cancel()


async def test_a_body_after_an_early_answer_is_not_waited_for_either() -> None:
    async def early(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with served(early, HASTY) as port, connected(port) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 100000\r\n\r\n")
        slow = asyncio.create_task(drip(writer, b"a"))

        assert b"404" in await ended(reader)
        slow.cancel()


async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    over = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(until_gone(receive))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.done():
            await send({"type": "http.response.body", "body": b"a" * 65536, "more_body": True})
        over.set()

    async with served(endless, HASTY) as port, connected(port) as (_, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

        await over.wait()


async def until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def test_a_crowd_of_silent_connections_keeps_nobody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 5)
    async with served(hello, CALM) as port, AsyncExitStack() as crowd:
        for _ in range(20):
            await crowd.enter_async_context(connected(port))

        reader, writer = await crowd.enter_async_context(connected(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

        assert b"hello" in await ended(reader)


async def test_a_head_without_end_stops_at_its_cap() -> None:
    async with served(hello, CALM) as port, connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * LARGEST_HEAD)

        head = (await ended(reader)).decode().lower()

    assert head.startswith("http/1.1 400 ")
    for name, value in protection(secure=True).items():
        assert f"{name}: {value}".lower() in head


@pytest.mark.parametrize("is_over", [True, False], ids=["after it", "in the middle"])
async def test_nonsense_behind_an_answer_ends_the_connection_and_breaks_nothing(
    caplog: pytest.LogCaptureFixture, *, is_over: bool
) -> None:
    async def early(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": not is_over})
        while (await receive())["type"] != "http.disconnect":
            pass

    async with served(early, CALM) as port, connected(port) as (reader, writer):
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        assert b"404" in await reader.readline()
        writer.write(b"this is no chunk\r\n")

        assert b"HTTP" not in await ended(reader)

    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


@pytest.mark.parametrize("path", [b"/signin", b"/poll"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["with its length", "chunked"])
async def test_a_body_larger_than_any_form_of_ours_is_not_read(
    world: World, path: bytes, *, is_chunked: bool
) -> None:
    size = 2_000_000
    head = (
        b"POST " + path + b" HTTP/1.1\r\nHost: localhost:8000\r\n"
        b"Origin: http://localhost:8000\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    )
    body = b"me=" + b"a" * (size - 3)
    async with served(world.app, CALM) as port:
        if is_chunked:
            head += b"Transfer-Encoding: chunked\r\n\r\n"
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (size, body)
        else:
            head += b"Content-Length: %d\r\n\r\n" % size
        async with connected(port) as (reader, writer):
            writer.write(head + body)
            answer = await reader.readline()

    # Only a person has a form at "/poll"; whoever is not signed in is led away first.
    assert (b"413" if path == b"/signin" else b"303") in answer
