"""What people said of what they watched: kept as their source tells it today, and looked up."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.opinion import RATINGS, WORDS, Kind, Opinion, newest, viewing
from app.style import StyleRefused, from_json
from app.tables import AccountRow, ConnectionRow, OpinionRow, WatchRow

# Fewer than the values that SQLite takes in one statement.
AT_ONCE = 1000


async def keep(
    session: AsyncSession, connection_id: int, kind: Kind, told: Sequence[Opinion], *, whole: bool
) -> int:
    """Store what was told in place of what was told before; return how much that changes.

    What is not told any more goes, if this is the ``whole`` list.
    """
    found = await session.execute(
        select(OpinionRow.__table__).where(  # type: ignore[attr-defined] # of every table
            col(OpinionRow.connection_id) == connection_id, col(OpinionRow.kind) == kind
        )
    )
    known = {row["item"]: dict(row) for row in found.mappings()}
    today = {one.item: values(connection_id, one) for one in newest(told)}
    new = [row for item, row in today.items() if not is_same(known.get(item), row)]
    gone = [
        row["id"]
        for item, row in known.items()
        if (whole and item not in today) or (item in today and not is_same(row, today[item]))
    ]
    for ids in parts(gone):
        await session.execute(delete(OpinionRow).where(col(OpinionRow.id).in_(ids)))
    for rows in parts(new):
        await session.execute(insert(OpinionRow), rows)
    return len({*gone}) + len(new)


def values(connection_id: int, one: Opinion) -> dict[str, Any]:
    """Return an opinion as the columns of its row."""
    return {
        "connection_id": connection_id,
        "kind": str(one.kind),
        "item": one.item,
        "rating": one.rating,
        "words": one.words,
        "is_spoiler": one.is_spoiler,
        "at": one.at,
    }


def is_same(known: Mapping[str, Any] | None, today: Mapping[str, Any]) -> bool:
    """Tell whether a row says already what is said today."""
    return known is not None and all(known[name] == value for name, value in today.items())


def parts(rows: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Return ``rows`` in parts that one statement can hold."""
    return (rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE))


async def about(session: AsyncSession, rows: Collection[WatchRow]) -> dict[int, list[Opinion]]:
    """Return by the id of each watch what its person said of it and of its work."""
    items = {row.id or 0: items_of(row) for row in rows}
    accounts = {row.account_id for row in rows}
    found = await session.execute(
        select(OpinionRow, col(ConnectionRow.account_id))
        .join(ConnectionRow, col(ConnectionRow.id) == col(OpinionRow.connection_id))
        .where(
            col(ConnectionRow.account_id).in_(accounts),
            col(OpinionRow.item).in_(set().union(*items.values())),
        )
        .order_by(col(OpinionRow.id))
    )
    by_place: dict[tuple[int, str], list[Opinion]] = {}
    for row, account_id in found:
        by_place.setdefault((account_id, row.item), []).append(opinion_in(row))
    return {
        row.id or 0: [
            one for item in items[row.id or 0] for one in by_place.get((row.account_id, item), [])
        ]
        for row in rows
    }


def items_of(row: WatchRow) -> set[str]:
    """Return what opinions about a watch, or about its work, are kept under."""
    work = row.work or {}
    trakt = (work.get("ids") or {}).get("trakt")
    return {viewing(row.key)} | ({f"{work.get('kind')}:{trakt}"} if trakt else set())


def opinion_in(row: OpinionRow) -> Opinion:
    """Return the opinion in a row."""
    return Opinion(Kind(row.kind), row.item, row.rating, row.words, row.is_spoiler, row.at)


async def wanted(session: AsyncSession, account_id: int) -> frozenset[Kind]:
    """Return what this person wants told, and so has to be read."""
    stored = select(col(AccountRow.style)).where(col(AccountRow.id) == account_id)
    return wanted_by(await session.scalar(stored))


def wanted_by(stored: Mapping[str, Any] | None) -> frozenset[Kind]:
    """Return what a stored style tells; nothing if it is damaged."""
    try:
        style = from_json(stored)
    except StyleRefused:
        return frozenset()
    ratings = RATINGS if style.tells_rating else ()
    return frozenset((*ratings, *(WORDS if style.tells_note else ())))


async def read_anew(session: AsyncSession, account_id: int) -> None:
    """Let all be read with the next look at the source, whatever its stamps say."""
    await session.execute(
        update(ConnectionRow)
        .where(col(ConnectionRow.account_id) == account_id)
        .values(opinion_stamps=None)
    )


async def forget(session: AsyncSession, account_id: int, kinds: Collection[Kind]) -> None:
    """Delete what this person does not want told any more."""
    own = select(col(ConnectionRow.id)).where(col(ConnectionRow.account_id) == account_id)
    await session.execute(
        delete(OpinionRow).where(
            col(OpinionRow.connection_id).in_(own), col(OpinionRow.kind).in_(kinds)
        )
    )
