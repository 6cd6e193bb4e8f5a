"""The other program, run here: a binary that somebody has built and named by its path.

Trakt's addresses are built into it. So it is sent through a gateway of ours, as the environment
of a program may ask: that is Trakt to it, by a certificate that it alone trusts, and the way to
all websites. Nothing of the program itself is changed. What is here follows its public source of
the commit in `bench.theirs`.
"""

import asyncio
import os
import ssl
import time
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL, STDOUT
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench import crowd, theirs
from bench.crowd import SITES, Crowd
from bench.others import Others, others
from bench.process import IDLE, after_a_round
from bench.rounds import NO_LATENCY, POLL, idle_round, round_with_news
from bench.server import Server, cpu, free_port, resident

TRAKT = ("api.trakt.tv", "trakt.tv")
START = 10.0  # seconds
# For a request of a round, beside the latency; it asks for one thing after the other.
PATIENCE = timedelta(seconds=1)


class NotRun(Exception):
    """The binary cannot be run, or does not do what the other program does."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where the program lives: its binary, its folder, its simulators and the way to them."""

    binary: Path
    folder: Path
    others: Others[Crowd]
    gateway: str
    certificate: Path


def program(path: Path) -> Path:
    """Return where the program at ``path`` is, whatever folder it is run in. Raises `NotRun`."""
    if not path.is_file() or not os.access(path, os.X_OK):
        raise NotRun(f"{path} is no program that can be run")
    return path.resolve()


async def their_figures(
    binary: Path, folder: Path, accounts: int, latency: timedelta
) -> Mapping[str, float]:
    """Return what the program at ``binary`` needs, by the names that our figures have.

    Raises `NotRun`.
    """
    certificate, context = certified(folder)
    with others(partial(crowd.make, accounts, 0.0), 2) as away:
        async with a_gateway(away.origins, context) as gateway:
            home = Home(binary, folder, away, gateway, certificate)
            async with running(home) as server:
                idle = resident(server.process)
                for who in range(accounts):
                    await sign_up(server, who)
            at_once = await a_round(home, accounts, NO_LATENCY)
            await away.do(partial(crowd.take_time, latency.total_seconds()))
            unchanged = await a_round(home, accounts, latency)
            # It misses what is older than its sign-up, and Trakt tells whole minutes only.
            soon = datetime.now(UTC) + timedelta(minutes=2)
            await away.do(partial(crowd.everybody_watches, 1, soon))
            news = await a_round(home, 2 * accounts, latency)
            if wrongs := await away.do(crowd.unposted):
                raise NotRun(f"{binary} did not post {wrongs} of {accounts} plays")
    return {
        IDLE: idle,
        after_a_round(accounts): at_once.memory,
        POLL: at_once.cpu * 1000 / accounts,
        idle_round(accounts, latency): unchanged.seconds,
        round_with_news(accounts, latency): news.seconds,
    }


@dataclass(frozen=True, slots=True)
class Round:
    """What a round needed, from the start of the process on: it polls everybody when it starts."""

    seconds: float
    cpu: float
    memory: float


async def a_round(home: Home, requests: int, latency: timedelta) -> Round:
    """Start the program and return what it needed until so many requests were answered."""
    before, began = await home.others.do(crowd.asked), time.perf_counter()
    async with running(home) as server:
        try:
            async with asyncio.timeout((requests * (latency + PATIENCE)).total_seconds()):
                while await home.others.do(crowd.asked) < before + requests:  # noqa: ASYNC110 - it happens in another process
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise NotRun(f"{home.binary} does not poll everybody when it starts") from None
        return Round(time.perf_counter() - began, cpu(server.process), resident(server.process))


@asynccontextmanager
async def running(home: Home) -> AsyncIterator[Server]:
    """Run the program during the block."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    settings = {
        "port": port,
        "baseUrl": origin,
        "sessionKey": "only the benches know it",
        "database": str(home.folder / "database.db"),
        "traktClientId": "bench",
        "traktClientSecret": "bench",
    }
    lines = [f"{name}: {value}\n" for name, value in settings.items()]
    (home.folder / "config.yaml").write_text("".join(lines), encoding="utf-8")
    environment = {
        "PATH": os.defpath,
        "HOME": str(home.folder),
        "TZ": "UTC",
        "HTTP_PROXY": home.gateway,
        "HTTPS_PROXY": home.gateway,
        "SSL_CERT_FILE": str(home.certificate),
    }
    with (home.folder / "log").open("w+b") as log:
        try:
            process = await asyncio.create_subprocess_exec(
                home.binary,
                cwd=home.folder,
                env=environment,
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
            )
        except OSError as error:
            raise NotRun(f"{home.binary} cannot be run: {error.strerror}") from error
        server = Server(process, origin)
        try:
            await until_it_answers(home, server)
            yield server
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def until_it_answers(home: Home, server: Server) -> None:
    """Ask until the program answers. Raises `NotRun`."""
    end = time.perf_counter() + START
    async with httpx2.AsyncClient(trust_env=False) as browser:
        while time.perf_counter() < end and server.process.returncode is None:
            with suppress(httpx2.TransportError):
                await browser.get(server.origin)
                return
            await asyncio.sleep(0.02)
    last = (home.folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
    raise NotRun(f"{home.binary} does not answer; its last word: {''.join(last) or 'none'}")


async def sign_up(server: Server, who: int) -> None:
    """Sign somebody in with their site and connect their Trakt. Raises `NotRun`."""
    async with httpx2.AsyncClient(base_url=server.origin, trust_env=False) as browser:
        for begin, back in (
            (f"/login?me=http://{who}{SITES}/", "/callback"),
            ("/trakt/start", "/trakt/callback"),
        ):
            left = await browser.get(begin)
            state = parse_qs(urlsplit(left.headers.get("Location", "")).query).get("state")
            if not state:
                raise NotRun(f"it does not act like {theirs.NAME}: {begin} → {left.status_code}")
            came = await browser.get(back, params={"code": str(who), "state": state[0]})
            if came.status_code >= 400:
                raise NotRun(f"it does not act like {theirs.NAME}: {back} → {came.status_code}")


# The way to the simulators.


def certified(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Return a certificate of Trakt that nobody else trusts, and how to serve with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "the bench of OwnYourTrakt")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(one) for one in TRAKT]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "trakt.pem", folder / "trakt.key"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context


@asynccontextmanager
async def a_gateway(origins: Sequence[str], context: ssl.SSLContext) -> AsyncIterator[str]:
    """Be a proxy during the block that knows Trakt and websites, and nothing else."""
    server = await asyncio.start_server(partial(relay, origins, context), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def relay(
    origins: Sequence[str], context: ssl.SSLContext, reader: StreamReader, writer: StreamWriter
) -> None:
    """Pass one connection on: what asks for a tunnel gets Trakt, all else the websites."""
    trakt, sites = (urlsplit(origin).port for origin in origins)
    # Whoever goes away in the middle of it has seen enough.
    with suppress(OSError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        is_tunnel = head.startswith(b"CONNECT ")
        there, back = await asyncio.open_connection("127.0.0.1", trakt if is_tunnel else sites)
        if is_tunnel:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await writer.start_tls(context)
        else:
            back.write(head)
        await asyncio.gather(passed_on(reader, back), passed_on(there, writer))


async def passed_on(reader: StreamReader, writer: StreamWriter) -> None:
    """Pass on what comes until nothing more does."""
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
