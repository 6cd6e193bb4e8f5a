"""On PostgreSQL nobody waits for another in a circle: rows are locked in one order by all."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app import settings
from app.database import Database
from app.grants import Pair
from app.notices import Kind
from app.outbox import Unsure
from app.store import accounts, choices, connections, gates, notices, posts, starts, undecided
from app.style import Style, to_json
from app.tables import PostRow, SiteRow
from app.vault import Vault
from app.waits import USUAL
from app.watch import Person
from tests.conftest import NOON
from tests.postgres import migrated_database, waiting_or_done
from tests.test_database import fill


async def hold_connection(session: AsyncSession) -> None:
    assert await connections.of_account(session, 1, lock=True)


async def hold_site(session: AsyncSession) -> None:
    assert await session.get(SiteRow, 1, with_for_update=True)


async def change_post(session: AsyncSession) -> None:
    await session.execute(update(PostRow).where(col(PostRow.account_id) == 1).values(trouble="-"))


async def tell_person(session: AsyncSession) -> None:
    await notices.open_one(session, 1, Kind.SITE, "It needs you.", NOON)


# What the work of a poll, a look and a delivery locks, in this order.
STEPS = (hold_connection, hold_site, change_post, tell_person)
VAULT = Vault(["k" * 32])
KEYS = Pair("new", None, NOON, None)
SITE = accounts.Site("https://ada.example/", None, None, "m", "a", "t", None, None, "create", KEYS)
PERSON = Person("trakt", "9", "Ada", "UTC", NOON)
START = connections.Start(NOON, NOON)
RATED = Style(tells_rating=True)
FILE = {"timezone": "Europe/Vienna", "lost_answers": (Unsure.LEAVE, 7), "posts": RATED}
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
    "move on": lambda session: posts.move_on(session, NOON, USUAL),
    "send": lambda session: posts.due(session, NOON),
    "ask about gates": lambda session: gates.ask(session, NOON),
    "tell of lost answers": lambda session: undecided.tell(session, NOON, timedelta(0)),
    "leave": lambda session: accounts.remove(session, 1, VAULT),
}


@pytest.mark.parametrize("deed", DEEDS)
async def test_nobody_waits_in_a_circle_with_the_work_of_a_poll_or_a_delivery(
    deed: str,
    postgres: Any,  # noqa: ANN401 - the server of a library without types
) -> None:
    with migrated_database(postgres) as url:
        store = Database(settings.database(url))
        await fill(store, posts_each=1)
        async with store.writing() as session:
            await connections.connect(session, 1, PERSON, KEYS, VAULT, START)
            site = await session.get_one(SiteRow, 1)
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
        await store.close()
