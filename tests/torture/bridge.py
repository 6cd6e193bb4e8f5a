"""The bridge as the harness holds it: a process that is born, dies, and is born again."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.torture.plans import Death
from tests.world import listening

ROOT = Path(__file__).parents[2]
# A platform kills whoever has not gone by then.
PATIENCE = 10  # seconds


def over() -> "asyncio.Future[int]":
    """Return the end of a life that never was."""
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    ended.set_result(0)
    return ended


@dataclass(slots=True)
class Bridge:
    """One process at a time, forked from one that has imported everything."""

    folder: Path
    port: int
    nursery: Process
    pid: int | None = None
    ended: asyncio.Future[int] = field(default_factory=over)
    kills: int = 0

    @property
    def url(self) -> str:
        """Where people find the bridge."""
        return f"http://localhost:{self.port}"

    @property
    def database(self) -> Path:
        """The file of the bridge's database."""
        return self.folder / "bridge.db"

    async def begin(self, death: Death | None) -> None:
        """Begin a life, which may have an end of its own."""
        assert self.nursery.stdin
        self.nursery.stdin.write(f"{json.dumps({'death': death and asdict(death)})}\n".encode())
        self.pid = int((await self.heard("began")).split()[1])
        self.ended = asyncio.ensure_future(self.end())

    async def end(self) -> int:
        """Return the exit code of the life that ends now; negative: the signal that ended it."""
        code = int((await self.heard("ended")).split()[1])
        self.pid = None
        self.kills += code == -signal.SIGKILL
        return code

    async def heard(self, word: str) -> str:
        """Return the next line of the nursery, which begins so."""
        assert self.nursery.stdout
        line = (await self.nursery.stdout.readline()).decode()
        if not line.startswith(word):
            raise AssertionError(f"the nursery said {line!r} where {word!r} was due")
        return line

    @property
    def lives(self) -> bool:
        """Whether there is a process now."""
        return not self.ended.done()

    async def kill(self) -> int:
        """End the life as a power cut does; return its exit code."""
        return await self.signalled(signal.SIGKILL)

    async def ask_to_end(self) -> int:
        """End the life as a platform does; return its exit code.

        Raises:
            TimeoutError: it is still there after `PATIENCE`.

        """
        async with asyncio.timeout(PATIENCE):
            return await self.signalled(signal.SIGTERM)

    async def signalled(self, number: signal.Signals) -> int:
        """Send a signal to the life, if there is one, and wait for its end."""
        # It may have died a moment ago by its own hand.
        with suppress(ProcessLookupError):
            if self.pid is not None:
                os.kill(self.pid, number)
        return await asyncio.shield(self.ended)

    def copy_to(self, path: Path) -> None:
        """Write a copy of the database, as a person's nightly backup does."""
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.database)) as mine, closing(sqlite3.connect(path)) as own:
            mine.backup(own)

    def put_back(self, path: Path) -> None:
        """Put an old copy in the place of the database."""
        for left in ("", "-wal", "-shm"):
            Path(f"{self.database}{left}").unlink(missing_ok=True)
        path.rename(self.database)


@asynccontextmanager
async def nursery(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Bridge]:
    """Yield a bridge that has not begun to live yet; afterwards nothing of it is left running."""
    listener = listening()
    ours, theirs = os.pipe()[::-1]
    port = listener.getsockname()[1]
    with (folder / "bridge.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.torture.server"),
            *(str(listener.fileno()), str(theirs), str(folder)),
            cwd=folder,
            env={"PYTHONPATH": str(ROOT), "BASE_URL": f"http://localhost:{port}", **environment},
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            pass_fds=(listener.fileno(), theirs),
        )
    try:
        yield Bridge(folder, port, process)
    finally:
        # Whoever holds the other end of this pipe ends now.
        os.close(ours)
        os.close(theirs)
        process.kill()
        await process.wait()
        listener.close()
