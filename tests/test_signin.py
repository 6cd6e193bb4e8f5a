"""Signing in, with all that may go wrong on the way; the website is real, the pages are ours."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import pytest
from bs4 import BeautifulSoup
from sqlalchemy import func, select
from sqlmodel import SQLModel

from app import database, migrate, settings
from app.database import Database
from app.demo.catalogue import DUNE
from app.demo.site import Habits
from app.store import accounts
from app.tables import ClaimRow, PostRow, SiteRow
from app.web import admission
from tests.world import BRIDGE, Browser, Clock, World, browser_for, running_world


async def rows(world: World) -> dict[str, int]:
    """How many rows each table holds."""
    async with world.bridge.database.reading() as session:
        return {
            table.name: await session.scalar(select(func.count()).select_from(table)) or 0
            for table in SQLModel.metadata.sorted_tables
        }


async def begun(world: World) -> str:
    """Type the address, and return the consent page's URL instead of going there."""
    await world.browser.visit("/")
    form, _ = world.browser.form_with("Sign in")
    csrf = form.find("input", attrs={"name": "csrf"})
    assert csrf is not None
    response = await world.browser.client.post(
        f"{BRIDGE}/signin", data={"csrf": str(csrf["value"]), "me": world.me}
    )
    return response.headers["Location"]


async def consented(world: World) -> str:
    """Approve on the website and return the URL of our callback, not yet visited."""
    page = await world.browser.client.get(await begun(world))
    world.browser.page = page
    form, _ = world.browser.form_with("Approve")
    fields = {
        str(one["name"]): str(one.get("value", ""))
        for one in form.find_all("input")
        if one.get("name")
    }
    answer = await world.browser.client.post(
        urljoin(world.me, str(form["action"])),
        data={**fields, "scope": ["create", "update", "profile"], "decision": "approve"},
    )
    return answer.headers["Location"]


async def site_row(world: World) -> SiteRow:
    async with world.bridge.database.reading() as session:
        found = await accounts.account(session, 1)
    assert found is not None
    return found[1]


async def test_the_confirmed_site_is_signed_in(world: World) -> None:
    await world.sign_in()

    assert "Ada Example" in world.browser.text
    site = await site_row(world)
    assert site.micropub == f"{world.me}micropub"
    assert set(site.scope.split()) == {"create", "update", "profile"}


async def test_the_request_is_what_indieauth_wants(world: World) -> None:
    query = parse_qs(urlsplit(await begun(world)).query)

    assert query["response_type"] == ["code"]
    assert query["client_id"] == [f"{BRIDGE}/id"]
    assert query["redirect_uri"] == [f"{BRIDGE}/callback"]
    assert query["code_challenge_method"] == ["S256"]
    assert query["scope"] == ["create update profile"]
    assert query["me"] == [world.me]


async def test_nothing_is_stored_before_the_identity_is_proven(world: World) -> None:
    before = await rows(world)

    await consented(world)

    assert await rows(world) == before


async def test_a_callback_works_once(world: World) -> None:
    url = await consented(world)
    await world.browser.visit(url)

    again = await world.browser.visit(url)

    # The browser has dropped the cookie of a flow that is over.
    assert again.status_code == 400
    assert (await rows(world))["session"] == 1


async def test_a_kept_cookie_does_not_make_a_callback_work_twice(world: World) -> None:
    url = await consented(world)
    cookies = httpx2.Cookies(world.browser.client.cookies)
    await world.browser.visit(url)
    world.browser.client.cookies = cookies

    again = await world.browser.visit(url)

    assert again.status_code == 400
    assert "done already" in world.browser.text


async def test_a_callback_in_another_browser_signs_nobody_in(world: World) -> None:
    url = await consented(world)
    async with browser_for(world.app) as client:
        other = Browser(client)
        await other.visit(url)

        assert other.page.status_code == 400
        assert "another browser" in other.text
    assert (await rows(world))["account"] == 0


async def test_a_callback_that_comes_too_late_says_so(world: World) -> None:
    url = await consented(world)
    world.clock.passes(minutes=16)

    await world.browser.visit(url)

    assert "too long ago" in world.browser.text
    assert (await rows(world))["account"] == 0


async def test_two_tabs_do_not_disturb_each_other(world: World) -> None:
    first, second = await consented(world), await consented(world)

    assert (await world.browser.visit(first)).status_code == 200
    assert (await world.browser.visit(second)).status_code == 200


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "only a step on the way"),
        ("?state=made-up&code=x", "another browser"),
        ("?code=x", "only a step on the way"),
        ("?state=&code=x", "only a step on the way"),
    ],
)
async def test_a_made_up_callback_is_explained(world: World, query: str, said: str) -> None:
    response = await world.browser.visit(f"/callback{query}")

    assert response.status_code == 400
    assert said in world.browser.text


@pytest.mark.parametrize(
    ("iss", "said"),
    [("https://evil.example/", "another server"), (None, "does not say who it is from")],
    ids=["another", "missing"],
)
async def test_an_answer_from_another_server_is_refused(
    world: World, iss: str | None, said: str
) -> None:
    url = httpx2.URL(await consented(world)).copy_remove_param("iss")

    await world.browser.visit(str(url.copy_add_param("iss", iss) if iss else url))

    assert said in world.browser.text
    assert (await rows(world))["account"] == 0
    assert "/token" not in [seen.path for seen in world.site.requests]


async def test_a_person_who_says_no_is_told_that_nothing_was_stored(world: World) -> None:
    await world.browser.visit("/")
    await world.browser.press("Sign in", me=world.me)

    await world.browser.press("Deny")

    assert "You said no" in world.browser.text
    assert (await rows(world))["account"] == 0


@pytest.mark.parametrize(
    "typed",
    ["", "   ", "not a url", "javascript:alert(1)", "https://", "ftp://ada.example", "a" * 3000],
)
async def test_a_wrong_address_is_explained_beside_the_field(world: World, typed: str) -> None:
    await world.browser.visit("/")

    response = await world.browser.press("Sign in", me=typed)

    assert response.status_code == 400
    assert world.browser.document.select_one("#me[aria-invalid=true]") is not None


async def test_a_site_that_is_down_is_explained(world: World) -> None:
    await world.browser.visit("/")

    await world.browser.press("Sign in", me="http://127.0.0.1:9/")

    assert "could not be reached" in world.browser.text


async def test_a_private_address_is_refused(tmp_path: Path, clock: Clock) -> None:
    async with running_world(tmp_path, clock, allow_private_networks="10.9.9.9/32") as world:
        await world.browser.visit("/")

        await world.browser.press("Sign in", me="http://localtest.internal/")

        assert world.browser.page.status_code in {400, 502}
        assert world.site.requests == []


@pytest.mark.parametrize(
    ("habits", "said"),
    [
        (Habits(html_403_challenge=True), "403"),
        (Habits(scope_granted="profile"), "may not post"),
        (Habits(me="https://someone-else.example/"), "could not be confirmed"),
    ],
    ids=["challenge page", "scope refused", "another me"],
)
async def test_what_a_site_gets_wrong_is_explained(
    tmp_path: Path, clock: Clock, habits: Habits, said: str
) -> None:
    async with running_world(tmp_path, clock, habits) as world:
        await world.browser.visit("/")
        await world.browser.press("Sign in", me=world.me)
        if world.browser.page.url.host != "localhost":
            await world.browser.press("Approve")

        assert said in world.browser.text
        assert (await rows(world))["account"] == 0


@pytest.mark.parametrize(
    "habits",
    [
        Habits(legacy_rels_only=True),
        Habits(token_status=201),
        Habits(token_form_encoded=True),
        Habits(with_refresh_token=True),
    ],
    ids=["legacy rels", "201", "form encoded", "refresh token"],
)
async def test_sites_that_differ_are_understood(
    tmp_path: Path, clock: Clock, habits: Habits
) -> None:
    async with running_world(tmp_path, clock, habits) as world:
        await world.sign_in()

        assert (await rows(world))["session"] == 1


async def test_a_site_that_grants_drafts_only_is_told_what_is_missing(
    tmp_path: Path, clock: Clock
) -> None:
    async with running_world(tmp_path, clock, Habits(scope_granted="draft profile")) as world:
        await world.sign_in()

        assert "drafts only" in world.browser.text


async def test_a_token_that_leads_to_nothing_is_given_back(tmp_path: Path, clock: Clock) -> None:
    async with running_world(tmp_path, clock, allowed_sites="https://bob.example/") as world:
        await world.sign_in()

        assert "not open to your website" in world.browser.text
        assert [seen.path for seen in world.site.requests][-1] == "/revoke"
        assert (await rows(world))["account"] == 0


async def test_only_the_sites_of_the_setting_may_come_in(tmp_path: Path, clock: Clock) -> None:
    async with running_world(tmp_path, clock, allowed_sites="*") as world:
        await world.sign_in()
        assert (await rows(world))["account"] == 1


async def test_the_first_site_claims_the_bridge_and_the_next_is_turned_away(world: World) -> None:
    await world.sign_in()
    async with world.bridge.database.writing() as session:
        row = await session.get(ClaimRow, 1)
        assert row is not None
        assert row.me == world.me
        row.me = "https://the-owner.example/"
    world.browser.client.cookies.clear()

    await world.sign_in()

    assert "not open to your website" in world.browser.text


async def test_of_two_claims_at_once_one_wins(database_url: str) -> None:
    url = settings.database(database_url)
    database.prepare(url)
    migrate.upgrade(url)
    stores = [Database(url) for _ in range(4)]
    async with stores[0].writing() as session:
        await accounts.set_claim_code(session, None)

    async def take(store: Database, me: str) -> bool:
        async with store.writing() as session:
            return await accounts.take(session, me, None)

    sites = [f"https://{name}.example/" for name in ("ada", "bob", "eve", "joe")]
    won = await asyncio.gather(*map(take, stores, sites))

    assert sorted(won) == [False, False, False, True]
    assert await take(stores[0], sites[won.index(True)])
    for store in stores:
        await store.close()


async def test_a_public_bridge_is_claimed_with_the_code_of_its_log_only(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_world(tmp_path, clock, base_url="https://watch.example") as world:
        async with world.bridge.database.writing() as session:
            assert await admission.needs_code(session, world.settings)
            assert not await accounts.take(session, "https://ada.example/", None)
            assert not await accounts.take(session, "https://ada.example/", "wrong")
        printed = capsys.readouterr().out
        code = printed.partition("code=")[2].split()[0]
        async with world.bridge.database.writing() as session:
            await admission.admit(
                session, world.settings, "https://ada.example/", f" {code.upper()} "
            )
            # The code works once.
            await session.flush()
            row = await session.get(ClaimRow, 1, populate_existing=True)
        assert row is not None
        assert (row.me, row.code_digest) == ("https://ada.example/", None)


async def test_deleting_the_owner_does_not_reopen_the_door_unguarded(world: World) -> None:
    await world.sign_in()
    await world.browser.visit("/settings/delete")
    await world.browser.press("Delete my account")
    assert (await rows(world))["account"] == 0

    await world.browser.visit("/")
    assert world.browser.document.select_one("#code") is not None
    await world.browser.press("Sign in", me=world.me)

    assert "setup code is missing or wrong" in world.browser.text


async def test_signing_in_again_replaces_the_token_and_revokes_the_old_one(world: World) -> None:
    await world.sign_in()
    old = (await site_row(world)).sealed_tokens

    await world.sign_in_again()

    assert (await site_row(world)).sealed_tokens != old
    assert [seen.path for seen in world.site.requests].count("/revoke") == 1
    assert (await rows(world))["account"] == 1


async def test_signing_in_again_releases_the_posts_that_waited(world: World) -> None:
    await world.ready()
    world.site.revoke_tokens()
    world.clock.passes(minutes=5)
    world.trakt.watch(DUNE)
    await world.check_now()
    assert await world.states() == {"queued": 1}
    async with world.bridge.database.writing() as session:
        post = await session.get(PostRow, 1)
        assert post is not None
        post.due_at = world.clock() + timedelta(hours=6)
    await world.browser.visit("/")
    assert "Sign in again" in world.browser.text

    await world.browser.press("Sign in again")
    await world.browser.press("Approve")
    await world.work()

    assert await world.states() == {"published": 1}
    assert len(world.site.posts) == 1


async def test_signing_out_ends_the_session_and_nothing_else(world: World) -> None:
    await world.ready()
    kept = httpx2.Cookies(world.browser.client.cookies)
    await world.browser.press("Sign out")

    world.browser.client.cookies = kept
    await world.browser.visit("/watches")

    assert "not signed in here" in world.browser.text
    assert (await world.connection()).next_poll_at is not None


async def test_a_session_does_not_outlive_its_time(world: World) -> None:
    await world.sign_in()
    world.clock.passes(days=181)

    await world.browser.visit("/watches")

    assert "Sign in with your website" in world.browser.text


async def test_the_cookie_known_before_signing_in_is_worth_nothing_after(world: World) -> None:
    await world.browser.visit("/")
    known = httpx2.Cookies(world.browser.client.cookies)
    await world.sign_in()
    async with browser_for(world.app) as client:
        client.cookies = known
        other = Browser(client)
        await other.visit("/watches")

        assert "Sign in with your website" in other.text


@pytest.mark.parametrize(
    ("csrf", "origin", "said"),
    [
        (None, None, "out of date"),
        ("made-up", None, "out of date"),
        ("right", "https://evil.example", "did not come from this site"),
        ("right", "null", "did not come from this site"),
    ],
)
async def test_a_form_of_another_site_changes_nothing(
    world: World, csrf: str | None, origin: str | None, said: str
) -> None:
    await world.ready()
    await world.browser.visit("/")
    form, _ = world.browser.form_with("Check now")
    field = form.find("input", attrs={"name": "csrf"})
    assert field is not None
    data = {"csrf": str(field["value"]) if csrf == "right" else csrf} if csrf else {}

    response = await world.browser.client.post(
        f"{BRIDGE}/trakt/disconnect", data=data, headers={"Origin": origin} if origin else {}
    )

    assert response.status_code == 400
    assert said in " ".join(BeautifulSoup(response.text, "html5lib").get_text(" ").split())
    assert (await world.connection()).sealed_tokens is not None


@pytest.mark.parametrize("accept", ["*/*", "text/html,*/*;q=0.8", ""])
async def test_the_client_page_is_html_for_those_who_do_not_ask_for_json(
    world: World, accept: str
) -> None:
    response = await world.browser.client.get(f"{BRIDGE}/id", headers={"Accept": accept})
    page = BeautifulSoup(response.text, "html5lib")

    assert page.select_one(".h-app .p-name") is not None
    link = page.select_one("link[rel=redirect_uri]")
    assert link is not None
    assert link["href"] == f"{BRIDGE}/callback"
    assert response.headers["Vary"] == "Accept"


async def test_the_client_page_is_json_for_those_who_ask(world: World) -> None:
    response = await world.browser.client.get(
        f"{BRIDGE}/id", headers={"Accept": "application/json"}
    )

    document = json.loads(response.text)
    assert document["client_id"] == f"{BRIDGE}/id"
    assert document["client_id"].startswith(document["client_uri"])
    assert document["redirect_uris"] == [f"{BRIDGE}/callback"]
    assert response.headers["Content-Type"] == "application/json"


async def test_a_lost_secret_key_means_sign_in_again_and_not_an_error(world: World) -> None:
    await world.sign_in()
    async with world.bridge.database.writing() as session:
        row = await session.get(SiteRow, 1)
        assert row is not None
        row.sealed_tokens = "sealed with a key that is gone"

    await world.browser.visit("/")

    assert world.browser.page.status_code == 200
