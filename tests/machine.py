"""An operator's machine, on which commands are run as people run them."""

import asyncio
import atexit
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from app import database, migrate

ROOT = Path(__file__).parents[1]
PATIENCE = 120  # seconds


@cache
def nursery() -> Path:
    """Return where `tests.nursery` is to be found, which runs until the tests end."""
    folder = Path(mkdtemp(prefix="ownyourtrakt-nursery-"))
    door = folder / "door"
    process = subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-m", "tests.nursery", str(door)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"

    def end() -> None:
        process.communicate()
        rmtree(folder)

    atexit.register(end)
    return door


@dataclass(frozen=True)
class Ended:
    code: int
    said: str
    complaint: str

    @property
    def faults(self) -> list[str]:
        """The checks of the doctor that failed, by name."""
        return [line.split()[1].strip(":") for line in self.said.splitlines() if "FAIL" in line]

    @property
    def line(self) -> str:
        """The one line it stopped with."""
        assert (self.code, self.said) == (2, ""), self
        (line,) = self.complaint.splitlines()
        return line


@dataclass(frozen=True)
class Machine:
    """Its own folder, and settings that hold only what is named."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "bridge.db"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.database}"

    async def run(self, *words: str, **values: str) -> Ended:
        settings = {
            "SECRET_KEY": "a secret key that only the tests know",
            "DATABASE_URL": self.url,
            "TRAKT_CLIENT_ID": "client",
        }
        order = {
            "words": words,
            "folder": str(self.folder),
            "environment": {"PATH": os.defpath, "PYTHONPATH": str(ROOT), **settings, **values},
        }
        reader, writer = await asyncio.open_unix_connection(nursery())
        async with asyncio.timeout(PATIENCE):
            writer.write(f"{json.dumps(order)}\n".encode())
            told = json.loads(await reader.read())
        writer.close()
        await writer.wait_closed()
        return Ended(*told)

    def migrate(self) -> None:
        database.prepare(self.url)
        migrate.upgrade(self.url)

    def alter(self, statement: str, *values: str) -> None:
        database = sqlite3.connect(self.database)
        with database:
            database.execute(statement, values)
        database.close()
