"""Copies of a whole database: into one file, and from one engine to the other, row by row."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, select, text
from sqlmodel import SQLModel

from app.tables import LeaseRow, PictureRow, WorkerRow

# So many of those made before a migration are kept.
KEPT = 3
PORTION = 1000


class NotEmpty(Exception):
    """The database to copy to holds something already."""


class Differs(Exception):
    """What was copied does not read as it was written; nothing was kept."""


@dataclass(frozen=True, slots=True)
class Copied:
    """How many rows of a table were copied, and a digest of them all, in whatever order."""

    table: str
    rows: int
    digest: str


def copy_file(source: Path, target: Path) -> None:
    """Copy a SQLite database that may be in use into one whole file that only its owner reads.

    Raises:
        FileExistsError: there is such a file already.
        OSError, sqlite3.Error: it cannot be read or written.

    """
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if target.exists():
        raise FileExistsError(f"{target} exists already")
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with closing(sqlite3.connect(source)) as connection:
            connection.execute("VACUUM INTO ?", (str(part),))
        os.fsync(handle)
        part.rename(target)
    finally:
        os.close(handle)
        part.unlink(missing_ok=True)


def keep_old(path: Path, step: str, now: datetime) -> Path:
    """Copy a SQLite database at an older step of the migrations; keep the last few such copies."""
    folder = path.parent / "backups"
    made = folder / f"{path.stem}-{now:%Y%m%dT%H%M%S}Z-{step}.db"
    made.unlink(missing_ok=True)
    copy_file(path, made)
    for old in sorted(folder.glob(f"{path.stem}-*Z-*.db"))[:-KEPT]:
        old.unlink()
    return made


def tables() -> list[Table]:
    """Return the tables that a copy holds, each after those that it points to.

    Who works on one database says nothing of another, and the pictures that are kept are fetched
    again.
    """
    left_out = {row.__tablename__ for row in (LeaseRow, WorkerRow, PictureRow)}
    return [table for table in SQLModel.metadata.sorted_tables if table.name not in left_out]


def count(connection: Connection) -> int:
    """Return how many rows there are to copy."""
    counts = [connection.scalar(select(func.count()).select_from(table)) for table in tables()]
    return sum(one or 0 for one in counts)


def copy_rows(
    source: Connection, target: Connection, progress: Callable[[int], None]
) -> list[Copied]:
    """Copy all rows into an empty database of the same schema, and compare what is there then.

    Raises:
        NotEmpty: there is something in it already.
        Differs: it does not read there as it did here.

    """
    if count(target):
        raise NotEmpty("it holds something already; a copy needs an empty one")
    copied = []
    for table in tables():
        rows, digest = 0, 0
        for portion in portions(source, table):
            target.execute(table.insert(), portion)
            rows, digest = rows + len(portion), total(digest, portion)
            progress(len(portion))
        copied.append(Copied(table.name, rows, f"{digest:064x}"))
        if target.dialect.name == "postgresql":
            go_on_counting(target, table)
    if [summed(target, table) for table in tables()] != copied:
        raise Differs("what was copied does not read as it was written; nothing was kept")
    return copied


def portions(connection: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a table, a portion at a time."""
    found = connection.execute(select(table).execution_options(yield_per=PORTION))
    for portion in found.mappings().partitions():
        yield [dict(row) for row in portion]


def summed(connection: Connection, table: Table) -> Copied:
    """Return how many rows a table has, and their digest."""
    rows, digest = 0, 0
    for portion in portions(connection, table):
        rows, digest = rows + len(portion), total(digest, portion)
    return Copied(table.name, rows, f"{digest:064x}")


def total(digest: int, rows: Sequence[Mapping[str, Any]]) -> int:
    """Return a digest to which ``rows`` are added: engines differ in how they order texts."""
    for row in rows:
        words = json.dumps(dict(row), default=utc, sort_keys=True).encode()
        digest += int.from_bytes(hashlib.sha256(words).digest())
    return digest % 2**256


def utc(value: datetime) -> str:
    """Return a time as text, whatever offset an engine gave it."""
    return value.astimezone(UTC).isoformat()


def go_on_counting(connection: Connection, table: Table) -> None:
    """Let PostgreSQL number new rows after the highest one; SQLite does by itself."""
    if "id" not in table.columns:
        return
    highest = connection.scalar(select(func.max(table.columns["id"])))
    if highest is not None:
        connection.execute(
            text("SELECT setval(pg_get_serial_sequence(:table, 'id'), :highest)"),
            {"table": table.name, "highest": highest},
        )
