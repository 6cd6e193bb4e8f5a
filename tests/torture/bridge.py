"""The bridge as the harness holds it: processes that are born, die, and are born again."""

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.torture.plans import Death, Form, Part
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
class Mortal:
    """One process at a time, forked from one that has imported everything."""

    port: int
    nursery: Process
    pid: int | None = None
    ended: asyncio.Future[int] = field(default_factory=over)
    kills: int = 0

    async def begin(self, death: Death | None, *, is_patient: bool = False) -> None:
        """Begin a life, which may have an end of its own; ``is_patient``: with usual deadlines."""
        assert self.nursery.stdin
        plan = json.dumps({"death": death and asdict(death), "is_patient": is_patient})
        self.nursery.stdin.write(f"{plan}\n".encode())
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


@dataclass(slots=True)
class Bridge:
    """The process that people meet, and the workers; without any, the first one does it all.

    ``ended``, and whether it ``lives``, are those of the first one.
    """

    database: str
    pages: Mortal
    workers: Sequence[Mortal] = ()
    turn: int = 0

    @property
    def url(self) -> str:
        """Where people find the bridge."""
        return f"http://localhost:{self.pages.port}"

    @property
    def ended(self) -> "asyncio.Future[int]":
        """When the process that people meet has ended."""
        return self.pages.ended

    @property
    def lives(self) -> bool:
        """Whether people meet somebody now."""
        return self.pages.lives

    @property
    def all(self) -> Sequence[Mortal]:
        """Every process."""
        return (self.pages, *self.workers)

    @property
    def kills(self) -> int:
        """How many lives were ended by SIGKILL."""
        return sum(one.kills for one in self.all)

    @property
    def kills_of_workers(self) -> int:
        """How many of them were lives of workers."""
        return sum(one.kills for one in self.workers)

    def next(self) -> Mortal:
        """Return the process whose turn it is to die before the others: a worker, if there is."""
        self.turn += 1
        return self.workers[self.turn % len(self.workers)] if self.workers else self.pages

    async def begin(self, death: Death | None, *, is_patient: bool = False) -> None:
        """Begin a life, in which one process may have an end of its own."""
        doomed = self.next()
        for one in self.all:
            await one.begin(death if one is doomed else None, is_patient=is_patient)

    async def strike(self) -> int:
        """End one process as a power cut does; the others go on. Return its exit code."""
        return await self.next().kill()

    async def kill(self) -> int:
        """End all as a power cut does; return the exit code that tells the most."""
        return worst([await one.kill() for one in self.all])

    async def ask_to_end(self) -> int:
        """End all as a platform does; return the exit code that tells the most.

        Raises:
            TimeoutError: one is still there after `PATIENCE`.

        """
        return worst(await asyncio.gather(*(one.ask_to_end() for one in self.all)))


def worst(codes: Sequence[int]) -> int:
    """Return an end that nobody asked for, else a kill, else any."""
    asked = (0, -signal.SIGTERM)
    known = (*asked, -signal.SIGKILL)
    unknown = [code for code in codes if code not in known]
    return (unknown or [code for code in codes if code not in asked] or list(codes))[0]


@asynccontextmanager
async def nurseries(
    folder: Path, environment: Mapping[str, str], form: Form
) -> AsyncIterator[Bridge]:
    """Yield a bridge that has not begun to live yet; afterwards nothing of it is left running."""
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listening())
        port = listener.getsockname()[1]
        settings = {"BASE_URL": f"http://localhost:{port}", **environment}
        worker = Part.JOBS if form.with_jobs else Part.WORK
        parts = [Part.PAGES, *[worker] * form.workers] if form.workers else [Part.ALL]
        pages, *others = [
            await stack.enter_async_context(nursery(folder, settings, listener, part))
            for part in parts
        ]
        yield Bridge(environment["DATABASE_URL"], pages, others)


@asynccontextmanager
async def nursery(
    folder: Path, environment: Mapping[str, str], listener: socket.socket, part: Part
) -> AsyncIterator[Mortal]:
    """Yield a process that has not begun to live yet."""
    ours, theirs = os.pipe()[::-1]
    with (folder / f"{part}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.torture.server"),
            *(str(listener.fileno()), str(theirs), str(folder), part),
            cwd=folder,
            env={"PYTHONPATH": str(ROOT), **environment},
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            pass_fds=(listener.fileno(), theirs),
        )
    try:
        yield Mortal(listener.getsockname()[1], process)
    finally:
        # Whoever holds the other end of this pipe ends now.
        os.close(ours)
        os.close(theirs)
        process.kill()
        await process.wait()
