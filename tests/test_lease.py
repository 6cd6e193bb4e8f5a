"""Of all processes on one database one is the scheduler; the others answer pages and stand by."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app import database, migrate, settings
from app.database import Database
from app.demo.catalogue import DUNE
from app.main import app_of, assembled
from app.scheduler import Scheduler
from app.store import lease
from app.waits import USUAL
from tests.conftest import NOON
from tests.polling import asked
from tests.world import Browser, Clock, World, browser_for, running_world

LENGTH = USUAL.scheduler_lease


@dataclass
class Two:
    """Two processes on one database, with a Trakt and a website; the first one was here first."""

    world: World
    second: Scheduler
    browser: Browser

    @property
    def first(self) -> Scheduler:
        return self.world.scheduler

    @property
    def clock(self) -> Clock:
        return self.world.clock

    async def rounds(self) -> list[bool]:
        """Let each look for work once; return which of them may."""
        for scheduler in (self.first, self.second):
            await scheduler.start_due()
        return [not one.is_standing_by for one in (self.first, self.second)]


@asynccontextmanager
async def running_two(folder: Path, clock: Clock, url: str) -> AsyncIterator[Two]:
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(running_world(folder, clock, database_url=url))
        await world.ready()
        bridge, second = assembled(world.settings, clock)
        for one in (bridge.database.close, bridge.http.aclose, bridge.trakt.http.aclose):
            stack.push_async_callback(one)
        # A round may begin a look at the site that nobody waits for.
        for scheduler in (world.scheduler, second):
            stack.push_async_callback(scheduler.finish)
        client = await stack.enter_async_context(browser_for(app_of(bridge, second)))
        client.cookies = world.browser.client.cookies
        yield Two(world, second, Browser(client))


@pytest.fixture
async def two(tmp_path: Path, clock: Clock, database_url: str) -> AsyncIterator[Two]:
    async with running_two(tmp_path, clock, database_url) as running:
        yield running


async def test_the_second_process_stands_by_and_says_so_once(two: Two) -> None:
    with capture_logs() as lines:
        found = [await two.rounds() for _ in range(3)]

    assert found == [[True, False]] * 3
    (line,) = lines
    assert "another process holds the scheduler" in line["event"]
    assert line["holder"] == two.first.name
    assert two.second.rest(await two.second.start_due()) == USUAL.succession


async def test_the_second_process_claims_nothing_that_is_due(two: Two) -> None:
    await two.second.start_due()
    two.world.trakt.watch(DUNE)
    two.clock.passes(seconds=20)
    await two.browser.visit("/")
    await two.browser.press("Check now")
    await two.second.start_due()

    assert not two.second.running


async def test_check_now_at_a_process_that_stands_by_is_done_by_the_other_one(two: Two) -> None:
    await two.rounds()
    two.world.trakt.watch(DUNE)
    two.clock.passes(minutes=3)
    so_far = len(two.world.trakt.requests)

    await two.browser.visit("/")
    await two.browser.press("Check now")
    await two.world.work()

    assert asked(two.world, so_far)
    assert (await two.world.states())["published"] == 1
    # It looks at the rows at least this often, poked or not.
    assert two.first.rest(await two.first.start_due()) <= timedelta(seconds=5)


async def test_the_lease_is_kept_while_its_holder_works(two: Two) -> None:
    await two.rounds()

    for _ in range(20):
        two.clock.passes(seconds=LENGTH.total_seconds() / 2)
        assert await two.rounds() == [True, False]


async def test_when_the_lease_ends_the_second_takes_over_and_the_first_notices(two: Two) -> None:
    await two.rounds()
    two.clock.passes(seconds=LENGTH.total_seconds() - 1)
    await two.second.start_due()
    assert two.second.is_standing_by

    two.clock.passes(seconds=1)
    await two.second.start_due()

    assert await two.rounds() == [False, True]


async def test_who_stops_hands_over_at_once(two: Two) -> None:
    await two.rounds()
    clockwork = asyncio.create_task(two.first.run())
    two.first.stop()
    await clockwork

    await two.second.start_due()

    assert not two.second.is_standing_by


async def test_who_stops_while_standing_by_leaves_the_lease_alone(two: Two) -> None:
    await two.rounds()
    two.second.stop()
    await two.second.run()

    async with two.world.bridge.database.reading() as session:
        found = await lease.holder(session, two.clock(), LENGTH)

    assert found
    assert found.owner == two.first.name


@pytest.mark.parametrize("back", [timedelta(minutes=2), timedelta(days=400)], ids=str)
async def test_a_lease_from_before_the_clock_was_set_back_blocks_nobody(
    two: Two, back: timedelta
) -> None:
    await two.rounds()

    two.clock.moment -= back
    await two.second.start_due()

    assert await two.rounds() == [False, True]


async def test_a_holder_whose_clock_was_set_back_keeps_the_lease(two: Two) -> None:
    await two.rounds()

    two.clock.passes(minutes=-5)

    assert await two.rounds() == [True, False]
    assert await two.rounds() == [True, False]


async def test_a_clock_that_is_a_little_behind_takes_no_lease_away(two: Two) -> None:
    await two.rounds()
    two.clock.passes(seconds=-LENGTH.total_seconds() / 2)

    await two.second.start_due()

    assert two.second.is_standing_by


async def test_a_takeover_does_not_take_the_database_for_an_old_copy(two: Two) -> None:
    """The heartbeat of the other one counts, not how long this one was not in charge."""
    await two.rounds()
    for _ in range(3):
        two.clock.passes(hours=1)
        await two.world.work()
    await two.first.step_down()

    with capture_logs() as lines:
        await two.second.is_in_charge()

    assert [line["event"] for line in lines] == ["this process is the scheduler now"]


async def test_of_many_that_begin_at_once_one_gets_the_lease(database_url: str) -> None:
    url = settings.database(database_url)
    database.prepare(url)
    migrate.upgrade(url)
    stores = [Database(url) for _ in range(8)]

    async def begin(store: Database, name: str) -> bool:
        async with store.writing() as session:
            return await lease.take(session, name, NOON, LENGTH) is None

    took = await asyncio.gather(*(begin(store, f"{n}") for n, store in enumerate(stores)))
    for store in stores:
        await store.close()

    assert sorted(took) == [False] * 7 + [True]
