"""An operator's machine, on which commands are run as people run them."""

import asyncio
import os
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path

from app import database, migrate

ROOT = Path(__file__).parents[1]


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
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app", *words,
            cwd=self.folder,
            env={"PATH": os.defpath, "PYTHONPATH": str(ROOT), **settings, **values},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, complaint = await process.communicate()
        return Ended(process.returncode or 0, said.decode(), complaint.decode())

    def migrate(self) -> None:
        database.prepare(self.url)
        migrate.upgrade(self.url)

    def alter(self, statement: str, *values: str) -> None:
        database = sqlite3.connect(self.database)
        with database:
            database.execute(statement, values)
        database.close()
