"""HEARTBEAT_URL: a sign of life after each good round, which never disturbs anything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from tests.world import Clock, World, listening, origin, running_world, serving


class Watchdog:
    """Somebody outside who counts signs of life."""

    def __init__(self) -> None:
        self.status = 200
        self.seen: list[str] = []
        self.got_one = asyncio.Event()

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.seen.append(f"{scope['method']} {scope['path']}")
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b"OK"})
        self.got_one.set()


@pytest.fixture
def watchdog() -> Watchdog:
    return Watchdog()


@asynccontextmanager
async def watched_over(folder: Path, clock: Clock, watchdog: Watchdog) -> AsyncIterator[World]:
    listener = listening()
    url = f"{origin(listener)}/ping/key"
    async with (
        serving(watchdog, [listener]),
        # A network that only the operator's own settings may name.
        running_world(folder, clock, heartbeat_url=url) as world,
    ):
        yield world


@pytest.fixture
async def world(tmp_path: Path, clock: Clock, watchdog: Watchdog) -> AsyncIterator[World]:
    async with watched_over(tmp_path, clock, watchdog) as running:
        yield running


async def round_(world: World) -> None:
    await world.scheduler.round()
    if running := world.scheduler.running:
        await asyncio.wait(running)
        await asyncio.sleep(0)


async def test_each_good_round_gives_a_sign_once_a_minute_at_most(
    world: World, watchdog: Watchdog
) -> None:
    for _ in range(3):
        await round_(world)
    assert watchdog.seen == ["GET /ping/key"]

    world.clock.passes(seconds=61)
    await round_(world)

    assert len(watchdog.seen) == 2


async def test_the_running_scheduler_gives_it(world: World, watchdog: Watchdog) -> None:
    clockwork = asyncio.create_task(world.scheduler.run())

    async with asyncio.timeout(10):
        await watchdog.got_one.wait()

    world.scheduler.stop()
    await clockwork
    await world.scheduler.finish()


async def test_a_round_that_failed_gives_none(world: World, watchdog: Watchdog) -> None:
    async with world.bridge.database.writing() as session:
        connection = await session.connection()
        await connection.exec_driver_sql("DROP TABLE notice")

    with pytest.raises(SQLAlchemyError):
        await world.scheduler.round()

    assert watchdog.seen == []


async def test_poll_gives_it_when_all_is_done(world: World, watchdog: Watchdog) -> None:
    done = await world.scheduler.errand()

    assert done.is_done
    assert watchdog.seen == ["GET /ping/key"]


async def test_what_stopped_early_gives_none(world: World, watchdog: Watchdog) -> None:
    world.scheduler.stop()

    done = await world.scheduler.errand()

    assert not done.is_done
    assert watchdog.seen == []


async def test_a_failure_is_logged_once_without_the_key_and_stops_nothing(
    world: World, watchdog: Watchdog
) -> None:
    with capture_logs() as lines:
        for status in (503, 503, 200, 404):
            watchdog.status = status
            await round_(world)
            world.clock.passes(minutes=2)

    said = [str(line) for line in lines if "HEARTBEAT_URL" in line["event"]]
    assert len(said) == 2
    assert "503" in said[0]
    assert "404" in said[1]
    assert not any("key" in line for line in said)
    assert len(watchdog.seen) == 4


async def test_nobody_there_stops_nothing(tmp_path: Path, clock: Clock) -> None:
    listener = listening()
    url = f"{origin(listener)}/ping/key"
    listener.close()
    async with running_world(tmp_path, clock, heartbeat_url=url) as world:
        with capture_logs() as lines:
            await round_(world)
        await world.ready()

    assert len([line for line in lines if "HEARTBEAT_URL" in line["event"]]) == 1
