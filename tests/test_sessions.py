"""The sessions of browsers: how they end."""

import httpx2
from sqlalchemy import func, select
from sqlmodel import col

from app.tables import SessionRow, SiteRow, SpentRow
from app.vault import digest
from app.web.session import cookie_name
from tests.test_pages import second_person
from tests.world import Browser, World, browser_for


async def sessions(world: World, account_id: int) -> int:
    async with world.bridge.database.reading() as session:
        mine = select(func.count()).where(col(SessionRow.account_id) == account_id)
        return await session.scalar(mine) or 0


def cookie_of(world: World) -> str:
    return world.browser.client.cookies[cookie_name(world.settings)]


async def test_signing_out_everywhere_ends_all_browsers_of_the_person_and_no_other(
    world: World,
) -> None:
    await world.ready()
    kept = httpx2.Cookies(world.browser.client.cookies)
    await world.sign_in_again()
    _, client = await second_person(world)
    await client.aclose()
    assert (await sessions(world, 1), await sessions(world, 2)) == (2, 1)
    await world.browser.visit("/settings")

    await world.browser.press("Sign out everywhere")

    assert "All browsers are signed out" in world.browser.text
    assert (await sessions(world, 1), await sessions(world, 2)) == (0, 1)
    async with browser_for(world.app) as other:
        other.cookies = kept
        page = await Browser(other).visit("/watches")
    assert "not signed in here" in page.text
    assert (await world.connection()).next_poll_at is not None


async def test_each_sign_in_has_a_new_cookie_and_ends_the_old_one(world: World) -> None:
    await world.browser.visit("/")
    stranger = cookie_of(world)
    await world.sign_in()
    first = cookie_of(world)

    # The dashboard offers to sign in again where the site no longer takes our key.
    async with world.bridge.database.writing() as session:
        row = await session.get(SiteRow, 1)
        assert row is not None
        row.locked = "It said 401"
    await world.browser.visit("/")
    await world.browser.press("Sign in again")
    await world.browser.press("Approve")

    assert len({stranger, first, cookie_of(world)}) == 3
    assert await sessions(world, 1) == 1


async def test_the_database_holds_no_cookie(world: World) -> None:
    await world.sign_in()

    async with world.bridge.database.reading() as session:
        held = (await session.scalars(select(col(SessionRow.digest)))).all()

    assert held == [digest(cookie_of(world))]


async def test_what_is_over_is_swept_also_when_nobody_signs_in(world: World) -> None:
    await world.sign_in()
    world.clock.passes(days=181)

    await world.work()

    async with world.bridge.database.reading() as session:
        for row in (SessionRow, SpentRow):
            assert await session.scalar(select(func.count()).select_from(row)) == 0
