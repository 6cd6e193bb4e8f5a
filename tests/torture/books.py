"""The bridge's database as the torture sees it, whichever of the two it is."""

import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import make_url

BRIDGE = "bridge"
COPY = "copy"


def rows(url: str, question: str, *values: object) -> list[tuple[Any, ...]]:
    """Return what the database has for ``question``; instants as text, as SQLite writes them.

    Raises an error of the driver where there is no such table or no database.
    """
    if path := file_of(url):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return list(connection.execute(question, values))
    with psycopg.connect(url) as connection:
        found = connection.execute(question.replace("?", "%s").encode(), values)
        return [tuple(map(written, row)) for row in found]


def is_there(url: str, question: str, *values: object) -> bool:
    """Tell whether the database has a row for ``question``; it may not even have the table."""
    try:
        return bool(rows(url, question, *values))
    except (sqlite3.OperationalError, psycopg.Error):
        return False


def last_heartbeat(url: str) -> datetime:
    """Return when the bridge says that it last worked."""
    ((at,),) = rows(url, "SELECT at FROM heartbeat")
    return datetime.fromisoformat(at).replace(tzinfo=UTC)


def written(value: object) -> object:
    """Return an instant as SQLite writes it, anything else as it is."""
    if not isinstance(value, datetime):
        return value
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def file_of(url: str) -> Path | None:
    """Return the file of a SQLite database, None of the other kind."""
    return Path(url.partition(":///")[2]) if url.startswith("sqlite") else None


# Copies, while nobody works.


def keep_copy(url: str, copy: Path) -> str:
    """Copy the database, as a person's nightly backup does; return the URL of the copy."""
    if path := file_of(url):
        copy.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as mine, closing(sqlite3.connect(copy)) as own:
            mine.backup(own)
        return f"sqlite:///{copy}"
    with alone(url) as connection:
        connection.execute(dropping(COPY))
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*map(sql.Identifier, (COPY, BRIDGE)))
        )
    return make_url(url).set(database=COPY).render_as_string(hide_password=False)


def put_back(url: str, copy: str) -> None:
    """Put an old copy in the place of the database."""
    if (path := file_of(url)) and (old := file_of(copy)):
        for left in ("", "-wal", "-shm"):
            Path(f"{path}{left}").unlink(missing_ok=True)
        old.rename(path)
        return
    with alone(url) as connection:
        connection.execute(dropping(BRIDGE))
        connection.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*map(sql.Identifier, (COPY, BRIDGE)))
        )


def alone(url: str) -> psycopg.Connection[Any]:
    """Connect beside the database, and end what the dead have left connected to it."""
    beside = make_url(url).set(database="postgres").render_as_string(hide_password=False)
    connection = psycopg.connect(beside, autocommit=True)
    with suppress(psycopg.Error):
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [BRIDGE]
        )
    return connection


def dropping(name: str) -> sql.Composed:
    """Return the statement that drops a database, if there is one."""
    return sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
