"""The pages of people who are signed in: lists, searches, settings, and what is not theirs."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from bs4 import BeautifulSoup

from app.demo.catalogue import DUNE, LIES, SECRETS
from app.demo.site import Answer
from app.store import accounts, sessions, watches
from app.tables import AccountRow, SiteRow
from app.vault import digest
from app.web.session import cookie_name
from app.web.views import ago, amount, local
from tests.conftest import NOON
from tests.world import BRIDGE, Browser, Clock, World, browser_for, running_world


def titles(world: World) -> list[str]:
    links = world.browser.document.select("main a[href^='/watches/']")
    return [" ".join(link.get_text(" ").split()) for link in links]


async def test_the_dashboard_says_who_and_how_all_is(world: World) -> None:
    await world.ready()

    await world.browser.visit("/")

    for said in ("Ada Example", "Check now", "ada", "All is well"):
        assert said in world.browser.text


async def test_without_a_trakt_app_the_bridge_explains_what_to_do(
    tmp_path: Path, clock: Clock
) -> None:
    async with running_world(tmp_path, clock, trakt_client_id="") as world:
        await world.sign_in()

        assert "Trakt VIP" in world.browser.text
        assert "2026" in world.browser.text
        assert f"{BRIDGE}/trakt/callback" in world.browser.page.text


async def test_the_connect_page_shows_the_redirect_uri_to_paste(world: World) -> None:
    await world.sign_in()

    assert f"{BRIDGE}/trakt/callback" in world.browser.page.text
    assert "VIP" in world.browser.text


async def test_watches_are_listed_page_by_page(world: World) -> None:
    world.trakt.fill(120)
    await world.ready()

    await world.browser.visit("/watches")
    first = titles(world)
    await world.browser.visit("/watches?page=3")

    assert len(first) == 50
    assert len(titles(world)) == 20


@pytest.mark.parametrize("number", ["0", "-1", "x", "9999999999999", "\uff14", ""])
async def test_a_made_up_page_number_is_no_error(world: World, number: str) -> None:
    world.trakt.fill(60)
    await world.ready()

    assert (await world.browser.visit(f"/watches?page={number}")).status_code == 200


async def test_watches_are_found_by_title_and_by_state(world: World) -> None:
    world.trakt.watch(DUNE, at=world.clock() - timedelta(days=1))
    await world.ready()
    world.clock.passes(minutes=5)
    world.trakt.watch(LIES)
    await world.check_now()

    await world.browser.visit("/watches?q=dun")
    assert titles(world) == ["Dune (2021)"]
    await world.browser.visit("/watches?state=published")
    assert [title[:4] for title in titles(world)] == ["Dark"]
    await world.browser.visit("/watches?q=lies+dark")
    assert len(titles(world)) == 1
    await world.browser.visit("/watches?q=%25")
    assert titles(world) == []
    await world.browser.visit("/watches?state=made-up")
    assert len(titles(world)) == 2


async def test_the_number_beside_each_choice_is_that_of_the_watches_it_lists(world: World) -> None:
    world.trakt.watch(DUNE, at=world.clock() - timedelta(days=1))
    world.trakt.watch(DUNE, at="unknown")
    await world.ready()
    world.clock.passes(minutes=5)
    world.trakt.watch(LIES)
    world.trakt.watch(LIES, at=world.clock() + timedelta(days=1))
    await world.check_now()
    world.site.then(Answer(400))
    world.trakt.watch(SECRETS)
    await world.check_now()

    await world.browser.visit("/watches")
    choices = {
        str(one["value"]): int(one.get_text().rpartition("(")[2].rstrip(")"))
        for one in world.browser.document.select("#state option")
    }
    listed = {}
    for choice in choices:
        await world.browser.visit(f"/watches?state={choice}")
        listed[choice] = len(titles(world))

    assert set(choices) == {"", "archived", "undated", "published", "held", "refused"}
    assert choices == listed


@pytest.mark.parametrize(
    "path", ["/watches/99", "/watches/x", "/watches/0", "/nothing", "/watches/1/"]
)
async def test_what_is_not_there_is_a_page_and_no_error(world: World, path: str) -> None:
    await world.ready()

    response = await world.browser.visit(path)

    assert response.status_code == 404
    assert "nothing here" in world.browser.text


@pytest.mark.parametrize(("path", "leads_to"), [("/signin", "/")])
async def test_reloading_what_a_form_has_answered_leads_back_to_the_form(
    world: World, path: str, leads_to: str
) -> None:
    await world.sign_in()

    await world.browser.visit(path)

    assert str(world.browser.page.url) == f"{BRIDGE}{leads_to}"


async def test_who_is_signed_in_is_at_home_on_error_pages_too(world: World) -> None:
    await world.sign_in()

    await world.browser.visit("/nothing")

    assert "Sign out" in world.browser.text
    assert "Go to the dashboard" in world.browser.text


async def test_programs_are_asked_to_leave_the_bridge_alone(world: World) -> None:
    assert "Disallow: /" in (await world.browser.visit("/robots.txt")).text
    assert (await world.browser.visit("/favicon.ico")).headers["Content-Type"] == "image/png"


@pytest.mark.parametrize("path", ["/poll", "/trakt/connect", "/watches/1/retry"])
async def test_nothing_is_done_by_looking(world: World, path: str) -> None:
    response = await world.browser.visit(path)

    assert response.status_code in {404, 405}


@pytest.mark.parametrize(
    "path", ["/watches", "/watches/1", "/settings", "/trakt/callback?code=x&state=y"]
)
async def test_pages_of_people_are_shown_to_nobody_else(world: World, path: str) -> None:
    await world.browser.visit(path)

    assert str(world.browser.page.url) == f"{BRIDGE}/?said=sign-in-first"
    assert "Sign in with your website" in world.browser.text
    assert "not signed in here" in world.browser.text


BOBS_COOKIE = "the cookie of bob"


async def second_person(world: World) -> tuple[Browser, httpx2.AsyncClient]:
    """Somebody else with an account on the same bridge."""
    async with world.bridge.database.writing() as session:
        bob = AccountRow(me="https://bob.example/", created_at=NOON)
        session.add(bob)
        await session.flush()
        session.add(
            SiteRow(
                account_id=bob.id or 0,
                micropub="https://bob.example/micropub",
                authorization_endpoint="https://bob.example/auth",
                token_endpoint="https://bob.example/token",
            )
        )
        await sessions.begin(session, digest(BOBS_COOKIE), bob.id or 0, "A browser", NOON)
    client = browser_for(world.app)
    client.cookies.set(cookie_name(world.settings), BOBS_COOKIE, domain="localhost.local")
    return Browser(client), client


async def test_one_account_never_sees_or_touches_another_s_watches(world: World) -> None:
    await world.ready()
    world.clock.passes(minutes=5)
    world.site.then(Answer(400))
    world.trakt.watch(DUNE)
    await world.check_now()
    bob, client = await second_person(world)
    await bob.visit("/settings")
    assert "bob.example" in bob.text
    csrf = bob.document.find("input", attrs={"name": "csrf"})
    assert csrf is not None

    assert (await bob.visit("/watches/1")).status_code == 404
    for action in ("retry", "skip", "publish"):
        response = await client.post(
            f"{BRIDGE}/watches/1/{action}", data={"csrf": str(csrf["value"])}
        )
        assert response.status_code == 404
    await bob.visit("/watches")
    assert "Dune" not in bob.text
    assert await world.states() == {"refused": 1}
    await client.aclose()


async def test_the_time_zone_is_changed_and_nonsense_is_explained_beside_its_field(
    world: World,
) -> None:
    await world.sign_in()
    await world.browser.visit("/settings")
    await world.browser.press("Save", timezone="Asia/Tokyo")
    assert "Saved" in world.browser.text

    await world.browser.press("Save", timezone="Mars/Olympus")

    assert world.browser.page.status_code == 400
    assert "is not a time zone" in world.browser.text
    async with world.bridge.database.reading() as session:
        found = await accounts.account(session, 1)
    assert found is not None
    assert found[0].timezone == "Asia/Tokyo"


async def test_a_time_zone_that_nobody_knows_is_shown_and_read_as_utc(world: World) -> None:
    await world.ready()
    async with world.bridge.database.writing() as session:
        await accounts.set_timezone(session, 1, "Mars/Olympus")
    await world.browser.visit("/settings")
    assert "Mars/Olympus" in world.browser.text
    world.clock.passes(minutes=5)
    world.trakt.watch(DUNE)

    await world.check_now()

    assert world.site.posts[0].properties["published"] == ["2026-11-20T12:05:00+00:00"]


async def test_every_answer_carries_the_headers_that_protect_a_page(world: World) -> None:
    await world.ready()

    for path in ("/", "/watches", "/nothing", "/static/style.css", "/id", "/healthz"):
        headers = (await world.browser.client.get(BRIDGE + path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert ("no-store" in headers["Cache-Control"]) is (not path.startswith("/static"))


async def test_behind_https_cookies_are_secure_and_tied_to_the_host(
    tmp_path: Path, clock: Clock
) -> None:
    async with running_world(tmp_path, clock, base_url="https://localhost") as world:
        response = await world.browser.client.get("https://localhost/")

    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("__Host-session=")
    for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert part in cookie
    assert "max-age" in response.headers["Strict-Transport-Security"]


async def test_no_picture_comes_from_elsewhere(world: World) -> None:
    await world.ready()

    for path in ("/", "/watches", "/settings"):
        page = BeautifulSoup((await world.browser.visit(path)).text, "html5lib")
        for picture in page.select("img[src], link[href][rel~=icon], script[src]"):
            source = str(picture.get("src") or picture.get("href"))
            assert not urlsplit(source).netloc


async def test_a_location_that_is_no_web_address_never_becomes_a_link(world: World) -> None:
    await world.ready()
    world.site.then(Answer(201, {"Location": "javascript:alert(1)"}, creates=True))
    world.clock.passes(minutes=5)
    world.trakt.watch(DUNE)
    await world.check_now()
    async with world.bridge.database.writing() as session:
        found = await watches.one(session, 1, 1)
        assert found is not None
        assert found[1] is not None
        found[1].url = "javascript:alert(1)"

    for path in ("/", "/watches", "/watches/1"):
        page = BeautifulSoup((await world.browser.visit(path)).text, "html5lib")
        assert not page.select("a[href^=javascript]")


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (timedelta(seconds=-10), "just now"),
        (timedelta(seconds=10), "in a moment"),
        (timedelta(minutes=-1), "1 minute ago"),
        (timedelta(minutes=25), "in 25 minutes"),
        (timedelta(hours=-5), "5 hours ago"),
        (timedelta(days=-3), "3 days ago"),
    ],
)
def test_times_are_said_as_people_say_them(span: timedelta, said: str) -> None:
    assert ago(NOON + span, NOON) == said


def test_a_time_is_shown_in_the_person_s_zone() -> None:
    assert ago(None, NOON) == "never"
    assert amount(timedelta(seconds=5)) == "1 minute"
    assert local(NOON, "Europe/Vienna") == "20 Nov 2026, 13:00"
    assert local(NOON, "Mars/Olympus") == "20 Nov 2026, 12:00"
    assert local(None, "UTC") == "unknown date"
