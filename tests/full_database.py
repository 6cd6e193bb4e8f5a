"""Databases with rows in every table, whatever tables and columns there are by now."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, MetaData, Table

from app import copies, database, migrate, settings

WHEN = datetime(2026, 11, 20, 20, 14, 30, 250_000, tzinfo=UTC)
# What engines write down each in its own way.
WORDS = "Ærø ’n’ “日本” \\ % ' 🎬"
NESTED = {
    "kind": "movie",
    "ids": {"trakt": 481, "imdb": None},
    "b": [1.5, True, None, WORDS],
    "a": {},
}


def value(column: Column[Any], number: int) -> object:
    """Something that fits into a column; of the rows of a table each has its own."""
    if column.foreign_keys:
        return 1
    name = type(column.type).__name__.upper()
    match name:
        case "INTEGER":
            return number
        case "BOOLEAN":
            return number % 2 == 0
        case "DATETIME" | "UTCDATETIME" | "TIMESTAMP":
            return WHEN + timedelta(days=number)
        case "LARGEBINARY" | "BLOB" | "BYTEA":
            return bytes([0, 255, number])
        case "JSON":
            return {**NESTED, "number": number}
    assert name in {"VARCHAR", "TEXT", "AUTOSTRING"}, f"tell how to fill a {name}"
    return f"{WORDS} {number}"


def fill(connection: Connection, tables: list[Table], rows: int) -> None:
    """Write so many rows into each table; one where a row belongs to an account by its key."""
    for table in tables:
        is_of_one = any(column.foreign_keys for column in table.primary_key)
        for number in range(1, 2 if is_of_one else rows + 1):
            row = {column.name: value(column, number) for column in table.columns}
            connection.execute(table.insert(), row)


def filled(url: str, rows: int = 3) -> str:
    """Make a database of the newest schema with rows in every table; return its URL."""
    url = settings.database(url)
    database.prepare(url)
    migrate.upgrade(url)
    with migrate.alone(url) as connection:
        fill(connection, copies.tables(), rows)
    return url


def filled_at(url: str, step: str) -> dict[str, int]:
    """Make a database at an old step with a row in every table; return how many there are."""
    database.prepare(url)
    with migrate.alone(url) as connection:
        migrate.go(connection, step)
    with migrate.alone(url) as connection:
        tables = tables_there(connection)
        fill(connection, tables, 1)
    return {table.name: 1 for table in tables}


def tables_there(connection: Connection) -> list[Table]:
    """The tables of ours that a database has, each after those that it points to."""
    found = MetaData()
    found.reflect(connection)
    others = ("alembic_version", "queue_")
    return [table for table in found.sorted_tables if not table.name.startswith(others)]


def sums(url: str) -> list[copies.Copied]:
    """What each table of the newest schema holds."""
    with migrate.still(settings.database(url)) as connection:
        return [copies.summed(connection, table) for table in copies.tables()]
