"""What tests of reading Trakt have in common."""

from datetime import timedelta

from app.demo.catalogue import LIES
from app.tables import ConnectionRow
from tests.world import World


def asked(world: World, since: int = 0) -> list[str]:
    """The paths asked of Trakt's API after the first ``since`` requests."""
    return [seen.path for seen in world.trakt.requests[since:] if seen.host == "api"]


async def poll(world: World, **later: float) -> list[str]:
    """Let time pass, poll, and return what was asked for."""
    world.clock.passes(**(later or {"minutes": 34}))
    so_far = len(world.trakt.requests)
    await world.work()
    return asked(world, so_far)


async def change(world: World, **values: object) -> None:
    async with world.bridge.database.writing() as session:
        row = await session.get(ConnectionRow, 1)
        assert row is not None
        for name, value in values.items():
            setattr(row, name, value)


async def settled(world: World) -> None:
    """Ready, and so much later that Trakt's stamps are final."""
    world.trakt.watch(LIES, at=world.clock() - timedelta(days=1))
    await world.ready()
    await poll(world)
