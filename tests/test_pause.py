"""A site in trouble: its posts leave gently, five failures pause it, and it goes on by itself."""

import asyncio
from datetime import timedelta
from pathlib import Path

from app.demo.catalogue import DUNE, LIES, SECRETS, SPECIAL
from app.demo.site import Answer, Held
from app.store import accounts
from app.waits import Waits
from tests.test_look import later, newest, open_notices, posts, site, states, watched
from tests.world import Clock, World, running_world


async def five_refused(world: World) -> None:
    await world.ready()
    for work in (DUNE, LIES, SECRETS, SPECIAL, DUNE):
        world.site.then(Answer(400))
        await watched(world, work)


async def test_five_failures_in_a_row_pause_a_site_and_tell_once(world: World) -> None:
    await five_refused(world)

    await watched(world, LIES)

    assert (await newest(world)).state == "queued"
    (told,) = await open_notices(world)
    assert "5 posts in a row" in told.said
    assert world.site.posts == []


async def test_four_failures_and_a_success_pause_nothing(world: World) -> None:
    await world.ready()
    for work in (DUNE, LIES, SECRETS, SPECIAL):
        world.site.then(Answer(400))
        await watched(world, work)
    await watched(world, DUNE)
    world.site.then(Answer(400))
    await watched(world, LIES)

    assert (await site(world)).paused is None
    assert (await site(world)).failures == 1


async def test_a_paused_site_is_given_one_post_to_try_and_goes_on_when_it_is_well(
    world: World,
) -> None:
    await five_refused(world)
    await watched(world, LIES)
    await watched(world, SECRETS)

    await later(world, hours=6, minutes=10)

    assert (await site(world)).paused is None
    assert await open_notices(world) == []
    assert states(await posts(world))[:2] == ["published", "published"]


async def test_a_site_that_stays_ill_is_tried_ever_more_rarely(world: World) -> None:
    await five_refused(world)
    for work in (LIES, SECRETS, SPECIAL):
        world.site.then(Answer(400))
        await watched(world, work)

    await later(world, hours=6, minutes=10)
    assert states(await posts(world)).count("refused") == 6
    await later(world, hours=11)

    assert states(await posts(world)).count("refused") == 6
    await later(world, hours=2)
    assert states(await posts(world)).count("refused") == 7


async def test_the_person_may_let_a_paused_site_go_on(world: World) -> None:
    await five_refused(world)
    await watched(world, LIES)

    async with world.bridge.database.writing() as session:
        assert await accounts.go_on(session, 1, world.clock())
        assert not await accounts.go_on(session, 1, world.clock())
    await world.work()

    assert (await newest(world)).state == "published"
    assert await open_notices(world) == []


async def test_a_busy_site_is_not_a_failing_one(world: World) -> None:
    await world.ready()
    for _ in range(6):
        world.site.then(Answer(429))
        await watched(world, DUNE)
        await later(world, minutes=5)

    assert (await site(world)).failures == 0


async def test_posts_leave_oldest_first_and_at_a_gentle_pace(
    tmp_path: Path, clock: Clock, world_url: str
) -> None:
    async with running_world(
        tmp_path, clock, waits={"between_posts": 3}, database_url=world_url
    ) as world:
        await world.ready()
        clock.passes(hours=1)
        for minutes, work in ((10, DUNE), (40, LIES), (20, SECRETS)):
            world.trakt.watch(work, clock() - timedelta(minutes=minutes))

        await world.check_now()
        assert len(world.site.posts) == 1
        clock.passes(seconds=2)
        await world.work()
        assert len(world.site.posts) == 1
        clock.passes(seconds=1)
        await world.work()
        clock.passes(seconds=3)
        await world.work()

        told = [post.properties["published"][0] for post in world.site.posts]
        assert len(told) == 3
        assert told == sorted(told)


async def busy_for_long(world: World) -> None:
    await world.ready()
    for _ in range(100):
        world.site.then(Answer(429))
    await watched(world, DUNE)
    assert (await site(world)).paused is None
    for _ in range(6):
        await later(world, hours=6)


async def test_a_site_that_takes_nothing_for_a_day_is_told_once_and_goes_on_by_itself(
    world: World,
) -> None:
    await busy_for_long(world)

    (told,) = await open_notices(world)
    assert "taken no post for a day" in told.said
    assert "429" in told.said
    world.site.record.one_offs.clear()
    await later(world, hours=8)

    assert states(await posts(world)) == ["published"]
    assert await open_notices(world) == []


async def test_go_on_tries_at_once_also_where_a_site_was_away(world: World) -> None:
    await busy_for_long(world)
    world.site.record.one_offs.clear()

    async with world.bridge.database.writing() as session:
        assert await accounts.go_on(session, 1, world.clock())
    await world.work()

    assert states(await posts(world)) == ["published"]


async def test_a_post_that_is_cut_short_at_the_end_is_looked_for_by_the_next_process(
    world: World,
) -> None:
    await world.ready()
    await watched(world, LIES)
    world.site.then(Answer(429))
    await watched(world, DUNE)
    held = Held(asyncio.Event())
    world.site.then(held)
    world.clock.passes(minutes=2)
    world.scheduler.waits = Waits(last_words=timedelta())
    await world.scheduler.start_due()
    await held.reached.wait()

    await world.scheduler.finish()
    held.until.set()

    assert (await newest(world)).state == "unsure"
    await later(world, minutes=4)
    assert (await newest(world)).state == "published"
    assert len(world.site.posts) == 2
