"""Deleting one's account: what goes, what stays, and what is under way meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlmodel import SQLModel, col

from app.demo.catalogue import CATALOGUE, DUNE
from app.demo.site import Answer, Dropped, Habits, Held
from app.demo.trakt_door import Dropped as DroppedByTrakt
from app.demo.trakt_door import Slow
from app.grants import Pair
from app.notices import Kind
from app.store import accounts, connections, looks, notices
from app.store.connections import Start
from app.style import Posters, Style, to_json
from app.tables import AccountRow
from app.watch import Person
from tests.test_adopt import theirs
from tests.test_connect import consented
from tests.test_publish import being_sent, noticed
from tests.test_rotate import SITE
from tests.world import Clock, World, running_world

# They belong to nobody: a heartbeat, who is the scheduler, states that were used, a claim without a
# name.
NOBODYS = {"heartbeat", "lease", "worker", "spent", "claim"}


@pytest.fixture
async def world(tmp_path: Path, clock: Clock, database_url: str) -> AsyncIterator[World]:
    """A bridge on either database, whose site renews its keys."""
    habits = Habits(with_refresh_token=True, expires_in=timedelta(hours=4))
    async with running_world(
        tmp_path, clock, habits, database_url=database_url, allowed_sites="*"
    ) as running:
        yield running


def contents_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob("bridge.db*")]


async def contents(world: World) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    async with world.bridge.database.reading() as session:
        return {
            name: [tuple(row) for row in await session.execute(select(table))]
            for name, table in SQLModel.metadata.tables.items()
        }


async def nothing_is_left(world: World) -> None:
    left = await contents(world)
    assert {name for name, rows in left.items() if rows} <= NOBODYS
    for word in (world.me, "Ada", "Dune", "micropub"):
        assert word not in repr(left)


async def delete(world: World) -> None:
    await world.browser.visit("/settings/delete")
    await world.browser.press("Delete my account")
    assert world.browser.page.status_code == 200
    assert "deleted here" in world.browser.text


async def test_the_page_says_what_goes_and_what_stays_and_changes_nothing(world: World) -> None:
    await world.ready()
    before = await contents(world)
    await world.browser.visit("/settings")
    (link,) = world.browser.document.select("a[href='/settings/delete']")
    assert "Delete my account" in link.get_text()

    await world.browser.visit("/settings/delete")

    assert "the posts on your site" in world.browser.text
    assert "cannot be undone" in world.browser.text
    assert await contents(world) == before


async def everything_told(world: World) -> None:
    """Let a post tell the rating and show a poster."""
    style = Style(tells_rating=True, posters=Posters.LINK)
    async with world.bridge.database.writing() as session:
        await accounts.set_style(session, 1, to_json(style))
    world.trakt.opinions.rate(DUNE, 8)
    world.trakt.watch(DUNE)
    world.clock.passes(minutes=5)
    await world.check_now()


async def test_deleting_leaves_no_row_and_gives_all_keys_back(world: World) -> None:
    world.trakt.fill(10)
    play = world.trakt.watch(DUNE, world.clock() - timedelta(days=30))
    world.site.publish_before(theirs(world, DUNE, world.clock() - timedelta(days=30), play))
    await world.ready()
    world.clock.passes(minutes=5)
    world.site.then(Answer(400, {}, '{"error": "invalid_request"}'))
    for work in CATALOGUE[:3]:
        world.trakt.watch(work)
    await world.check_now()
    await everything_told(world)
    async with world.bridge.database.writing() as session:
        await notices.set_addresses(session, 1, ["ntfys://ntfy.sh/ada"], world.bridge.vault)
        await notices.open_one(session, 1, Kind.PAUSED, f"{world.me} is", world.clock())
    filled = await contents(world)
    assert {name for name, rows in filled.items() if not rows} <= {"claim", "worker"}
    posts = len(world.site.posts)

    await delete(world)

    await nothing_is_left(world)
    assert "Your site keeps its posts" in world.browser.text
    assert len(world.site.posts) == posts > 0
    assert not world.trakt.tokens.pairs
    assert not world.site.indieauth.tokens
    assert not world.site.indieauth.refresh_tokens


async def test_every_browser_of_the_account_is_signed_out(world: World) -> None:
    await world.sign_in()
    cookies = dict(world.browser.client.cookies)
    await world.sign_in_again()
    await delete(world)

    for name, value in cookies.items():
        world.browser.client.cookies.set(name, value)
    await world.browser.visit("/settings")

    assert "Sign in with your website" in world.browser.text


async def test_another_account_keeps_all_it_has(world: World) -> None:
    async with world.bridge.database.writing() as session:
        bob = Person("trakt", "uuid-bob", "bob", "UTC", world.clock())
        pair = Pair("bob’s", None, world.clock(), None)
        key, _ = await accounts.sign_in(session, SITE, world.bridge.vault, world.clock())
        start = Start(world.clock(), world.clock() + timedelta(days=1))
        await connections.connect(session, key, bob, pair, world.bridge.vault, start)
    before = await contents(world)
    await world.sign_in()
    await world.connect()

    await delete(world)

    after = await contents(world)
    for name in ("account", "connection", "site"):
        assert len(after[name]) == 1
        assert after[name] == before[name]


async def test_keys_that_cannot_be_given_back_keep_nobody(world: World) -> None:
    await world.ready()
    world.site.then(Dropped(), at="POST /revoke")
    world.trakt.then(DroppedByTrakt(), at="/oauth/revoke")

    await delete(world)

    await nothing_is_left(world)
    assert "where one does not answer" in world.browser.text


@dataclass
class UnderWay:
    """Some work that waits for an answer, and how to let the answer come."""

    release: Callable[[], None]


async def a_poll(world: World) -> UnderWay:
    slow = Slow()
    world.clock.passes(minutes=35)
    world.trakt.watch(DUNE)
    world.trakt.then(slow, at="/sync/history")
    await world.scheduler.start_due()
    await slow.arrived.wait()
    return UnderWay(slow.release.set)


async def an_archive(world: World) -> UnderWay:
    slow = Slow()
    async with world.bridge.database.writing() as session:
        (row,) = await connections.of_account(session, 1, lock=True)
        connections.read_anew(row, world.clock())
    world.trakt.then(slow, at="/sync/history")
    await world.scheduler.start_due()
    await slow.arrived.wait()
    return UnderWay(slow.release.set)


async def a_send(world: World) -> UnderWay:
    held = await being_sent(world, DUNE)
    return UnderWay(held.until.set)


async def a_look(world: World) -> UnderWay:
    held = Held(asyncio.Event())
    async with world.bridge.database.writing() as session:
        await looks.ask_for(session, 1, world.clock(), whole=True)
    world.site.then(held, at="GET /micropub?q=source")
    await world.scheduler.start_due()
    await held.reached.wait()
    return UnderWay(held.until.set)


async def a_refresh_at_trakt(world: World) -> UnderWay:
    slow = Slow()
    world.clock.passes(days=6)
    world.trakt.then(slow, at="/oauth/token")
    await world.scheduler.start_due()
    await slow.arrived.wait()
    return UnderWay(slow.release.set)


async def a_refresh_at_the_site(world: World) -> UnderWay:
    held = Held(asyncio.Event())
    world.clock.passes(hours=3, minutes=30)
    world.site.then(held, at="POST /token")
    await noticed(world, DUNE)
    await world.scheduler.start_due()
    await held.reached.wait()
    return UnderWay(held.until.set)


@pytest.mark.parametrize(
    "begin", [a_poll, an_archive, a_send, a_look, a_refresh_at_trakt, a_refresh_at_the_site]
)
async def test_what_comes_late_brings_nothing_back_and_breaks_nothing(
    world: World,
    begin: Callable[[World], Awaitable[UnderWay]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    world.trakt.fill(3)
    await world.ready()
    work = await begin(world)

    await delete(world)
    work.release()
    await world.work()
    await asyncio.gather(*world.scheduler.poller.refresher.under_way, return_exceptions=True)

    await nothing_is_left(world)
    said = capsys.readouterr().out
    assert "work failed" not in said
    assert "Traceback" not in said
    # What a refresh brought late was given back, too.
    assert not world.trakt.tokens.pairs
    assert not world.site.indieauth.tokens


@pytest.mark.parametrize("begin", [a_refresh_at_trakt])
async def test_a_pair_that_came_after_disconnecting_is_given_back(
    world: World, begin: Callable[[World], Awaitable[UnderWay]]
) -> None:
    await world.ready()
    work = await begin(world)
    await world.browser.visit("/settings")
    await world.browser.press("Disconnect Trakt")

    work.release()
    await world.work()

    assert not world.trakt.tokens.pairs
    assert (await world.connection()).sealed_tokens is None


async def test_who_is_deleted_while_trakt_is_asked_is_not_connected(world: World) -> None:
    await world.sign_in()
    callback, slow = await consented(world), Slow()
    world.trakt.then(slow, at="/users/settings")
    other = world.browser.client
    coming = asyncio.create_task(other.get(callback, follow_redirects=True))
    await slow.arrived.wait()

    await delete(world)
    slow.release.set()
    answer = await coming

    assert "not signed in here" in answer.text
    assert not world.trakt.tokens.pairs
    await nothing_is_left(world)


async def test_a_late_answer_does_not_settle_a_post_of_who_came_next(world: World) -> None:
    await world.ready()
    work = await a_send(world)
    late = set(world.scheduler.posts)
    world.site.delete(world.site.posts[0].url)
    await delete(world)

    # SQLite gives the next account the ids of the one before.
    world.clock.passes(minutes=1)
    await world.sign_in()
    await world.connect()
    await world.scheduler.start_due()
    await asyncio.wait(world.scheduler.polls | world.scheduler.archives | world.scheduler.looks)
    held = await being_sent(world, CATALOGUE[1])
    work.release()
    await asyncio.wait(late)

    assert (await world.states(await newest(world)))["sending"] == 1
    held.until.set()
    await world.work()


async def newest(world: World) -> int:
    async with world.bridge.database.reading() as session:
        return await session.scalar(select(func.max(col(AccountRow.id)))) or 0


async def test_what_was_deleted_is_not_left_in_the_file(tmp_path: Path, clock: Clock) -> None:
    async with running_world(tmp_path, clock) as world:
        world.trakt.fill(300)
        await world.ready()
        await delete(world)

    left = b"".join(contents_of(tmp_path))
    assert len(left) > 100_000
    assert world.me.encode() not in left
    assert DUNE.title.encode() not in left
