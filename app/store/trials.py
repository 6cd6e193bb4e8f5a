"""Test posts, in the rows of their sites."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from app.store.abilities import Change, change
from app.tables import SiteRow
from app.trial import Stage, Trial, as_of, from_json, to_json


def of(site: SiteRow, now: datetime) -> Trial | None:
    """Return the last test post of a site."""
    return as_of(from_json(site.trial), now)


async def begin(session: AsyncSession, account_id: int, trial: Trial, now: datetime) -> bool:
    """Note that a test post is about to leave; tell whether it may: one is there at a time."""
    site = await held(session, account_id)
    if site is None or site.micropub != trial.endpoint:
        return False
    before = of(site, now)
    if before and before.may_be_there:
        return False
    site.trial = to_json(trial)
    return True


async def begin_deleting(session: AsyncSession, account_id: int, now: datetime) -> Trial | None:
    """Note that a test post is about to be deleted and return it; None if there is nothing to do.

    The key of a site goes to no other endpoint than its own.
    """
    site = await held(session, account_id)
    trial = of(site, now) if site else None
    if site is None or trial is None or trial.is_moving or not trial.may_be_there:
        return None
    if not trial.url or trial.endpoint != site.micropub:
        return None
    trial = replace(trial, stage=Stage.DELETING, at=now)
    site.trial = to_json(trial)
    return trial


async def settle(
    session: AsyncSession, account_id: int, before: Trial, after: Trial, learn: Change
) -> None:
    """Write down what became of a test post, unless the row has gone on without us."""
    site = await held(session, account_id)
    if site is None or from_json(site.trial) != before:
        return
    site.trial = to_json(after)
    await session.flush()
    await change(session, account_id, before.endpoint, learn)


async def forget(session: AsyncSession, account_id: int) -> None:
    """Believe a person that their test post is gone."""
    site = await held(session, account_id)
    if site is not None:
        site.trial = None


async def held(session: AsyncSession, account_id: int) -> SiteRow | None:
    """Return a site that nobody else changes meanwhile."""
    return await session.get(SiteRow, account_id, with_for_update=True, populate_existing=True)
