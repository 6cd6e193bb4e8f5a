"""A real server, run as a platform would run it, and what its process needs."""

import asyncio
import os
import re
import socket
import sys
from asyncio import StreamReader
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from app.settings import Settings

ROOT = Path(__file__).parents[1]
START = 120  # seconds; a loaded machine takes long to import everything


@dataclass(frozen=True, slots=True)
class Server:
    """A process that serves at ``origin``."""

    process: Process
    origin: str


@asynccontextmanager
async def served(settings: Settings, folder: Path) -> AsyncIterator[Server]:
    """Run ``serve`` as a platform would during the block."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "serve"),
        cwd=folder,
        env={**environment(settings), "PORT": str(port)},
        stderr=PIPE,
    )
    try:
        log = process.stderr
        if log is None:
            raise RuntimeError("nobody listens to the server")
        async with asyncio.timeout(START):
            await until_it_serves(log)
        # A server whose log nobody reads stands still when the pipe is full.
        drain = asyncio.create_task(log.read())
        yield Server(process, f"http://127.0.0.1:{port}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    await drain


def free_port() -> int:
    """Return a port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(settings: Settings) -> Mapping[str, str]:
    """Return the environment in which ``serve`` has these settings."""
    return {
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT),
        "BASE_URL": settings.base_url,
        "SECRET_KEY": ",".join(settings.secret_key),
        # Without the driver, as people write it.
        "DATABASE_URL": re.sub(r"^(\w+)\+\w+:", r"\1:", settings.database_url),
        "TRAKT_CLIENT_ID": settings.trakt_client_id,
        "TRAKT_API_URL": settings.trakt_api_url,
        "TRAKT_AUTH_URL": settings.trakt_auth_url,
        "TRAKT_GETS_PER_5_MIN": str(settings.trakt_gets_per_5_min),
        "POLL_INTERVAL": str(settings.poll_interval),
        "TRUSTED_PROXIES": str(settings.trusted_proxies),
        "ALLOW_PRIVATE_NETWORKS": ",".join(map(str, settings.allow_private_networks)),
    }


async def until_it_serves(log: StreamReader) -> None:
    """Read what a server says until it says that it serves."""
    lines = b""
    while b"serving" not in lines:
        line = await log.readline()
        if not line:
            raise RuntimeError(f"the server did not start: {lines.decode(errors='replace')}")
        lines += line


# What Linux tells of a process.


def is_measurable() -> bool:
    """Tell whether this system shows what a process needs, as Linux does."""
    return Path("/proc/self/status").exists()


def resident(process: Process) -> float:
    """Return the resident memory of a process, in MB of a million bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    (kilobytes,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(kilobytes) * 1024 / 1e6


def cpu(process: Process) -> float:
    """Return the processor seconds that a process has used so far."""
    stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8")
    # Its name may hold anything, so count from the parenthesis behind it (proc(5)).
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
