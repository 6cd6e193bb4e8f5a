"""A time in which no scheduler worked is told on the dashboard, with a way out."""

from datetime import timedelta
from pathlib import Path

import pytest

from app.tables import HeartbeatRow
from tests.test_adopt import new_process
from tests.world import Clock, World, running_world

TOLD = "The bridge did not work for"


async def asleep(world: World, **span: float) -> None:
    """Nothing works for a while, then a new process does."""
    world.clock.passes(**span)
    new_process(world)
    await world.work()


async def home(world: World) -> str:
    await world.browser.visit("/")
    return world.browser.text


async def test_it_is_told_with_its_length_and_when_and_the_way_out(world: World) -> None:
    await world.ready()

    await asleep(world, hours=9)

    told = await home(world)
    assert f"{TOLD} 9 hours" in told
    assert "from 20 Nov 2026, 13:00 to 20 Nov 2026, 22:00" in told
    assert "ownyourtrakt poll --due" in told
    assert "docs/deploy/sleep.md" in told


async def test_a_process_that_was_only_suspended_tells_it_too(world: World) -> None:
    await world.ready()

    world.clock.passes(hours=9)
    await world.work()

    assert TOLD in await home(world)


@pytest.mark.parametrize(("minutes", "is_told"), [(59, False), (61, True)])
async def test_up_to_two_intervals_are_no_silence(
    world: World, minutes: int, *, is_told: bool
) -> None:
    await world.ready()

    await asleep(world, minutes=minutes)

    assert (TOLD in await home(world)) is is_told


async def test_whoever_comes_seldom_says_so_by_the_interval(tmp_path: Path, clock: Clock) -> None:
    async with running_world(tmp_path, clock, poll_interval=86_400) as world:
        await world.ready()

        await asleep(world, hours=25)

        assert TOLD not in await home(world)


async def test_whoever_asks_more_often_than_it_beats_hears_of_no_silence_between_two_beats(
    tmp_path: Path, clock: Clock
) -> None:
    async with running_world(tmp_path, clock, poll_interval=30) as world:
        await world.ready()

        world.clock.passes(seconds=65)
        await world.work()

        assert TOLD not in await home(world)


async def test_a_person_who_has_seen_it_is_told_no_more_until_the_next(world: World) -> None:
    await world.ready()
    await asleep(world, hours=9)
    await world.browser.visit("/")

    await world.browser.press("I have seen it")

    assert world.browser.page.status_code == 200
    assert TOLD not in await home(world)
    await asleep(world, hours=3)
    assert f"{TOLD} 3 hours" in await home(world)


async def test_after_a_week_it_is_told_no_more(world: World) -> None:
    await world.ready()
    await asleep(world, hours=9)

    async with world.bridge.database.writing() as session:
        row = await session.get(HeartbeatRow, 1)
        assert row is not None
        world.clock.passes(days=8)
        # Somebody has beaten all the time.
        row.at = world.clock() - timedelta(minutes=1)

    assert TOLD not in await home(world)


async def test_whoever_came_later_is_not_told(world: World) -> None:
    async with world.bridge.database.writing() as session:
        session.add(HeartbeatRow(at=world.clock() - timedelta(days=1)))
    await world.work()
    world.clock.passes(minutes=1)

    await world.ready()

    assert TOLD not in await home(world)


@pytest.mark.parametrize("is_lost", [True, False])
async def test_the_owner_alone_is_told_that_the_disk_will_be_lost(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, *, is_lost: bool
) -> None:
    if is_lost:
        monkeypatch.setenv("DYNO", "web.1")
    async with running_world(tmp_path, clock) as world:
        await world.sign_in()

        assert ("Heroku throws away" in await home(world)) is is_lost


async def test_others_need_not_know_of_the_disk(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNO", "web.1")
    async with running_world(tmp_path, clock, allowed_sites="*") as world:
        await world.sign_in()

        assert "Heroku" not in await home(world)
