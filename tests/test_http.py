"""The guarded client, attacked over real sockets."""

import asyncio
import gzip
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import AddressBlocked, AnswerLost, AnswerTooLarge, NeverSent
from app.http import LONGEST_WAIT, Guard, caps, client, is_public, retry_after

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listener(
    answer: bytes = b"", *, then_close: bool = True
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers each connection with ``answer``; yields its port and what it got."""
    got: list[bytes] = []
    done = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(65_536))
        writer.write(answer)
        try:
            await writer.drain()
            if not then_close:
                await done.wait()
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], got
    finally:
        done.set()
        server.close()
        await server.wait_closed()


def ok(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://2130706433:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://127.1:{port}/",
        "http://0:{port}/",
        "http://[64:ff9b::7f00:1]:{port}/",
        "http://①②⑦.0.0.1:{port}/",
        "http://169.254.169.254/",
        "http://10.0.0.1/",
        "http://100.64.0.1/",
        "http://192.0.2.1/",
        "http://user:p@127.0.0.1:{port}/",
        "ftp://127.0.0.1:{port}/",
        "http://[fe80::1]/",
        "http://[2002:7f00:1::1]/",
        "http://[::7f00:1]/",
        "http://224.0.0.1/",
        "http://[ff02::1]/",
    ],
)
async def test_an_address_inside_is_refused_without_any_contact(url: str) -> None:
    async with listener(ok(b"secret")) as (port, got), client() as http:
        # httpx2 itself refuses what looks like an address and is none.
        with pytest.raises((NeverSent, httpx2.InvalidURL)):
            await http.get(url.format(port=port))

    assert got == []


async def test_an_allowed_network_may_be_contacted_on_any_port() -> None:
    async with listener(ok(b"hello")) as (port, _), client(LOOPBACK) as http:
        answer = await http.get(f"http://127.0.0.1:{port}/")

    assert answer.text == "hello"
    assert answer.extensions["private"]


def test_a_public_address_is_contacted_on_web_ports_only() -> None:
    guard = Guard(())
    public = [ip_address("93.184.215.14")]

    guard.check("example.com", 443, public)
    with pytest.raises(AddressBlocked, match="port 22"):
        guard.check("example.com", 22, public)


def test_one_private_address_among_public_ones_refuses_the_name() -> None:
    mixed = [ip_address("93.184.215.14"), ip_address("10.0.0.1")]

    with pytest.raises(AddressBlocked, match=r"10\.0\.0\.1"):
        Guard(()).check("example.com", 443, mixed)


@given(st.ip_addresses(v=4))
def test_an_address_wrapped_in_ipv6_is_public_only_if_it_is_so_by_itself(inner: object) -> None:
    number = int(inner)  # type: ignore[call-overload] # an IPv4Address

    for prefix in (0x0064_FF9B << 96, 0xFFFF << 32, 0):
        wrapped = ip_address((prefix + number).to_bytes(16, "big"))
        assert is_public(wrapped) == is_public(ip_address(number))


async def test_no_cookie_is_kept_or_sent() -> None:
    cookie = ok(b"", "Set-Cookie: token=stolen; Path=/")

    async with listener(cookie) as (port, got), client(LOOPBACK) as http:
        first = await http.get(f"http://127.0.0.1:{port}/")
        await http.get(f"http://127.0.0.1:{port}/")

    assert "set-cookie" not in first.headers
    assert b"cookie" not in b"".join(got).lower()


async def test_no_redirect_is_followed() -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"

    async with listener(moved) as (port, got), client(LOOPBACK) as http:
        answer = await http.post(f"http://127.0.0.1:{port}/", data={"code": "x"})

    assert answer.status_code == 302
    assert len(got) == 1


async def test_a_proxy_of_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listener(ok(b"direct")) as (port, _), listener(ok(b"proxy")) as (proxy, got):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy}")
        async with client(LOOPBACK) as http:
            answer = await http.get(f"http://127.0.0.1:{port}/")

    assert answer.text == "direct"
    assert got == []


async def test_an_answer_larger_than_its_cap_is_dropped() -> None:
    async with listener(ok(b"x" * 2000)) as (port, _), client(LOOPBACK) as http:
        with pytest.raises(AnswerTooLarge):
            await http.get(f"http://127.0.0.1:{port}/", extensions=caps(max_bytes=1000))


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
async def test_a_compression_bomb_ends_at_the_cap(pack: Callable[[bytes], bytes]) -> None:
    kind = "gzip" if pack is gzip.compress else "deflate"
    bomb = ok(pack(b"\0" * 50_000_000), f"Content-Encoding: {kind}")

    async with listener(bomb) as (port, _), client(LOOPBACK) as http:
        with pytest.raises(AnswerTooLarge):
            await http.get(f"http://127.0.0.1:{port}/")


async def test_a_compressed_answer_is_read() -> None:
    packed = ok(gzip.compress(b"hello" * 100), "Content-Encoding: gzip")

    async with listener(packed) as (port, _), client(LOOPBACK) as http:
        answer = await http.get(f"http://127.0.0.1:{port}/")

    assert answer.content == b"hello" * 100


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"not gzip", "gzip"), (gzip.compress(b"hello")[:-9], "gzip"), (b"x", "br")],
    ids=["damaged", "cut short", "not asked for"],
)
async def test_a_body_that_cannot_be_decoded_is_a_lost_answer(body: bytes, kind: str) -> None:
    answer = ok(body, f"Content-Encoding: {kind}")

    async with listener(answer) as (port, _), client(LOOPBACK) as http:
        with pytest.raises(AnswerLost):
            await http.get(f"http://127.0.0.1:{port}/")


async def test_a_server_that_never_ends_its_answer_is_left_at_the_deadline() -> None:
    begun = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx"
    soon = caps(deadline=timedelta(milliseconds=50))

    async with listener(begun, then_close=False) as (port, _), client(LOOPBACK) as http:
        with pytest.raises(AnswerLost, match="took longer"):
            await http.get(f"http://127.0.0.1:{port}/", extensions=soon)


async def test_a_connection_cut_in_the_middle_is_a_lost_answer() -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx"

    async with listener(cut) as (port, _), client(LOOPBACK) as http:
        with pytest.raises(AnswerLost):
            await http.get(f"http://127.0.0.1:{port}/")


async def test_a_refused_connection_was_never_sent() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    async with client(LOOPBACK) as http:
        with pytest.raises(NeverSent, match="could not be reached"):
            await http.get(f"http://127.0.0.1:{port}/")


async def test_a_name_that_does_not_exist_was_never_sent() -> None:
    async with client(LOOPBACK) as http:
        with pytest.raises(NeverSent, match="does not exist"):
            await http.get("http://nobody.invalid/")


async def test_a_name_with_a_dead_address_is_reached_at_the_next_one() -> None:
    guard = Guard(LOOPBACK)
    dead_and_alive = [ip_address("127.0.0.2"), ip_address("127.0.0.1")]

    async with listener(ok(b"")) as (port, got):
        stream = await guard.first_to_answer(dead_and_alive, port, None, None)
        await stream.write(b"hello")
        await stream.read(10)
        await stream.aclose()

    assert got == [b"hello"]


async def test_a_socket_of_this_machine_is_never_contacted() -> None:
    with pytest.raises(AddressBlocked):
        await Guard(LOOPBACK).connect_unix_socket("/run/secret.sock")


async def test_the_user_agent_says_who_asks() -> None:
    about = "https://watch.example"

    async with listener(ok(b"")) as (port, got), client(LOOPBACK, about=about) as http:
        await http.get(f"http://127.0.0.1:{port}/")

    assert b"OwnYourTrakt/" in got[0]
    assert b"(+https://watch.example)" in got[0]


NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("120", timedelta(minutes=2)),
        ("Fri, 20 Nov 2026 13:00:00 GMT", timedelta(hours=1)),
        ("Fri, 20 Nov 2026 11:00:00 GMT", timedelta()),
        ("99999999999", LONGEST_WAIT),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_understood_in_both_forms(value: str, wait: timedelta | None) -> None:
    assert retry_after(httpx2.Response(503, headers={"Retry-After": value}), NOW) == wait


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_any_retry_after_is_a_wait_or_silence(value: str) -> None:
    wait = retry_after(httpx2.Response(503, headers={"Retry-After": value}), NOW)

    assert wait is None or timedelta() <= wait <= LONGEST_WAIT
