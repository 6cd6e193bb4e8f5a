"""Another SECRET_KEY: sealing anew while a bridge runs, and what a lost key means for people."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import SQLModel
from structlog.testing import capture_logs

from app import settings
from app.cli.keys import summary
from app.database import Database
from app.demo.catalogue import DUNE
from app.grants import UNREADABLE, Pair
from app.main import app_of, assembled
from app.notices import Kind
from app.rotate import PORTION, Census, StaleBridge, census, rotate
from app.store import accounts, connections, gates, grants, lease, notices, sealed, workers
from app.store.accounts import Site
from app.store.connections import Start
from app.store.notices import Claim
from app.tables import ConnectionRow, SiteRow
from app.vault import Vault
from app.watch import Person
from app.web import admission
from tests.conftest import NOON
from tests.machine import ROOT, Machine
from tests.test_connect import consented
from tests.test_rolling_restart import serving
from tests.world import SECRET_KEY, Browser, World, browser_for

OLD, NEW = SECRET_KEY, "a newer key of more than 32 characters"
PAIR = Pair("an access token", "a refresh token", issued_at=NOON, expires_at=None)
SITE = Site(
    me="",
    name=None,
    photo=None,
    micropub="https://ada.example/micropub",
    authorization_endpoint="https://ada.example/auth",
    token_endpoint="https://ada.example/token",
    revocation_endpoint=None,
    issuer=None,
    scope="create",
    pair=PAIR,
)
NTFY = "ntfys://ntfy.sh/a-topic"


async def fill(store: Database, people: int = 1) -> None:
    """People with all that is ever sealed, by the old key."""
    vault = Vault([OLD])
    async with store.writing() as session:
        for number in range(people):
            site = replace(SITE, me=f"https://ada{number}.example/")
            ada = Person("trakt", f"uuid-{number}", "ada", "UTC", NOON)
            key, _ = await accounts.sign_in(session, site, vault, NOON)
            await connections.connect(session, key, ada, PAIR, vault, Start(NOON, NOON))
            await notices.set_addresses(session, key, [NTFY], vault)


async def pairs(store: Database, vault: Vault, key: int = 1) -> list[Pair | None]:
    async with store.reading() as session:
        return [
            (await grants.read(session, row, key, vault))[0] for row in (SiteRow, ConnectionRow)
        ]


def test_every_column_that_is_sealed_is_known() -> None:
    named = {
        (table.name, column.name)
        for table in SQLModel.metadata.tables.values()
        for column in table.columns
        if column.name.startswith("sealed")
    }

    assert {(p.column.class_.__tablename__, p.column.key) for p in sealed.PLACES} == named  # type: ignore[attr-defined] # columns of tables


async def test_all_is_sealed_anew_and_the_old_key_may_go(store: Database) -> None:
    await fill(store, people=2)
    both, said = Vault([NEW, OLD]), list[str]()
    assert await census(store, both) == Census(newest=0, older=6, lost=())

    left = await rotate(store, both, NOON, said.append)

    assert left == Census(newest=6, older=0, lost=())
    assert said[-1] == "6 of 6 sealed anew"
    assert await pairs(store, Vault([NEW])) == [PAIR, PAIR]
    async with store.reading() as session:
        assert await notices.addresses(session, 1, Vault([NEW])) == [NTFY]
    assert "may go" in summary(left, 2)[-1]


async def test_more_rows_than_one_portion_holds_are_all_sealed_anew(store: Database) -> None:
    await fill(store, people=PORTION + 1)

    left = await rotate(store, Vault([NEW, OLD]), NOON, print)

    assert left == Census(newest=3 * (PORTION + 1), older=0, lost=())


async def test_sealing_anew_twice_or_from_two_processes_does_no_harm(store: Database) -> None:
    await fill(store, people=20)
    other = Database(store.engine.url.render_as_string(hide_password=False))
    both = Vault([NEW, OLD])

    await asyncio.gather(*(rotate(one, both, NOON, print) for one in (store, other)))
    before = [text async for text in texts(store)]
    left = await rotate(other, both, NOON, print)
    await other.close()

    assert left == Census(newest=60, older=0, lost=())
    assert [text async for text in texts(store)] == before


async def texts(store: Database) -> AsyncIterator[str]:
    async with store.reading() as session:
        for place in sealed.PLACES:
            for one in await sealed.some(session, place, -1, 1000):
                yield one.text


async def test_a_pair_that_came_meanwhile_is_not_overwritten(store: Database) -> None:
    await fill(store)
    both, fresh = Vault([NEW, OLD]), replace(PAIR, access="fresh", refresh="fresh too")
    async with store.reading() as session:
        (old,) = await sealed.some(session, sealed.PLACES[0], -1, 10)
    async with store.writing() as session:
        site = await session.get(SiteRow, 1)
        assert site is not None
        grants.put(site, fresh, both)

    async with store.writing() as session:
        text = both.sealed_anew(old.text)
        assert text is not None
        assert not await sealed.replace(session, sealed.PLACES[0], old, text)

    assert (await pairs(store, both))[0] == fresh


async def test_what_no_key_opens_is_named_with_what_its_person_must_do(store: Database) -> None:
    await fill(store)

    left = await rotate(store, Vault([NEW]), NOON, print)

    assert (left.newest, left.older) == (0, 0)
    assert [line.split(" ", 1)[0] for line in left.lost] == ["https://ada0.example/"] * 3
    told = "\n".join(summary(left, 1))
    for words in ("sign in again", "connect Trakt again", "where to be told again"):
        assert words in told


async def be_scheduled(store: Database) -> None:
    """Let a bridge be at work that knows the old key alone."""
    async with store.writing() as session:
        await lease.take(session, "process 1 on web-1", NOON, timedelta(seconds=30))
        await gates.beat(session, Vault([OLD]).key_name, NOON, timedelta(hours=1))


async def test_nothing_is_sealed_that_a_running_bridge_could_not_open(store: Database) -> None:
    await fill(store)
    await be_scheduled(store)

    with pytest.raises(StaleBridge):
        await rotate(store, Vault([NEW, OLD]), NOON + timedelta(minutes=1), print)
    assert await census(store, Vault([NEW, OLD])) == Census(newest=0, older=3, lost=())

    # It has ended, or was started anew with the newer key.
    await rotate(store, Vault([NEW, OLD]), NOON + timedelta(minutes=4), print)
    assert await pairs(store, Vault([NEW])) == [PAIR, PAIR]


async def test_a_bridge_that_has_ended_in_peace_keeps_nobody_waiting(store: Database) -> None:
    await fill(store)
    await be_scheduled(store)
    async with store.writing() as session:
        await lease.release(session, "process 1 on web-1")

    await rotate(store, Vault([NEW, OLD]), NOON + timedelta(seconds=1), print)

    assert await pairs(store, Vault([NEW])) == [PAIR, PAIR]


async def test_the_last_of_many_workers_that_knows_only_the_old_key_is_waited_for(
    store: Database,
) -> None:
    await fill(store)
    await be_scheduled(store)
    async with store.writing() as session:
        await workers.announce(session, "process 2 on web-2", NOON + timedelta(seconds=30))
        await lease.release(session, "process 1 on web-1")

    with pytest.raises(StaleBridge):
        await rotate(store, Vault([NEW, OLD]), NOON + timedelta(seconds=1), print)


# What keeps a statement busy for ever, at the row at which it stands.
VIEW = """CREATE VIEW endless AS
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT i FROM n"""
TRIGGER = """CREATE TRIGGER endless_row BEFORE UPDATE ON connection WHEN old.id = 50
BEGIN SELECT count(*) FROM endless; END"""


def seconds_spent(pid: int) -> float:
    """Seconds of the processor's time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_a_rotation_killed_in_the_middle_beside_a_living_bridge_loses_nothing(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path)
    machine.migrate()
    store = Database(settings.database(machine.url))
    await fill(store, people=PORTION + 1)
    machine.alter("UPDATE connection SET next_poll_at = NULL, archive_due_at = NULL")
    keys = {"SECRET_KEY": f"{NEW},{OLD}", "DATABASE_URL": machine.url}

    async with serving(tmp_path, keys) as living:
        await living.says("serving")
        machine.alter(VIEW)
        machine.alter(TRIGGER)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app", "rotate-keys"),
            cwd=tmp_path,
            env={"PATH": os.defpath, "PYTHONPATH": str(ROOT), **keys},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert [await process.stdout.readline() for _ in range(2)] == [
            b"100 of 303 sealed anew\n",
            b"101 of 303 sealed anew\n",
        ]
        # It comes to the endless row, and is killed there by what it spends on it.
        most = int(seconds_spent(process.pid)) + 2
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (most, most))
        assert await process.wait() == -signal.SIGKILL
        machine.alter("DROP TRIGGER endless_row")
        assert await census(store, Vault([NEW, OLD])) == Census(newest=101, older=202, lost=())

        ended = await machine.run("rotate-keys", **keys)
        assert (ended.code, "(303)" in ended.said) == (0, True), ended
        said = await living.ends()

    for key in range(1, PORTION + 2):
        assert await pairs(store, Vault([NEW]), key) == [PAIR, PAIR]
    assert await census(store, Vault([NEW])) == Census(newest=303, older=0, lost=())
    await store.close()
    assert "error" not in said.lower()


@asynccontextmanager
async def started_anew(world: World, *keys: str) -> AsyncIterator[World]:
    """The same bridge after a new start with these keys, and the same browser."""
    await world.scheduler.step_down()
    changed = world.settings.model_copy(update={"secret_key": keys})
    bridge, scheduler = assembled(changed, world.clock)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(bridge.database.close)
        stack.push_async_callback(bridge.http.aclose)
        stack.push_async_callback(bridge.trakt.http.aclose)
        stack.push_async_callback(scheduler.step_down)
        await admission.prepare(bridge.database, changed)
        pages = app_of(bridge, scheduler)
        client = await stack.enter_async_context(browser_for(pages))
        client.cookies = world.browser.client.cookies
        browser = Browser(client)
        yield replace(
            world, settings=changed, bridge=bridge, scheduler=scheduler, browser=browser, app=pages
        )


async def open_notices(world: World) -> list[str]:
    async with world.bridge.database.reading() as session:
        return [one.kind for one in await notices.open_ones(session, 1)]


async def test_sessions_forms_and_flows_under_way_survive_while_the_old_key_is_listed(
    world: World,
) -> None:
    await world.sign_in()
    callback = await consented(world)
    page = await world.browser.visit("/settings")
    async with started_anew(world, NEW, OLD) as later:
        later.browser.page = page
        await later.browser.press("Save", timezone="Europe/Paris")
        assert "Saved" in later.browser.text

        await later.browser.visit(callback)
        assert "Trakt is connected" in later.browser.text


async def test_without_the_old_key_sessions_survive_and_what_was_open_begins_again(
    world: World,
) -> None:
    await world.sign_in()
    callback = await consented(world)
    page = await world.browser.visit("/settings")
    async with started_anew(world, NEW) as later:
        later.browser.page = page
        await later.browser.press("Save", timezone="Europe/Paris")
        assert "out of date" in later.browser.text

        await later.browser.visit(callback)
        assert later.browser.page.status_code == 400
        assert "another browser" in later.browser.text

        await later.browser.visit("/settings")
        await later.browser.press("Save", timezone="Europe/Paris")
        assert "Saved" in later.browser.text


async def test_posting_goes_on_while_the_keys_are_rotated(world: World) -> None:
    await world.ready()
    async with started_anew(world, NEW, OLD) as later:
        await later.work()
        left = await rotate(later.bridge.database, later.bridge.vault, later.clock(), print)
        assert left == Census(newest=2, older=0, lost=())
        async with started_anew(later, NEW) as last:
            last.clock.passes(minutes=5)
            last.trakt.watch(DUNE)
            await last.check_now()

            assert await last.states() == {"published": 1}


async def test_a_lost_key_asks_to_sign_in_and_connect_again_and_loses_nothing(
    world: World,
) -> None:
    await world.ready()
    world.clock.passes(minutes=5)
    world.trakt.watch(DUNE)
    async with started_anew(world, NEW) as later:
        at_trakt, at_site = len(world.trakt.requests), len(world.site.requests)
        later.clock.passes(minutes=40)
        await later.work()

        for address in ("/", "/settings", "/watches", "/settings/notifications"):
            assert (await later.browser.visit(address)).status_code == 200
        await later.browser.visit("/")
        assert later.browser.text.count(UNREADABLE) == 2
        assert sorted(await open_notices(later)) == [Kind.SITE, Kind.TRAKT]
        # Nothing was asked with a key that nobody can read.
        assert (len(world.trakt.requests), len(world.site.requests)) == (at_trakt, at_site)

        await later.browser.press("Sign in again")
        await later.browser.press("Approve")
        await later.browser.press("Connect Trakt again")
        await later.browser.press("Approve")
        await later.work()

        assert await later.states() == {"published": 1}
        assert await open_notices(later) == []


async def test_a_lost_key_is_told_in_the_log_at_every_start(world: World) -> None:
    await world.ready()
    for _ in range(2):
        with capture_logs() as lines:
            async with started_anew(world, NEW) as later:
                await later.work()
        (line,) = [line for line in lines if line["event"].startswith("no SECRET_KEY opens")]
        assert line["log_level"] == "warning"
        assert line["follows"] == f"{world.site.me} must sign in again"
        assert line["keys"] == 2

    with capture_logs() as lines:
        async with started_anew(world, NEW, OLD) as mended:
            await mended.work()
    assert [line for line in lines if "SECRET_KEY" in str(line)] == []


async def test_what_waited_to_be_posted_leaves_once_the_person_has_signed_in_again(
    world: World,
) -> None:
    await world.ready()
    world.clock.passes(minutes=5)
    world.trakt.watch(DUNE)
    async with started_anew(world, NEW) as later:
        # The site's key alone is lost: Trakt was connected with the newer one.
        await later.work()
        await later.browser.visit("/")
        await later.browser.press("Connect Trakt again")
        await later.browser.press("Approve")
        await later.work()
        assert await later.states() == {"queued": 1}

        await later.browser.visit("/")
        await later.browser.press("Sign in again")
        await later.browser.press("Approve")
        await later.work()

        assert await later.states() == {"published": 1}
        assert len(later.site.posts) == 1


async def test_a_key_that_is_put_back_needs_nobody(world: World) -> None:
    await world.ready()
    world.clock.passes(minutes=5)
    world.trakt.watch(DUNE)
    async with started_anew(world, NEW) as mistaken:
        await mistaken.work()
        assert sorted(await open_notices(mistaken)) == [Kind.SITE, Kind.TRAKT]

    async with started_anew(world, NEW, OLD) as mended:
        await mended.work()

        assert await open_notices(mended) == []
        assert await mended.states() == {"published": 1}


async def test_lost_addresses_are_told_and_the_operator_is_told_instead(world: World) -> None:
    await world.sign_in()
    async with world.bridge.database.writing() as session:
        await notices.set_addresses(session, 1, [NTFY], world.bridge.vault)
    async with started_anew(world, NEW) as later:
        await later.browser.visit("/")
        assert "cannot be read any more" in later.browser.text
        await later.browser.visit("/settings/notifications")
        assert "cannot be read any more" in later.browser.text
        async with later.bridge.database.reading() as session:
            found = await later.bridge.notifier.addresses(
                session, Claim(1, (), world.clock()), is_for_operator=False
            )
            assert found == ()

        await later.browser.press("Add", address="https://ntfy.sh/another-topic")
        await later.browser.visit("/")
        assert "cannot be read any more" not in later.browser.text
