"""The guarded client, attacked over real sockets."""

import asyncio
import gzip
import socket
import ssl
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, NoReturn

import httpcore2
import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.errors import AddressBlocked, AnswerLost, AnswerTooLarge, NeverSent, NotTrusted
from app.http import (
    LONGEST_WAIT,
    MIB,
    MOST_ADDRESSES,
    MOST_LOOKUPS,
    Guard,
    caps,
    client,
    date_of,
    decode,
    is_public,
    retry_after,
    trusted,
    whole_body,
)

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listener(
    answer: bytes = b"", *, then_close: bool = True, tls: ssl.SSLContext | None = None
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

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], got
    finally:
        done.set()
        server.close()
        await server.wait_closed()


def ok(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


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

    with (
        capture_logs() as told,
        pytest.raises(AddressBlocked, match="an address that is not public") as refused,
    ):
        Guard(()).check("example.com", 443, mixed)

    # Where a name inside leads to is for the operator alone.
    assert "10.0.0.1" not in str(refused.value)
    assert [line["address"] for line in told] == ["10.0.0.1"]


@given(st.ip_addresses(v=4))
def test_an_address_wrapped_in_ipv6_is_public_only_if_it_is_so_by_itself(inner: object) -> None:
    number = int(inner)  # type: ignore[call-overload] # an IPv4Address

    for prefix in (0x0064_FF9B << 96, 0xFFFF << 32):
        wrapped = ip_address((prefix + number).to_bytes(16, "big"))
        assert is_public(wrapped) == is_public(ip_address(number))


@pytest.mark.parametrize(
    "address",
    [
        # IPv4: this network, private, shared, link-local, protocols, documentation, 6to4 relays.
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.255.255.254", "169.254.169.254"),
        *("172.31.255.255", "192.0.0.1", "192.0.0.9", "192.0.2.1", "192.88.99.1", "192.168.0.1"),
        # Benchmarks, documentation, multicast, reserved, broadcast.
        *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255"),
        *("240.0.0.1", "255.255.255.255"),
        # IPv6: nobody, itself, v4-compatible, link-local, site-local, unique local, multicast.
        *(
            "::",
            "::1",
            "::8.8.8.8",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00::1",
            "ff02::1",
            "ff0e::1",
        ),
        # Discarded, local-use NAT64, segment routing, documentation (old and new).
        *("100::1", "64:ff9b:1::808:808", "5f00::1", "2001:db8::1", "3fff::1"),
        # Teredo (with either address private, and with none), benchmarks, ORCHID, 6to4.
        *("2001:0:7f00:1::f7f7:f7f7", "2001:0:808:808::80ff:fffe", "2001:0:808:808::f7f7:f7f7"),
        *("2001:2::1", "2001:20::1", "2002:7f00:1::1", "2002:808:808::1"),
        # ISATAP, by either of its marks.
        *("2a00:1450::5efe:127.0.0.1", "2a00:1450::200:5efe:10.0.0.1"),
        # v4-mapped, NAT64.
        *("::ffff:127.0.0.1", "::ffff:192.88.99.1", "64:ff9b::10.0.0.1"),
    ],
)
def test_an_address_where_no_website_lives_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.215.14", "2a00:1450:4001::5efe", "2606:2800:21f::1", "64:ff9b::8.8.8.8"],
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


async def test_a_name_is_looked_up_once_and_the_checked_address_is_contacted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A name server that answers a good address first and another one from then on.
    answers = iter(["127.0.0.1", "127.0.0.2", "127.0.0.2"])
    asked = []

    def changing(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    only = (ip_network("127.0.0.1/32"),)
    async with listener(ok(b"good")) as (port, got), client(only) as http:
        first = await http.get(f"http://rebinding.example:{port}/")
        assert asked == ["rebinding.example"]
        with pytest.raises(AddressBlocked):
            await http.get(f"http://rebinding.example:{port}/")

    assert first.text == "good"
    assert len(got) == 1


async def test_a_name_with_thousands_of_addresses_makes_no_port_scanner_of_us(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = [f"127.{number >> 8}.{number & 255}.7" for number in range(1000)]

    def all_of_them(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in many]

    monkeypatch.setattr(socket, "getaddrinfo", all_of_them)
    guard = Guard(LOOPBACK)
    guard.network = tried = Unreachable()
    with pytest.raises(httpcore2.ConnectError):
        await guard.connect_tcp("many.example", 80)

    assert tried.hosts == many[:MOST_ADDRESSES]


class Unreachable(httpcore2.AnyIOBackend):
    """A network on which nobody answers."""

    def __init__(self) -> None:
        self.hosts: list[str] = []

    async def connect_tcp(self, host: str, *_: object, **__: object) -> NoReturn:
        self.hosts.append(host)
        raise httpcore2.ConnectError


async def test_slow_names_keep_neither_others_nor_the_program_from_working(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, real = asyncio.get_running_loop(), socket.getaddrinfo
    answered, asked = threading.Event(), asyncio.Queue[str]()

    def patient(host: str, port: int, **named: int) -> list[Any]:
        if host == "localhost":
            return real(host, port, **named)
        loop.call_soon_threadsafe(asked.put_nowait, host)
        answered.wait()
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", patient)
    async with listener(ok(b"alive")) as (port, _), client() as strangers, client(LOOPBACK) as ours:
        names = [f"http://{n}.slow.example/" for n in range(MOST_LOOKUPS + 20)]
        waiting = [asyncio.create_task(strangers.get(name)) for name in names]
        try:
            async with asyncio.timeout(5):
                for _ in range(MOST_LOOKUPS):
                    await asked.get()
                answer = await ours.get(f"http://localhost:{port}/")
                assert answer.text == await asyncio.to_thread(lambda: "alive")
            assert asked.empty()
        finally:
            answered.set()
        ended = await asyncio.gather(*waiting, return_exceptions=True)

    assert {type(one) for one in ended} == {NeverSent}


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


@pytest.mark.parametrize("name", ["https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"])
async def test_no_kind_of_proxy_is_used(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    async with listener(ok(b"direct")) as (port, _), listener(ok(b"proxy")) as (proxy, got):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        async with client(LOOPBACK) as http:
            answer = await http.get(f"http://127.0.0.1:{port}/")

    assert (answer.text, got) == ("direct", [])


async def test_no_password_of_a_netrc_file_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login ada password secret\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    async with listener(ok(b"")) as (port, got), client(LOOPBACK) as http:
        await http.get(f"http://127.0.0.1:{port}/")

    assert b"authorization" not in got[0].lower()


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


STATUS = b"HTTP/1.1 200 OK\r\n"
CHUNKED = STATUS + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begun", "then"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        (b"", b"HTTP/1.1 103 Early Hints\r\n" + b"Link: </x>; rel=y\r\n" * 1000 + b"\r\n"),
        (b"", b"\r\n" * 10_000),
        (STATUS + b"A: ", b"a" * 60_000),
        (STATUS, b"a: b\r\n" * 10_000),
        (STATUS + b"a: b\r\n", b" folded\r\n" * 10_000),
        (CHUNKED, b"1;" + b"extension" * 5000 + b"\r\nx\r\n"),
        (CHUNKED, b"1\r\nx\r\n" * 10_000),
        (CHUNKED, b"fffffffffffffff\r\n" + b"x" * 60_000),
        (CHUNKED + b"0\r\n", b"a: b\r\n" * 10_000),
        (STATUS + b"Content-Encoding: deflate\r\n\r\n\x78\x9c", b"\0\0\0\xff\xff" * 10_000),
        (STATUS + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"x"), b"\0" * 60_000),
        (STATUS + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b"many members") * 1000),
        (STATUS + b"\r\n", b"x" * 60_000),
    ],
    ids=[
        "100 Continue",
        "103 Early Hints",
        "empty lines",
        "one header",
        "many headers",
        "folded header",
        "chunk extensions",
        "tiny chunks",
        "one endless chunk",
        "trailers",
        "empty compressed blocks",
        "after the compressed end",
        "gzip members",
        "body",
    ],
)
async def test_a_flood_ends_long_before_the_deadline(begun: bytes, then: bytes) -> None:
    async with flooding(begun, then) as (port, sent), client(LOOPBACK) as http:
        with pytest.raises(AnswerLost) as stopped:
            await http.get(f"http://127.0.0.1:{port}/")

    # What we read, and what fits into the buffers between the two sockets.
    assert "took longer" not in str(stopped.value)
    assert sum(sent) < 12 * MIB


async def test_an_answer_in_countless_pieces_is_dropped_before_they_cost_time() -> None:
    taken = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(MIB):
            taken += 1
            yield b"x"

    with pytest.raises(AnswerTooLarge):
        await whole_body(httpx2.Response(200, content=pieces()), MIB)

    assert taken < 50_000


def test_what_follows_the_end_of_a_compressed_answer_is_not_kept() -> None:
    decoder = zlib.decompressobj(47)

    assert decode(decoder, gzip.compress(b"hello"), 100) == b"hello"
    assert decode(decoder, b"more" * 1000, 100) == b""
    assert decoder.unused_data == b""


@asynccontextmanager
async def flooding(begun: bytes, then: bytes) -> AsyncIterator[tuple[int, list[int]]]:
    """A server that answers with ``begun`` and then ``then`` without end; how much it sent."""
    sent: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(begun)
        with suppress(ConnectionError):
            while True:
                writer.write(then)
                await writer.drain()
                sent.append(len(then))
                # `drain` alone lets nobody else run while there is room.
                await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], sent
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nA",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=",
        b"",
    ],
    ids=["headers", "100", "body", "chunk", "nothing"],
)
async def test_an_answer_that_drips_ends_at_the_deadline_wherever_it_stands(answer: bytes) -> None:
    soon = caps(deadline=timedelta(milliseconds=50))

    async with listener(answer, then_close=False) as (port, _), client(LOOPBACK) as http:
        with pytest.raises(AnswerLost, match="took longer"):
            await http.get(f"http://127.0.0.1:{port}/", extensions=soon)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nA: b\rSet-Cookie: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip\r\n\r\n",
        b"HTTP/1.1 000 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"220 smtp.example ESMTP\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"{}",
    ],
)
async def test_what_is_no_http_is_a_lost_answer(answer: bytes) -> None:
    async with listener(answer) as (port, _), client(LOOPBACK) as http:
        with pytest.raises(AnswerLost):
            await http.get(f"http://127.0.0.1:{port}/")


async def test_what_follows_an_answer_is_not_taken_for_the_next_one() -> None:
    two = ok(b"first") + ok(b"second")

    async with listener(two) as (port, got), client(LOOPBACK, keepalive=5) as http:
        first = await http.get(f"http://127.0.0.1:{port}/")
        again = await http.get(f"http://127.0.0.1:{port}/")

    assert (first.text, again.text, len(got)) == ("first", "first", 2)


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


def self_signed(folder: Path) -> ssl.SSLContext:
    """What a server needs whose certificate names it rightly, and nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1)
    made = made.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    made = made.not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
    signed = made.add_extension(address, critical=False).sign(key, SHA256())
    pem = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    (folder / "all.pem").write_bytes(key.private_bytes(*pem) + signed.public_bytes(Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "all.pem")
    return context


async def test_whom_nobody_vouches_for_is_not_told_a_word(tmp_path: Path) -> None:
    tls = self_signed(tmp_path)
    async with listener(ok(b"hello"), tls=tls) as (port, got), client(LOOPBACK) as http:
        with pytest.raises(NotTrusted, match="no valid certificate"):
            await http.post(f"https://127.0.0.1:{port}/", content="a secret")

    assert b"".join(got) == b""
    assert trusted().minimum_version >= ssl.TLSVersion.TLSv1_2


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


async def test_no_url_makes_us_send_a_user_name_and_a_password() -> None:
    async with listener(ok(b"hello")) as (port, got), client(LOOPBACK) as http:
        with pytest.raises(AddressBlocked, match="user name"):
            await http.get(f"http://ann:secret@127.0.0.1:{port}/")

    assert got == []


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
@example("Sat, 01 Jan 0001 00:00:00 +9999")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
@example("1" * 5000)
def test_any_retry_after_is_a_wait_or_silence(value: str) -> None:
    answer = httpx2.Response(503, headers={"Retry-After": value, "Date": value})
    wait = retry_after(answer, NOW)
    retry_after(answer, date_of(answer))

    assert wait is None or timedelta() <= wait <= LONGEST_WAIT
