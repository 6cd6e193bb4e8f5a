"""The one way out: an HTTP client that strangers cannot aim at our own network.

People type addresses, and pages name further ones, so every connection is checked where it is
made: a name is resolved once, all its addresses must be public, and the connection goes to a
checked address, never to the name again. That closes DNS rebinding, and a redirect needs no
check of its own. Answers are read whole, up to a cap, within one deadline.
"""

import asyncio
import re
import socket
import ssl
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache, partial
from ipaddress import (
    IPv4Address,
    IPv6Address,
    ip_address,
    ip_network,
)
from time import perf_counter
from typing import Any, NoReturn

import httpcore2
import httpx2
import structlog

from app import __version__
from app.errors import (
    AddressBlocked,
    AnswerBroken,
    AnswerLost,
    AnswerTooLarge,
    FetchError,
    NeverSent,
    NotTrusted,
)
from app.settings import Network

log = structlog.get_logger()

Address = IPv4Address | IPv6Address
# Told of each request: the status of its answer, or why none came, and the seconds it took.
Seen = Callable[[int | FetchError, float], None]

MIB = 1024 * 1024
WEB_PORTS = frozenset({80, 443})
CONNECT_TIMEOUT = timedelta(seconds=10)
NO_SUCH_NAME = "no such name"
PATIENCE = timedelta(seconds=20)
# Nobody who asks for more than a day means it, and a bad value must not stop us for years.
LONGEST_WAIT = timedelta(days=1)
# Every address of IPv6 that the public internet uses.
GLOBAL_UNICAST = ip_network("2000::/3")
# Carries an IPv4 address that decides.
NAT64 = ip_network("64:ff9b::/96")
# `ipaddress` counts these, or parts of them, as global; no website lives there, and tunnels
# lead to an IPv4 address of somebody's choice.
NO_WEBSITES = tuple(
    map(
        ip_network,
        # Protocol assignments; relays of 6to4; protocols again, with Teredo; 6to4; documentation.
        ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20"),
    )
)
# What the last 64 bits of an ISATAP address begin with, but for one bit (RFC 5214 §6.1).
ISATAP = 0x0000_5EFE
# A name may have thousands of addresses, but we are nobody's port scanner.
MOST_ADDRESSES = 6
# `getaddrinfo` takes as long as a stranger's name server likes, up to a minute, and cannot be
# stopped. Those who wait for a thread do not wait longer than for a connection.
MOST_LOOKUPS = 16
# All headers before the body, also those of any number of "100 Continue"; h11 itself stops at
# 100 KiB for one set of them.
LARGEST_HEAD = 256 * 1024
MOST_PIECES = 30_000


@dataclass(frozen=True, slots=True)
class Caps:
    """How much of an answer one request may cost us, and how long it may take in all."""

    max_bytes: int = MIB
    deadline: timedelta = PATIENCE


def caps(max_bytes: int = MIB, deadline: timedelta = PATIENCE) -> dict[str, object]:
    """Return the ``extensions`` argument that puts other caps on one request."""
    return {"caps": Caps(max_bytes, deadline)}


def client(
    allowed: Sequence[Network] = (),
    *,
    about: str = "",
    keepalive: int = 0,
    seen: Seen | None = None,
) -> httpx2.AsyncClient:
    """Return a client that contacts public addresses and those inside ``allowed``.

    It follows no redirect, keeps no cookie and ignores the environment's proxies. It raises
    `NeverSent` or `AnswerLost` where httpx2 would raise its own errors. Without ``keepalive``
    every request has a fresh connection: a kept one that the other side has closed fails like
    a lost answer, which must not happen to a request that cannot be repeated.
    ``about`` is the URL a puzzled server administrator finds in our User-Agent; ``seen`` is told
    of each request.
    """
    agent = f"OwnYourTrakt/{__version__}" + (f" (+{about})" if about else "")
    return httpx2.AsyncClient(
        transport=GuardedTransport(allowed, keepalive, seen),
        headers={"User-Agent": agent, "Accept-Encoding": "gzip"},
        trust_env=False,
        follow_redirects=False,
        timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT.total_seconds()),
    )


@cache
def trusted() -> ssl.SSLContext:
    """Return whom encrypted connections trust: the machine's own authorities, read once."""
    return httpx2.create_ssl_context(trust_env=False)


class Guard(httpcore2.AsyncNetworkBackend):
    """A network backend that checks every address before any packet leaves."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self.allowed = allowed
        self.network = httpcore2.AnyIOBackend()
        # asyncio's own threads are few; slow names would keep everything else from them.
        self.threads = ThreadPoolExecutor(MOST_LOOKUPS, "names")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore2's
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to ``host``, which is resolved here and nowhere else.

        Raises:
            AddressBlocked: one of its addresses, or the port, is not allowed.

        """
        try:
            async with asyncio.timeout(timeout):
                addresses = await self.resolve(host, port)
                self.check(host, port, addresses)
                addresses = addresses[:MOST_ADDRESSES]
                return Metered(
                    await self.first_to_answer(addresses, port, local_address, socket_options)
                )
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error

    async def resolve(self, host: str, port: int) -> list[Address]:
        """Return the addresses of ``host``, each once, in the resolver's order."""
        loop = asyncio.get_running_loop()
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            found = await loop.run_in_executor(self.threads, ask)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(NO_SUCH_NAME) from error
        # An IPv6 scope ("%eth0") names an interface of ours; drop it, the address decides.
        texts = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
        return [ip_address(text) for text in texts]

    def check(self, host: str, port: int, addresses: Sequence[Address]) -> None:
        """Raise `AddressBlocked` unless every address may be contacted on ``port``."""
        for address in addresses:
            inside = is_inside(address, self.allowed)
            if not inside and not is_public(address):
                # Only the log says where it leads: strangers could ask for the names inside.
                log.warning("address blocked", host=host, address=str(address), port=port)
                raise AddressBlocked(f"{host} leads to an address that is not public")
            if not inside and port not in WEB_PORTS:
                log.warning("port blocked", host=host, port=port)
                raise AddressBlocked(f"{host} asks for port {port}; only 80 and 443 are allowed")

    async def first_to_answer(
        self,
        addresses: Sequence[Address],
        port: int,
        local_address: str | None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None,
    ) -> httpcore2.AsyncNetworkStream:
        """Return a connection to the first of the checked addresses that accepts one."""
        *others, last = addresses
        for address in others:
            try:
                return await self.network.connect_tcp(
                    str(address), port, None, local_address, socket_options
                )
            except httpcore2.ConnectError:
                continue
        return await self.network.connect_tcp(str(last), port, None, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore2's
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> NoReturn:
        """Refuse: no URL of a stranger leads to a socket of this machine."""
        del timeout, socket_options
        raise AddressBlocked(f"unix socket {path}")

    async def sleep(self, seconds: float) -> None:
        """Wait, as httpcore2 asks for between its retries."""
        await self.network.sleep(seconds)


class Metered(httpcore2.AsyncNetworkStream):
    """A connection whose other end may say so much in answer, and no more.

    A body is capped where it is read, but headers, the frames of chunks and what compresses to
    nothing are not part of it, and could keep us busy until the deadline.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self.stream = stream
        self.left = LARGEST_HEAD

    def expect_body(self, max_bytes: int) -> None:
        """Let a body of ``max_bytes`` come, with a quarter on top for its frames."""
        self.left = max_bytes + max_bytes // 4 + LARGEST_HEAD

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore2's
        """Return what came, or raise `AnswerTooLarge`."""
        data = await self.stream.read(max_bytes, timeout)
        self.left -= len(data)
        if self.left < 0:
            raise AnswerTooLarge("the answer does not come to an end")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore2's
        """Send a part of a request."""
        self.left = LARGEST_HEAD
        await self.stream.write(buffer, timeout)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore2's
    ) -> httpcore2.AsyncNetworkStream:
        """Return the same connection, encrypted."""
        return Metered(await self.stream.start_tls(ssl_context, server_hostname, timeout))

    async def aclose(self) -> None:
        """Close the connection."""
        await self.stream.aclose()

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - the signature is httpcore2's
        """Return what httpcore2 wants to know of the connection."""
        return self.stream.get_extra_info(info)


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """Requests through a `Guard`; answers whole, capped, without cookies, in our own errors."""

    def __init__(
        self, allowed: Sequence[Network], keepalive: int, seen: Seen | None = None
    ) -> None:
        self.allowed = allowed
        self.seen = seen
        # AsyncHTTPTransport takes no network backend, so its pool is replaced. A test connects
        # to a listener that must stay untouched and would notice if this stopped working.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=trusted(),
            max_connections=None,
            max_keepalive_connections=keepalive,
            keepalive_expiry=30.0,
            network_backend=Guard(allowed),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the answer as `answer` does, and tell who counts how it ended."""
        began = perf_counter()
        try:
            response = await self.answer(request)
        except FetchError as error:
            self.tell(error, began)
            raise
        self.tell(response.status_code, began)
        return response

    def tell(self, ended: int | FetchError, began: float) -> None:
        """Tell who counts, if anyone does, how a request ended."""
        if self.seen:
            self.seen(ended, perf_counter() - began)

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        """Return the answer with its body read.

        ``extensions["private"]`` tells whether the other side is inside the allowed networks.

        Raises:
            NeverSent: nothing left us.
            AnswerLost: it left us, and no whole answer came back.
            AnswerBroken: because the connection ended.

        """
        if request.url.userinfo:
            raise AddressBlocked(f"{request.url.host}: a URL with a user name is not contacted")
        limits = request.extensions.get("caps") or Caps()
        try:
            async with asyncio.timeout(limits.deadline.total_seconds()):
                return await self.read(await super().handle_async_request(request), limits)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise not_reached(request.url.host, error) from error
        except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError) as error:
            raise NeverSent(f"{request.url.host}: {error}") from error
        except TimeoutError as error:
            seconds = limits.deadline.total_seconds()
            raise AnswerLost(f"{request.url.host} took longer than {seconds:.0f} s") from error
        except httpx2.RequestError as error:
            raise AnswerBroken(f"{request.url.host} broke off the connection") from error

    async def read(self, response: httpx2.Response, limits: Caps) -> httpx2.Response:
        """Return ``response`` with its body read and decoded, at most ``limits.max_bytes``."""
        # Asked for now: a connection that is closed no longer knows its other end.
        stream = response.extensions.get("network_stream")
        peer = stream.get_extra_info("server_addr") if stream else None
        if isinstance(stream, Metered):
            stream.expect_body(limits.max_bytes)
        try:
            body = await whole_body(response, limits.max_bytes)
        finally:
            await response.aclose()
        dropped = (b"content-encoding", b"content-length", b"transfer-encoding", b"set-cookie")
        return httpx2.Response(
            response.status_code,
            headers=[(k, v) for k, v in response.headers.raw if k.lower() not in dropped],
            content=body,
            extensions={
                "http_version": response.extensions.get("http_version", b"HTTP/1.1"),
                "private": peer is not None and is_inside(ip_address(peer[0]), self.allowed),
            },
        )


async def whole_body(response: httpx2.Response, max_bytes: int) -> bytes:
    """Return the decoded body of ``response``.

    Decoding is bounded too: a compression bomb ends at ``max_bytes``, not in memory.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"identity", "", "gzip", "x-gzip", "deflate"}:
        raise AnswerLost(f"the answer came as {encoding[:50]!r}, which we did not ask for")
    # 32 + 15: zlib recognises the gzip and the zlib header by itself.
    decoder = zlib.decompressobj(47) if encoding not in {"identity", ""} else None
    body = bytearray()
    # Each piece costs time of its own; a mebibyte in pieces of one byte would take half a minute.
    pieces_left = MOST_PIECES + max_bytes // 1024
    async for chunk in response.aiter_raw():
        room = max_bytes - len(body) + 1
        body += decode(decoder, chunk, room) if decoder else chunk
        pieces_left -= 1
        if len(body) > max_bytes or pieces_left < 0:
            raise AnswerTooLarge(f"the answer is larger than {max_bytes // 1024} KiB")
    if decoder and not decoder.eof and body:
        raise AnswerLost("the compressed answer ended too early")
    return bytes(body)


def decode(decoder: "zlib._Decompress", chunk: bytes, room: int) -> bytes:
    """Return what ``chunk`` decodes to, at most ``room`` bytes of it.

    What comes after the end of the stream is passed over; zlib would keep it.
    """
    if decoder.eof:
        return b""
    try:
        return decoder.decompress(chunk, room)
    except zlib.error as error:
        raise AnswerLost("the compressed answer is damaged") from error


def is_inside(address: Address, networks: Sequence[Network]) -> bool:
    """Tell whether ``address``, or the IPv4 address inside it, lies in one of ``networks``."""
    return any(
        inner in network
        for inner in (address, embedded(address))
        if inner is not None
        for network in networks
    )


def is_public(address: Address) -> bool:
    """Tell whether ``address`` belongs to the public internet.

    ``is_global`` alone is not enough: it holds for multicast and for tunnels to private addresses.
    """
    inner = embedded(address)
    if inner is not None:
        return is_public(inner)
    if any(address in network for network in NO_WEBSITES):
        return False
    if isinstance(address, IPv6Address) and (address not in GLOBAL_UNICAST or is_isatap(address)):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def is_isatap(address: IPv6Address) -> bool:
    """Tell whether ``address`` is a tunnel to the IPv4 address in its last 32 bits."""
    return (int(address) >> 32) & 0xFDFF_FFFF == ISATAP


def embedded(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv4Address):
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped


def not_reached(host: str, error: Exception) -> NeverSent:
    """Say in a few words why no connection to ``host`` came about."""
    if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return NeverSent(f"{host} did not answer in time")
    if "CERTIFICATE" in str(error).upper():
        return NotTrusted(f"{host} has no valid certificate")
    if NO_SUCH_NAME in str(error):
        return NeverSent(f"{host} is a name that does not exist")
    return NeverSent(f"{host} could not be reached")


def retry_after(response: httpx2.Response, now: datetime | None) -> timedelta | None:
    """Return how long the server asked us to wait, or None if it did not say.

    Understands both forms of ``Retry-After`` (RFC 9110 §10.2.3), seconds and a date, and
    ``RateLimit-Reset`` in seconds, which Indiekit sends. A date in the past means "now"; without
    ``now``, the other side's clock, a date means nothing.
    Nonsense counts as silence: a server in trouble should not also be able to crash us.
    """
    value = response.headers.get("Retry-After", response.headers.get("RateLimit-Reset", ""))
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return timedelta(seconds=min(int(value[:9]), LONGEST_WAIT.total_seconds()))
    when = http_date(value)
    if when is None or now is None:
        return None
    return min(max(when - now, timedelta()), LONGEST_WAIT)


def date_of(response: httpx2.Response) -> datetime | None:
    """Return the other side's clock, to the second; None when it does not tell."""
    return http_date(response.headers.get("Date", ""))


def http_date(text: str) -> datetime | None:
    """Return the instant an HTTP header names, in UTC; None for nonsense of any kind."""
    try:
        when = parsedate_to_datetime(text)
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


# Long, and with a digit in it: no word of a sentence looks like that.
KEY = re.compile(r"(?=[A-Za-z_~+=-]*[0-9])[\w~+=-]{20,}")


def without_keys(text: str) -> str:
    """Return somebody's words without what may be a key: they may repeat what they were sent."""
    return KEY.sub("…", text)
