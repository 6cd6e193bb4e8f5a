"""Very many accounts on schedule in one process, and how late the latest poll is."""

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import bindparam, select, update
from sqlmodel import col

from app.main import utcnow
from app.tables import ConnectionRow
from app.web.bridge import Bridge
from bench import crowd
from bench.bridge import first_trouble, move_in, running_bridge, settings_at
from bench.crowd import JOINED, Crowd
from bench.figures import Figure, percentile
from bench.others import Others, others
from bench.rounds import residents, shown

# Ten times as often as by default.
INTERVAL = timedelta(seconds=180)
# Until then the process that polls has begun.
LEAD = timedelta(seconds=3)
# So many intervals are waited for, before a schedule that nobody keeps to is given up.
MOST = 4


async def schedule_figures(
    folder: Path, accounts: int, latency: timedelta, interval: timedelta = INTERVAL
) -> list[Figure]:
    """Return how late polls are that are due one after the other, spread over one interval.

    Late is the time between the minute a row says and the moment in which Trakt is asked. Whoever
    was polled is due again an interval later, as always, so that the load stays the same.
    """
    seconds = interval.total_seconds()
    with others(partial(crowd.make, accounts, latency.total_seconds()), 2) as away:
        trakt, sites = away.origins
        settings = settings_at(folder, trakt, poll_interval=int(seconds))
        async with running_bridge(settings, utcnow) as running:
            running.scheduler.stop()
            await move_in(running.bridge, residents(accounts, sites), crowd.stamp(JOINED))
            due = await spread(running.bridge, utcnow() + LEAD, interval)
        began, cpu = time.perf_counter(), time.process_time()
        async with running_bridge(settings, utcnow) as running:
            seen = await everybody(away, accounts, LEAD + interval, MOST * interval)
            share = (time.process_time() - cpu) / (time.perf_counter() - began)
            if trouble := await first_trouble(running.bridge):
                raise RuntimeError(f"this figure would not be true: {trouble}")
    late = [(seen[who] - at).total_seconds() for who, at in due.items()]
    what = f"{accounts:,} accounts, each every {seconds:.0f} s, {shown(latency)}"
    how = f"{len(late):,} polls"
    return [
        Figure(f"{what}: the latest poll was late by", max(late), "s", how),
        Figure(f"{what}: half of the polls were late by", percentile(late, 50), "s", how),
        Figure(f"{what}: CPU, of one core", share * 100, "%"),
    ]


async def spread(bridge: Bridge, start: datetime, interval: timedelta) -> dict[int, datetime]:
    """Let everybody be due once within an interval; return when, by person."""
    async with bridge.database.writing() as session:
        found = await session.execute(
            select(col(ConnectionRow.id), col(ConnectionRow.source_user)).order_by(
                col(ConnectionRow.id)
            )
        )
        rows = [(key, int(who)) for key, who in found]
        due = {who: start + interval * place / len(rows) for place, (_, who) in enumerate(rows)}
        connection = await session.connection()
        await connection.execute(
            update(ConnectionRow)
            .where(col(ConnectionRow.id) == bindparam("key"))
            .values(next_poll_at=bindparam("at")),
            [{"key": key, "at": due[who]} for key, who in rows],
        )
    return due


async def everybody(
    away: Others[Crowd], size: int, wait: timedelta, most: timedelta
) -> Mapping[int, datetime]:
    """Wait so long, and until everybody's Trakt was asked; return when it was."""
    await away.do(crowd.forget)
    async with asyncio.timeout((wait + most).total_seconds()):
        await asyncio.sleep(wait.total_seconds())
        while len(seen := await away.do(crowd.seen)) < size:  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.5)
    return seen
