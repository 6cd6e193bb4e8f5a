"""The page of whoever runs the instance: all of it, for nobody else, and without a secret."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.demo.catalogue import DUNE
from app.demo.site import Answer
from app.main import app_of
from app.outbox import State
from app.settings import Settings
from app.store import instance
from app.tables import AccountRow, ConnectionRow, PostRow, SiteRow
from app.web import admission
from app.web.operator import HARMLESS, INNER, in_effect
from tests.conftest import NOON
from tests.test_pages import second_person
from tests.test_settings import loaded
from tests.world import BRIDGE, Clock, World, browser_for, running_world


async def add_account(world: World, me: str, locked: str | None = None) -> int:
    async with world.bridge.database.writing() as session:
        account = AccountRow(me=me, created_at=NOON)
        session.add(account)
        await session.flush()
        key = account.id or 0
        there: dict[str, Any] = {
            name: f"{me}{name}" for name in ("micropub", "authorization_endpoint", "token_endpoint")
        }
        session.add(SiteRow(account_id=key, **there, locked=locked))
        return key


async def test_where_others_do_the_work_the_page_says_where_their_faults_are(world: World) -> None:
    await world.sign_in()
    await world.browser.visit("/operator")
    assert "--metrics-port" not in world.browser.text

    alone = replace(world.bridge, has_scheduler=False)
    async with browser_for(app_of(alone, world.scheduler)) as client:
        client.cookies = world.browser.client.cookies
        page = await client.get(f"{BRIDGE}/operator")

    assert "work --metrics-port" in page.text


async def test_the_operator_sees_how_the_whole_bridge_is_doing(world: World) -> None:
    await world.ready()
    world.clock.passes(minutes=5)
    world.trakt.watch(DUNE)
    await world.check_now()
    world.clock.passes(minutes=2)

    await world.browser.visit("/settings")
    assert "/operator" in world.browser.page.text
    await world.browser.visit("/operator")

    assert world.browser.page.status_code == 200
    for said in (
        "showed life 2 minutes ago",
        "requests left to this process",
        "Trakt read 2 minutes ago",
        "well",
        "1 published",
        "SQLite 3.",
        "MB, schema 0",
        "Python 3.",
        "None since this process started.",
    ):
        assert said in world.browser.text


async def test_for_another_account_there_is_no_such_page(world: World) -> None:
    await world.ready()
    bob, client = await second_person(world)

    assert (await bob.visit("/operator")).status_code == 404
    assert world.me not in bob.page.text
    await bob.visit("/settings")
    assert "/operator" not in bob.page.text
    await client.aclose()


async def test_who_is_signed_out_sees_nothing_of_it(world: World) -> None:
    await world.ready()
    world.browser.client.cookies.clear()

    await world.browser.visit("/operator")

    assert "Sign in with your website" in world.browser.text
    assert "requests left" not in world.browser.text


@pytest.mark.parametrize(
    ("allowed", "me", "is_operator"),
    [
        ("ada.example, bob.example", "https://ada.example/", True),
        ("ada.example, bob.example", "https://bob.example/", False),
        ("*, ada.example", "https://ada.example/", True),
        ("*", "https://ada.example/", False),
        ("", "https://ada.example/", False),
    ],
)
async def test_the_operator_is_whom_the_setting_names_first(
    tmp_path: Path, clock: Clock, allowed: str, me: str, *, is_operator: bool
) -> None:
    async with (
        running_world(tmp_path, clock, allowed_sites=allowed) as world,
        world.bridge.database.reading() as session,
    ):
        found = await admission.is_owner(session, world.settings, me)

    assert found is is_operator


async def test_trouble_is_told_in_words_and_can_be_listed_alone(world: World) -> None:
    await world.ready()
    await add_account(world, "https://well.example/")
    await add_account(world, "https://ill.example/", "Its key is refused")
    world.clock.passes(minutes=5)
    world.site.then(Answer(429))
    world.trakt.watch(DUNE)
    await world.check_now()

    await world.browser.visit("/operator")
    for said in ("3 in all", "well.example", "Its key is refused.", "stopped", "not connected"):
        assert said in world.browser.text
    await world.browser.visit("/operator?show=trouble")

    assert "2 with trouble" in world.browser.text
    assert "well.example" not in world.browser.text
    assert "has trouble" in world.browser.text


async def test_thousands_of_accounts_come_page_by_page(world: World) -> None:
    await world.ready()
    for number in range(60):
        await add_account(world, f"https://a{number:02}.example/")

    await world.browser.visit("/operator")
    first = world.browser.text
    await world.browser.visit("/operator?page=2")

    assert "Page 1 of 2" in first
    assert "a00.example" in first
    assert "a59.example" not in first
    assert "a59.example" in world.browser.text
    for made_up in ("0", "x", "99999999"):
        assert (await world.browser.visit(f"/operator?page={made_up}")).status_code == 200


async def test_what_is_overdue_and_what_broke_is_told(world: World) -> None:
    async def broken() -> None:
        raise ValueError("the token is HUSH")

    await world.ready()
    await world.scheduler.guarded("look", broken())
    world.clock.passes(hours=3)

    await world.browser.visit("/operator")

    assert "Polls overdue 1, the oldest was due 2 hours ago" in world.browser.text
    assert "ValueError in look, scheduler.py:" in world.browser.text
    assert "no sign of life for minutes" in world.browser.text
    assert "HUSH" not in world.browser.page.text


async def test_the_page_holds_no_secret(tmp_path: Path, clock: Clock) -> None:
    secrets: dict[str, Any] = {
        "secret_key": "HUSH-SECRET-KEY" * 3,
        "trakt_client_secret": "HUSH-CLIENT",
        "metrics_token": "HUSH-METRICS-TOKEN",
        "notify_urls": "json://HUSH-NOTIFY/",
    }
    async with running_world(tmp_path, clock, **secrets) as world:
        await world.ready()

        await world.browser.visit("/operator")

        assert "METRICS_TOKEN set" in world.browser.text
        assert "POLL_INTERVAL 1800" in world.browser.text
        assert "HUSH" not in world.browser.page.text
        assert str(tmp_path) not in world.browser.page.text


def test_a_setting_is_a_secret_unless_the_page_knows_better() -> None:
    shown = dict(in_effect(loaded(trakt_client_secret="hush", trakt_client_id="mine")))

    assert shown["SECRET_KEY"] == shown["DATABASE_URL"] == shown["TRAKT_CLIENT_SECRET"] == "set"
    assert shown["NOTIFY_URLS"] == "not set"
    assert shown.keys() == {name.upper() for name in Settings.model_fields.keys() - INNER}
    hidden = {name for name, field in Settings.model_fields.items() if not field.repr}
    assert not hidden & HARMLESS


async def test_the_figures_are_right_on_both_databases(
    tmp_path: Path, clock: Clock, database_url: str
) -> None:
    async with running_world(tmp_path, clock, database_url=database_url) as world:
        ada = await add_account(world, "https://ada.example/", "Its key is refused")
        async with world.bridge.database.writing() as session:
            session.add(
                ConnectionRow(
                    account_id=ada,
                    source="trakt",
                    source_user="1",
                    source_name="ada",
                    start_at=NOON,
                    sealed_tokens="sealed",
                    next_poll_at=NOON - timedelta(hours=1),
                )
            )
            for state in (State.QUEUED, State.UNSURE, State.UNSURE):
                session.add(PostRow(account_id=ada, state=state, due_at=NOON))
        async with world.bridge.database.reading() as session:
            counts = await instance.counts(session, clock())
            pulse = await instance.pulse(session, clock())
            total, (doing,) = await instance.doing(session, 1, troubled=True, most=10)
            engine = await instance.engine(session)

    assert (counts.accounts, counts.overdue, counts.due_post_since) == (1, 1, None)
    assert counts.posts == doing.posts == {"queued": 1, "unsure": 2}
    assert (counts.connections, counts.sites) == ({"well": 1}, {"locked": 1})
    assert pulse.overdue_since == NOON - timedelta(hours=1)
    assert pulse.beat_at is None
    assert total == 1
    assert engine.kind == ("SQLite" if "sqlite" in database_url else "PostgreSQL")
    assert engine.size > 0
