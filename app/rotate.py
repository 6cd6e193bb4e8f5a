"""Seal anew, by the newest SECRET_KEY, what an older one has sealed; also while a bridge runs.

Few rows at a time, each only if it still holds what was read: a pair of tokens that came meanwhile
is newer, and sealed by the newest key already. So this can be repeated, cut short, and run twice
at once.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from app.database import Database
from app.store import sealed
from app.store.sealed import PLACES, Place, Sealed
from app.vault import Vault

log = structlog.get_logger()

LOST = "no SECRET_KEY opens a key any more"
PORTION = 100
# Rows that changed while they were sealed anew are looked at once more.
MOST_ROUNDS = 3


class StaleBridge(Exception):
    """A bridge that does not know the newest key is at work; it could not open what we seal."""


@dataclass(frozen=True, slots=True)
class Census:
    """How many texts the newest key has sealed, how many an older one; ``lost``: none opens."""

    newest: int
    older: int
    lost: tuple[str, ...]


async def census(database: Database, vault: Vault) -> Census:
    """Count what is sealed, by which key; change nothing."""
    newest, older, lost = 0, 0, []
    async for place, portion in portions(database):
        for one in portion:
            match vault.sealed_anew(one.text):
                case None:
                    lost.append(f"{one.me} {place.mend}")
                case text if text == one.text:
                    newest += 1
                case _:
                    older += 1
    return Census(newest, older, tuple(lost))


async def portions(database: Database) -> AsyncIterator[tuple[Place, Sequence[Sealed]]]:
    """Yield all that is sealed, a portion at a time; no transaction is open meanwhile."""
    for place in PLACES:
        after = -1
        while True:
            async with database.reading() as session:
                portion = await sealed.some(session, place, after, PORTION)
            if not portion:
                break
            yield place, portion
            after = portion[-1].key


async def rotate(
    database: Database, vault: Vault, now: datetime, tell: Callable[[str], None]
) -> Census:
    """Seal all by the newest key, and return what is left; ``tell`` is given each step.

    Raises:
        StaleBridge: one that runs would lose its keys; nothing was changed.

    """
    async with database.reading() as session:
        if await sealed.strangers(session, vault, now):
            raise StaleBridge
    for _ in range(MOST_ROUNDS):
        found = await census(database, vault)
        if not found.older:
            break
        done = 0
        async for place, portion in portions(database):
            if more := await replaced(database, vault, place, portion):
                done += more
                tell(f"{done} of {found.older} sealed anew")
    return await census(database, vault)


async def replaced(
    database: Database, vault: Vault, place: Place, portion: Sequence[Sealed]
) -> int:
    """Seal a portion anew, where an older key has sealed it; return how many that were."""
    anew = [(one, text) for one in portion if (text := vault.sealed_anew(one.text)) != one.text]
    wanted = [(one, text) for one, text in anew if text is not None]
    if not wanted:
        return 0
    async with database.writing() as session:
        done = [await sealed.replace(session, place, one, text) for one, text in wanted]
    return sum(done)


async def judge_all(database: Database, vault: Vault, now: datetime) -> None:
    """Write of each key whether it can be opened: a SECRET_KEY may be lost, or put back.

    What is lost is said in the log, too: of all keys at once, a wrong SECRET_KEY is the reason.
    """
    async with database.reading() as session:
        found = await sealed.misjudged(session, vault)
    for row, keys in found.items():
        for key in keys:
            async with database.writing() as session:
                await sealed.judge(session, row, key, vault, now)
    if lost := (await census(database, vault)).lost:
        log.warning(
            "no SECRET_KEY opens some keys any more; put the former one back, if you have it",
            follows=lost[0],
            keys=len(lost),
        )
