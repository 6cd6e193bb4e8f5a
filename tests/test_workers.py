"""Workers: any number of processes share the work of one database, and nothing is done twice."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select
from sqlmodel import col
from structlog.testing import capture_logs

from app import jobs
from app.demo.catalogue import DUNE
from app.grants import Pair
from app.main import app_of, assembled, jobs_of, utcnow
from app.scheduler import Scheduler
from app.settings import SettingsError
from app.store import connections, grants, workers
from app.tables import AccountRow, ConnectionRow
from app.waits import USUAL
from bench import crowd
from bench.bridge import is_busy
from bench.workers import PATIENCE, Place, all_due, place
from tests.machine import Machine
from tests.polling import asked, poll
from tests.postgres import migrated_database
from tests.test_serve import free_port
from tests.world import BRIDGE, Clock, World, browser_for, running_world

LEASE = USUAL.scheduler_lease


@dataclass
class Fleet:
    """A process that shows pages only, and two workers."""

    world: World
    workers: list[Scheduler]

    @property
    def clock(self) -> Clock:
        return self.world.clock

    async def round(self) -> None:
        """Let each look for work once, and finish what it began."""
        for one in self.workers:
            await one.start_due()
        while running := [task for one in self.workers for task in one.running]:
            await asyncio.wait(running)
            await asyncio.sleep(0)

    async def work(self) -> None:
        """Let all be done that is due, by whoever takes it."""
        while True:
            for one in self.workers:
                one.poked.clear()
            await self.round()
            if not any(one.poked.is_set() for one in self.workers):
                return


@pytest.fixture
async def fleet(
    tmp_path: Path,
    clock: Clock,
    postgres: Any,  # noqa: ANN401 - the server of a library without types
) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        url = stack.enter_context(migrated_database(postgres))
        world = await stack.enter_async_context(running_world(tmp_path, clock, database_url=url))
        yield Fleet(world, [await a_worker(stack, world) for _ in range(2)])


async def a_worker(stack: AsyncExitStack, world: World) -> Scheduler:
    bridge, worker = assembled(world.settings, world.clock)
    worker.is_one_of_many = True
    stack.push_async_callback(bridge.close)
    stack.push_async_callback(worker.pulse.http.aclose)
    # A test that failed may have left work behind, which would spoil the next one.
    stack.push_async_callback(worker.finish)
    return worker


async def many(world: World, number: int) -> None:
    """So many people more, as far as the one who is connected, whose Trakt is to be asked now."""
    known = (await world.connection()).model_dump(exclude={"id"})
    async with world.bridge.database.writing() as session:
        for one in range(number):
            account = AccountRow(me=f"https://{one}.example/", created_at=world.clock())
            session.add(account)
            await session.flush()
            row = ConnectionRow(**known)
            row.account_id, row.source_user = account.id or 0, str(one)
            row.next_poll_at = world.clock()
            token = world.trakt.tokens.issue().access
            grants.put(row, Pair(token, None, world.clock(), None), world.bridge.vault)
            session.add(row)


async def settled(fleet: Fleet) -> None:
    """Signed in, connected and polled, with stamps that are final."""
    await fleet.world.sign_in()
    await fleet.world.connect()
    await fleet.work()
    fleet.clock.passes(minutes=5)
    await fleet.work()


async def test_whatever_people_press_at_the_pages_the_workers_do(fleet: Fleet) -> None:
    await settled(fleet)
    fleet.world.trakt.watch(DUNE)

    await fleet.world.browser.visit("/")
    await fleet.world.browser.press("Check now")
    await fleet.work()

    assert len(fleet.world.site.posts) == 1
    assert await fleet.world.states() == {"published": 1}


async def test_a_worker_takes_no_more_than_it_may_ask_and_the_next_one_the_rest(
    fleet: Fleet,
) -> None:
    await settled(fleet)
    await many(fleet.world, 20)
    so_far = len(fleet.world.trakt.requests)
    first, second = fleet.workers
    before = [one.polls.begun for one in fleet.workers]
    allow(first, 12)
    allow(second, 12)

    for one in fleet.workers:
        await one.start_due()

    begun = [one.polls.begun for one in fleet.workers]
    assert [now - then for now, then in zip(begun, before, strict=True)] == [12, 8]
    await fleet.round()
    assert asked(fleet.world, so_far) == ["/sync/last_activities"] * 20


def allow(worker: Scheduler, number: int) -> None:
    """Let a worker ask Trakt so often from now on."""
    budget = worker.poller.trakt.budget
    budget.forget()
    budget.limit = len(budget.spent) + number


async def test_what_is_done_once_a_minute_one_worker_does_for_all(fleet: Fleet) -> None:
    for _ in range(3):
        await fleet.round()
        fleet.clock.passes(seconds=20)

    assert [one.tended_at is not None for one in fleet.workers] == [True, False]


async def test_when_the_one_that_beats_is_gone_another_beats_and_all_go_on(fleet: Fleet) -> None:
    await settled(fleet)
    _, second = fleet.workers
    fleet.world.trakt.watch(DUNE)
    fleet.clock.passes(seconds=LEASE.total_seconds(), minutes=30)

    fleet.workers.remove(fleet.workers[0])
    await fleet.work()

    assert second.tended_at == fleet.clock()
    assert await fleet.world.states() == {"published": 1}


async def test_what_a_killed_worker_had_taken_another_takes_when_its_lease_has_run_out(
    fleet: Fleet,
) -> None:
    await settled(fleet)
    fleet.world.trakt.watch(DUNE)
    fleet.clock.passes(minutes=34)
    now = fleet.clock()
    async with fleet.world.bridge.database.writing() as session:
        assert await connections.claim_polls(session, now, now + USUAL.poll_lease, 10)

    await fleet.work()
    assert await fleet.world.states() == {}
    fleet.clock.passes(seconds=USUAL.poll_lease.total_seconds())
    await fleet.work()

    assert await fleet.world.states() == {"published": 1}


async def test_a_worker_that_is_added_takes_its_share_at_once(fleet: Fleet) -> None:
    await settled(fleet)
    await many(fleet.world, 5)
    first = fleet.workers[0]
    before = first.polls.begun
    allow(first, 0)

    async with AsyncExitStack() as stack:
        third = await a_worker(stack, fleet.world)
        await first.start_due()
        await third.start_due()
        assert (first.polls.begun - before, third.polls.begun) == (0, 5)
        fleet.workers[:] = [third]
        await fleet.round()


async def test_a_worker_that_ends_is_counted_no_more(fleet: Fleet) -> None:
    await fleet.round()
    assert await counted(fleet.world) == 2

    first, _ = fleet.workers
    first.stop()
    await first.run()

    assert await counted(fleet.world) == 1


async def counted(world: World) -> int:
    async with world.bridge.database.reading() as session:
        return await workers.count(session, world.clock())


async def test_a_worker_that_was_killed_is_counted_until_its_word_runs_out(fleet: Fleet) -> None:
    await fleet.round()

    fleet.clock.passes(seconds=LEASE.total_seconds())

    assert await counted(fleet.world) == 0


# --- More connections than the addresses may ask for ---


async def test_too_many_connections_are_asked_less_often_and_everybody_is_told(
    fleet: Fleet,
) -> None:
    await settled(fleet)
    await many(fleet.world, 9)
    first = fleet.workers[0]
    for one in fleet.workers:
        one.poller.trakt.budget.limit = 1

    fleet.clock.passes(minutes=1)
    with capture_logs() as lines:
        await first.announce()
        await first.is_in_charge()
    fleet.clock.passes(minutes=1)
    for one in fleet.workers:
        await one.announce()
    with capture_logs() as later:
        await first.is_in_charge()

    # One address needs 50 minutes for ten, two need half of that, which is as often as wished.
    said = [line for line in lines if "connections" in line]
    assert [(line["connections"], line["minutes"]) for line in said] == [(10, 50.0)]
    assert [line["minutes"] for line in later if "connections" in line] == [30.0]


async def test_a_lone_process_stretches_the_interval_and_says_so_once(world: World) -> None:
    await world.ready()
    world.scheduler.poller.trakt.budget.limit = 1
    await many(world, 9)

    with capture_logs() as lines:
        for _ in range(3):
            world.clock.passes(minutes=1)
            await world.scheduler.is_in_charge()
    world.scheduler.poller.trakt.budget.limit = 500
    world.clock.passes(minutes=5)
    await world.work()

    assert [line["minutes"] for line in lines if "connections" in line] == [50.0]


async def test_the_next_look_the_dashboard_and_the_health_follow_the_stretched_interval(
    world: World,
) -> None:
    await world.ready()
    async with world.bridge.database.writing() as session:
        await workers.stretch(session, timedelta(minutes=100))
    world.scheduler.poller.stretched = timedelta(minutes=100)

    await poll(world, seconds=10)
    await world.check_now()
    await world.browser.visit("/")

    row = await world.connection()
    assert row.next_poll_at
    assert row.next_poll_at - world.clock() > timedelta(minutes=85)
    assert "every 100 minutes" in world.browser.text
    health = await world.browser.visit("/healthz")
    assert health.json()["poll_interval_seconds"] == 6000


async def test_as_often_as_wished_is_told_nobody(world: World) -> None:
    await world.ready()

    health = await world.browser.visit("/healthz")
    await world.browser.visit("/")

    assert health.json()["poll_interval_seconds"] == 1800
    assert "this bridge asks for many" not in world.browser.text


# --- The commands ---


async def test_on_sqlite_a_worker_says_in_one_line_why_it_cannot_and_what_to_do(
    machine: Machine,
) -> None:
    ended = await machine.run("work")

    assert "SQLite has one writer" in ended.line
    assert "run serve" in ended.line
    assert "DATABASE_URL" in ended.line


async def test_machines_may_ask_a_worker_how_it_does_and_see_nothing_else_of_it(
    town: Callable[[int], AbstractAsyncContextManager[Place]],
) -> None:
    port = free_port()
    async with (
        town(1) as there,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
        there.working(1, "--metrics-port", str(port)) as (worker,),
    ):
        await all_due(there.measured, utcnow())
        await until(partial(is_busy, there.measured.bridge), 0)

        told = (await client.get("/metrics")).text
        assert 'ownyourtrakt_jobs_total{job="poll",outcome="done"}' in told
        assert 'ownyourtrakt_requests_total{neighbour="trakt",status="2xx"}' in told
        assert "\nownyourtrakt_accounts 1.0\n" in told
        assert (await client.get("/healthz")).json()["status"] == "ok"
        assert (await client.get("/")).status_code == 404
        # It is told to end as without the port.
        worker.terminate()
        assert await worker.wait() == 0


async def test_a_port_for_machines_that_is_taken_is_told_in_one_line(machine: Machine) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])

        nowhere = "postgres://ada@127.0.0.1:1/x"
        ended = await machine.run("work", "--metrics-port", port, DATABASE_URL=nowhere)

    assert f"port {port} cannot be used" in ended.line
    assert "--metrics-port" in ended.line


async def test_pages_without_a_scheduler_are_well_whatever_the_workers_do(world: World) -> None:
    alone = replace(world.bridge, has_scheduler=False)
    world.clock.passes(hours=1)
    async with browser_for(app_of(alone, world.scheduler)) as client:
        health = await client.get(f"{BRIDGE}/healthz")

    assert health.status_code == 200
    assert (await world.browser.visit("/healthz")).status_code == 503


# --- Work that PgQueuer hands out ---


@pytest.fixture
async def town(
    tmp_path: Path,
    postgres: Any,  # noqa: ANN401 - the server of a library without types
) -> AsyncIterator[Callable[[int], AbstractAsyncContextManager[Place]]]:
    """Lets so many people move into a database of PostgreSQL, where nobody works yet."""
    with migrated_database(postgres) as url:
        yield partial(place, url, tmp_path)


async def until(question: Callable[[], Awaitable[int]], number: int) -> None:
    """Wait until the answer is this number."""
    async with asyncio.timeout(PATIENCE):
        while await question() != number:  # noqa: ASYNC110 - it happens in other processes
            await asyncio.sleep(0.05)


async def under_way(there: Place) -> int:
    async with there.measured.bridge.database.reading() as session:
        held = col(ConnectionRow.polling_until).is_not(None)
        return await session.scalar(select(func.count()).where(held)) or 0


async def test_a_worker_that_is_killed_takes_no_job_along_and_nothing_is_posted_twice(
    town: Callable[[int], AbstractAsyncContextManager[Place]],
) -> None:
    async with town(10) as there:
        await there.crowd.do(partial(crowd.everybody_watches, 1, utcnow()))
        await there.crowd.do(partial(crowd.take_time, PATIENCE))
        async with there.working(1, "--queue") as (first,):
            await all_due(there.measured, utcnow())
            await until(partial(under_way, there), 10)
            first.kill()
        await there.crowd.do(partial(crowd.take_time, 0.0))

        # So many seconds without a sign of life, and the jobs are somebody else's.
        async with there.working(1, "--queue", WAITS__SCHEDULER_LEASE="2"):
            # As when the leases of what it held have run out.
            await all_due(there.measured, utcnow())
            await until(partial(is_busy, there.measured.bridge), 0)

        assert await there.crowd.do(crowd.wrongs) == 0


async def test_a_worker_takes_no_more_jobs_than_it_may_ask_for_and_one_that_is_added_the_rest(
    town: Callable[[int], AbstractAsyncContextManager[Place]],
) -> None:
    asks_ten = {"TRAKT_GETS_PER_5_MIN": "10"}
    async with town(20) as there, there.working(1, "--queue", **asks_ten):
        await all_due(there.measured, utcnow())
        await until(partial(there.crowd.do, crowd.asked), 10)

        async with there.working(1, "--queue", **asks_ten):
            await until(partial(is_busy, there.measured.bridge), 0)

        assert await there.crowd.do(crowd.asked) == 20


async def test_the_tables_are_those_that_this_release_of_pgqueuer_asks_for(postgres: Any) -> None:  # noqa: ANN401 - see above
    with migrated_database(postgres) as url:
        async with jobs.connected(url) as queries:
            plan = await queries.plan_upgrade()

    assert (plan.statements, plan.notes) == ((), ())


async def test_without_pgqueuer_a_worker_says_in_one_line_what_to_do(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "app.jobs", None)

    with pytest.raises(SettingsError, match=r"--queue needs .* pip install pgqueuer"):
        jobs_of(world.scheduler, world.settings.database_url)
