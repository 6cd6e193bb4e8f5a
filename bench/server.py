"""A real server, run as a platform would run it."""

import asyncio
import os
import sys
from asyncio import StreamReader
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from app.settings import Settings

ROOT = Path(__file__).parents[1]
START = 120  # seconds; a loaded machine takes long to import everything


@asynccontextmanager
async def served(settings: Settings, folder: Path) -> AsyncIterator[Process]:
    """Run ``serve`` as a platform would during the block, on a port of its choice."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "serve"),
        cwd=folder,
        env=environment(settings),
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
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    await drain


def environment(settings: Settings) -> Mapping[str, str]:
    """Return the environment in which ``serve`` has these settings."""
    return {
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT),
        "PORT": "0",
        "BASE_URL": settings.base_url,
        "SECRET_KEY": ",".join(settings.secret_key),
        "DATABASE_URL": settings.database_url.replace("sqlite+aiosqlite:", "sqlite:"),
        "TRAKT_CLIENT_ID": settings.trakt_client_id,
        "TRAKT_API_URL": settings.trakt_api_url,
        "TRAKT_AUTH_URL": settings.trakt_auth_url,
        "TRAKT_GETS_PER_5_MIN": str(settings.trakt_gets_per_5_min),
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
