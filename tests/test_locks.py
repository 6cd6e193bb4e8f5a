"""On PostgreSQL nobody waits for another in a circle: see `app.store` for the order of locks."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.database import Database
from app.demo.catalogue import DARK, DUNE, LIES, SECRETS, EpisodeOf
from app.demo.site import Dropped
from app.grants import Pair
from app.notices import Kind
from app.outbox import Unsure, published
from app.store import (
    accounts,
    bunches,
    choices,
    connections,
    gates,
    notices,
    posts,
    starts,
    undecided,
)
from app.style import Style, to_json
from app.tables import NoticeRow, PostRow
from app.vault import Vault
from app.waits import USUAL
from app.watch import Person
from tests.conftest import NOON
from tests.postgres import new_database, waiting_or_done
from tests.test_database import fill
from tests.world import Clock, World, running_world

CHANGES = ("INSERT INTO post ", "INSERT INTO watch ", "UPDATE post ", "UPDATE watch ")


async def test_a_late_answer_and_the_end_of_its_lease_do_not_wait_for_each_other(
    on_postgres: Database,
) -> None:
    store = on_postgres
    await fill(store, posts_each=1)
    async with store.writing() as session:
        due = next(one for one in await posts.due(session, NOON, 2) if one.row.account_id == 1)
        begun = posts.begin(due, NOON, "{}", "slug", USUAL)
    over = NOON + USUAL.sending_lease

    async def give_up() -> None:
        async with store.writing() as session:
            await posts.move_on(session, over, USUAL)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group, store.writing() as session:
        await posts.hold_sites(session, [1])
        await waiting_or_done(store, group.create_task(give_up()))
        outcome = (due.row.id or 0, begun, published(begun, None, over))
        assert await posts.settle(session, [outcome], over, USUAL) == [True]


@contextmanager
def watched_over(store: Database) -> Iterator[list[str]]:
    """Collect what changes posts or watches in a transaction that holds no site."""
    careless: list[str] = []

    def begin(connection: Connection) -> None:
        connection.info["holds"] = False

    def execute(connection: Connection, _cursor: object, sql: str, *_: object) -> None:
        said = " ".join(sql.split())
        if "FROM site " in said and " FOR UPDATE" in said:
            connection.info["holds"] = True
        elif said.startswith(CHANGES) and not connection.info["holds"]:
            careless.append(said)

    engine = store.engine.sync_engine
    event.listen(engine, "begin", begin)
    event.listen(engine, "before_cursor_execute", execute)
    yield careless
    event.remove(engine, "begin", begin)
    event.remove(engine, "before_cursor_execute", execute)


async def test_whoever_changes_a_post_or_a_watch_holds_its_site(
    tmp_path: Path,
    clock: Clock,
    postgres: Any,  # noqa: ANN401 - the server of a library without types
) -> None:
    url = new_database(postgres)
    async with running_world(tmp_path, clock, database_url=url) as world:
        with watched_over(world.bridge.database) as careless:
            world.trakt.watch(LIES, at=clock() - timedelta(days=1))
            await world.ready()
            await a_bunch_is_posted(world)
            await a_lost_answer_is_told_of_and_found(world)
            await a_decision_is_made(world)

        assert (await world.states()) == {"published": 34, "archived": 1}
    assert careless == []


async def a_bunch_is_posted(world: World) -> None:
    for number in range(1, 33):
        world.trakt.watch(EpisodeOf(DARK, 1, number, None, 1000 + number))
    world.clock.passes(minutes=34)
    await world.work()
    await world.browser.visit("/")
    await world.browser.press("Post all")
    await world.work()


async def a_lost_answer_is_told_of_and_found(world: World) -> None:
    world.site.then(Dropped(creates=True))
    world.trakt.watch(DUNE)
    await world.check_now()
    for _ in range(12):
        world.clock.passes(minutes=10)
        await world.work()


async def a_decision_is_made(world: World) -> None:
    world.site.then(Dropped(creates=False))
    world.trakt.watch(SECRETS)
    await world.check_now()
    await world.browser.visit(f"/watches/{(await world.watches())[0][0].id}")
    await world.browser.press("It is there")


async def hold_connection(session: AsyncSession) -> None:
    assert await connections.of_account(session, 1, lock=True)


async def hold_site(session: AsyncSession) -> None:
    assert await posts.hold_sites(session, [1])


async def change_post(session: AsyncSession) -> None:
    await session.execute(update(PostRow).where(col(PostRow.account_id) == 1).values(trouble="-"))


async def tell_person(session: AsyncSession) -> None:
    await notices.open_one(session, 1, Kind.SITE, "It needs you.", NOON)


async def hold_bunch_back(session: AsyncSession) -> None:
    notice = await bunch_of(session)
    held = await session.scalars(select(col(PostRow.id)).where(col(PostRow.account_id) == 1))
    await bunches.hold_back(session, [one for one in held if one], notice)


async def bunch_of(session: AsyncSession) -> NoticeRow:
    notice = await notices.open_one(session, 1, Kind.BUNCH, "All?", NOON, subject="dark")
    assert notice
    return notice


# What the work of a poll, a look and a delivery locks, in the order of `app.store`.
STEPS = (hold_connection, hold_site, change_post, tell_person, hold_bunch_back)
VAULT = Vault(["k" * 32])
KEYS = Pair("new", None, NOON, None)
SITE = accounts.Site("https://ada.example/", None, None, "m", "a", "t", None, None, "create", KEYS)
PERSON = Person("trakt", "9", "Ada", "UTC", NOON)
START = connections.Start(NOON, NOON)
RATED = Style(tells_rating=True)
FILE = {"timezone": "Europe/Vienna", "lost_answers": (Unsure.LEAVE, 7), "posts": RATED}


async def answer_bunch(session: AsyncSession) -> None:
    await posts.hold_sites(session, [1])
    (notice,) = [one for one in await notices.open_ones(session, 1) if one.kind == Kind.BUNCH]
    held = await notices.one(session, 1, notice.id or 0)
    assert held
    assert await bunches.post_all(session, held, NOON)


async def hold_another_back(session: AsyncSession) -> None:
    await hold_connection(session)
    await hold_site(session)
    await hold_bunch_back(session)


DEEDS: dict[str, Callable[[AsyncSession], Awaitable[object]]] = {
    "keep a file of settings": lambda session: choices.keep(session, 1, FILE, NOON),
    "tell ratings": lambda session: accounts.set_style(session, 1, to_json(RATED)),
    "sign in": lambda session: accounts.sign_in(session, SITE, VAULT, NOON),
    "connect": lambda session: connections.connect(session, 1, PERSON, KEYS, VAULT, START),
    "disconnect": lambda session: connections.disconnect(session, 1, VAULT, NOON),
    "choose for lost answers": lambda session: accounts.set_unsure_choice(
        session, 1, Unsure.LEAVE, 7, NOON
    ),
    "go on": lambda session: accounts.go_on(session, 1, NOON),
    "pause": lambda session: accounts.pause(session, 1),
    "say where to start": lambda session: starts.answer(session, 1, NOON, since=True),
    "say that posts are there": lambda session: gates.answer(session, 1, NOON, there=True),
    "believe": lambda session: connections.believe(session, 1, NOON),
    "answer a bunch": answer_bunch,
    "hold a bunch back": hold_another_back,
    "move on": lambda session: posts.move_on(session, NOON, USUAL),
    "send": lambda session: posts.due(session, NOON, 2),
    "ask about gates": lambda session: gates.ask(session, NOON),
    "tell of lost answers": lambda session: undecided.tell(session, NOON, USUAL),
    "leave": lambda session: accounts.remove(session, 1, VAULT),
}


@pytest.mark.parametrize("deed", DEEDS)
async def test_nobody_waits_in_a_circle_with_the_work_of_a_poll_or_a_delivery(
    deed: str, on_postgres: Database
) -> None:
    store = on_postgres
    await fill(store, posts_each=2)
    async with store.writing() as session:
        await connections.connect(session, 1, PERSON, KEYS, VAULT, START)
        await bunches.hold_back(session, [1], await bunch_of(session))
        site = (await posts.hold_sites(session, [1]))[1]
        site.paused, site.gate_at, site.gate_shut_at = "for now", NOON, NOON

    async def undone() -> None:
        async with store.writing() as session:
            await DEEDS[deed](session)
            await session.flush()
            await session.rollback()

    for number in range(1, len(STEPS)):
        async with (
            asyncio.timeout(30),
            asyncio.TaskGroup() as group,
            store.writing() as session,
        ):
            for step in STEPS[:number]:
                await step(session)
            await waiting_or_done(store, group.create_task(undone()))
            for step in STEPS[number:]:
                await step(session)
