"""The sessions of browsers: who sees them, and how they end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import func, select
from sqlmodel import col
from structlog.testing import capture_logs

from app.store import sessions as rows
from app.tables import SessionRow, SiteRow, SpentRow
from app.vault import digest
from app.web.browsers import browser_of
from app.web.session import cookie_name
from tests.test_pages import BOBS_COOKIE, second_person
from tests.world import BRIDGE, Browser, Clock, World, browser_for, running_world

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1"
)
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 "


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


# --- The list of browsers ---


@asynccontextmanager
async def signed_in_on_a_phone(world: World) -> AsyncIterator[Browser]:
    """Sign in with Firefox and with an iPhone, which is the one returned."""
    world.browser.client.headers["User-Agent"] = FIREFOX
    await world.sign_in()
    async with browser_for(world.app) as client:
        client.headers["User-Agent"] = IPHONE
        phone = Browser(client)
        await replace(world, browser=phone).sign_in()
        yield phone


async def test_the_settings_show_each_browser_and_mark_this_one(world: World) -> None:
    async with signed_in_on_a_phone(world):
        await world.browser.visit("/settings")

    told = world.browser.text
    assert "Firefox on Linux (this one) Signed in on 20 Nov 2026, last used on 20 Nov 2026" in told
    assert "Safari on an iPhone Signed in on 20 Nov 2026" in told
    assert told.count("(this one)") == 1


async def test_one_browser_is_signed_out_and_the_others_go_on(world: World) -> None:
    async with signed_in_on_a_phone(world) as phone:
        await world.browser.visit("/settings")

        await world.browser.press("Sign it out")

        assert "That browser is signed out" in world.browser.text
        assert "iPhone" not in world.browser.text
        assert "not signed in" in (await phone.visit("/watches")).text


async def test_nobody_signs_a_browser_of_somebody_else_out(world: World) -> None:
    await world.ready()
    _, client = await second_person(world)
    await client.aclose()
    await world.browser.visit("/settings")
    token = world.browser.document.find("input", attrs={"name": "csrf"})
    assert token is not None

    for foreign in (digest(BOBS_COOKIE), "", "%"):
        data = {"csrf": str(token["value"]), "browser": foreign}
        await world.browser.client.post(f"{BRIDGE}/settings/browsers/end", data=data)

    assert (await sessions(world, 1), await sessions(world, 2)) == (1, 1)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (FIREFOX, "Firefox on Linux"),
        (IPHONE, "Safari on an iPhone"),
        (IPHONE.replace("Version/26.0", "CriOS/142.0"), "Chrome on an iPhone"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME}Safari/537.36", "Chrome on Windows"),
        (f"(Windows NT 10.0; Win64; x64) {CHROME}Safari/537.36 Edg/142.0", "Edge on Windows"),
        (f"(Macintosh; Intel Mac OS X 10_15_7) {CHROME}Safari/537.36 OPR/124.0", "Opera on a Mac"),
        (f"(Linux; Android 10; K) {CHROME}Mobile Safari/537.36", "Chrome on Android"),
        ("<script>alert(1)</script>", "A browser"),
        ("", "A browser"),
    ],
)
def test_what_a_browser_calls_itself_is_reduced_to_words_of_ours(said: str, shown: str) -> None:
    assert browser_of(said) == shown


async def test_a_browser_that_is_not_used_for_a_month_is_signed_out(world: World) -> None:
    await world.sign_in()
    world.clock.passes(days=29)
    await world.browser.visit("/watches")
    world.clock.passes(days=29)
    assert "Signed in as" in (await world.browser.visit("/watches")).text

    world.clock.passes(days=30)

    assert "not signed in here" in (await world.browser.visit("/watches")).text


async def test_however_much_it_is_used_a_session_ends_half_a_year_after_its_sign_in(
    world: World,
) -> None:
    await world.sign_in()
    for _ in range(7):
        world.clock.passes(days=25)
        assert "Signed in as" in (await world.browser.visit("/watches")).text

    world.clock.passes(days=5)

    assert "not signed in here" in (await world.browser.visit("/watches")).text


async def test_that_a_browser_is_used_is_noted_once_an_hour_and_no_more(world: World) -> None:
    await world.sign_in()
    seen = []
    for _ in range(4):
        world.clock.passes(minutes=25)
        await world.browser.visit("/watches")
        async with world.bridge.database.reading() as session:
            seen.append((await rows.of_account(session, 1, world.clock()))[0].seen_at)

    assert len(set(seen)) == 2
    assert seen[2] == seen[3]


async def test_beyond_so_many_browsers_the_one_unused_for_longest_is_signed_out(
    world: World,
) -> None:
    await world.sign_in()
    async with world.bridge.database.writing() as session:
        for number in range(rows.MOST + 2):
            world.clock.passes(minutes=1)
            await rows.begin(session, f"digest {number}", 1, "A browser", world.clock())

    assert await sessions(world, 1) == rows.MOST
    assert "not signed in here" in (await world.browser.visit("/watches")).text


async def test_who_is_taken_out_of_allowed_sites_is_signed_out(
    tmp_path: Path, clock: Clock
) -> None:
    async with running_world(tmp_path, clock, allowed_sites="*") as world:
        await world.sign_in()
        cookies = world.browser.client.cookies

    async with running_world(tmp_path, clock, allowed_sites="somebody.example") as later:
        later.browser.client.cookies = cookies
        assert "not signed in here" in (await later.browser.visit("/watches")).text
        assert "Signed in as" not in later.browser.text


@pytest.mark.parametrize("button", ["Sign out", "Sign out everywhere", "Delete my account"])
async def test_whoever_leaves_lets_the_browser_forget_the_pages(world: World, button: str) -> None:
    await world.ready()
    await world.browser.visit("/settings/delete" if "Delete" in button else "/settings")

    answer = await world.browser.press(button)

    assert answer.history[0].headers["Clear-Site-Data"] == '"cache"'


async def test_each_way_in_and_out_is_told_in_the_log_with_whose_and_from_where(
    world: World,
) -> None:
    with capture_logs() as told:
        await world.browser.visit("/")
        await world.browser.press("Sign in", me="not an address")
        await world.browser.visit("/callback?state=made-up&code=made-up")
        await world.sign_in()
        await world.browser.press("Sign out")

    here = "127.0.0.1"
    assert [line for line in told if "client" in line or "signed" in line["event"]] == [
        {
            "event": "refused",
            "path": "/signin",
            "code": "invalid_profile_url",
            "client": here,
            "log_level": "info",
        },
        {
            "event": "refused",
            "path": "/callback",
            "code": "invalid_state",
            "client": here,
            "log_level": "info",
        },
        {"event": "signed in", "account": 1, "client": here, "log_level": "info"},
        {"event": "signed out", "account": 1, "log_level": "info"},
    ]
