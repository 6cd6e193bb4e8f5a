"""A clock that was wrong for a while, and set back, holds up nothing."""

from datetime import timedelta

from app.demo.catalogue import DUNE, LIES
from app.demo.site import Dropped
from app.tables import ConnectionRow, SiteRow
from tests.test_adopt import new_process
from tests.test_look import later, newest, watched
from tests.world import World


async def jumped(world: World) -> None:
    """The clock jumps ahead, the bridge works by it and dies in the middle of its work."""
    world.clock.passes(days=2)
    await world.work()
    async with world.bridge.database.writing() as session:
        connection, site = await session.get(ConnectionRow, 1), await session.get(SiteRow, 1)
        assert connection is not None
        assert site is not None
        connection.polling_until = world.clock() + timedelta(minutes=15)
        site.looking_until = world.clock() + timedelta(minutes=12)
    world.clock.passes(days=-2)
    new_process(world)


async def test_trakt_is_asked_and_posts_leave_as_soon_as_leases_of_the_right_length_end(
    world: World,
) -> None:
    await world.ready()
    await watched(world, LIES)
    await jumped(world)
    world.trakt.watch(DUNE)

    await later(world, hours=1)

    assert len(world.site.posts) == 2
    assert (await newest(world)).state == "published"


async def test_a_wait_that_somebody_asked_for_keeps_its_length(world: World) -> None:
    await world.ready()
    world.clock.passes(days=2)
    await world.work()
    async with world.bridge.database.writing() as session:
        connection = await session.get(ConnectionRow, 1)
        assert connection is not None
        connection.resume_at = connection.next_poll_at = world.clock() + timedelta(hours=3)
    world.clock.passes(days=-2)
    start = world.clock()

    await world.work()

    async with world.bridge.database.reading() as session:
        connection = await session.get(ConnectionRow, 1)
    assert connection is not None
    assert connection.resume_at == connection.next_poll_at == start + timedelta(hours=3)


async def test_a_lost_answer_is_looked_for_as_if_it_had_just_been_lost(world: World) -> None:
    await world.ready()
    world.clock.passes(days=2)
    world.site.then(Dropped(creates=True))
    await watched(world, DUNE)
    world.clock.passes(days=-2)
    new_process(world)

    await world.work()

    post = await newest(world)
    assert (post.state, post.sent_at) == ("unsure", world.clock())
    async with world.bridge.database.reading() as session:
        site = await session.get(SiteRow, 1)
    assert site is not None
    assert site.look_due_at is not None
    assert site.look_due_at <= world.clock() + timedelta(minutes=2)
