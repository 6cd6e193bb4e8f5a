"""``accounts``: the operator lists, pauses and deletes, on SQLite and on PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.demo.catalogue import DUNE
from tests.machine import Ended, Machine
from tests.polling import asked, poll
from tests.world import SECRET_KEY, Clock, World, running_world


@dataclass
class Operated:
    """A bridge that runs, and a machine on which commands are given beside it."""

    world: World
    machine: Machine

    async def run(self, *words: str) -> Ended:
        return await self.machine.run(
            "accounts",
            *words,
            DATABASE_URL=self.url,
            SECRET_KEY=SECRET_KEY,
            ALLOW_PRIVATE_NETWORKS="127.0.0.0/8",
            TRAKT_API_URL=self.world.settings.trakt_api_url,
            TRAKT_AUTH_URL=self.world.settings.trakt_auth_url,
        )

    @property
    def url(self) -> str:
        url = self.world.settings.database_url
        return url.replace("+aiosqlite", "").replace("+psycopg", "")


@pytest.fixture
async def operated(
    tmp_path: Path, clock: Clock, database_url: str, machine: Machine
) -> AsyncIterator[Operated]:
    async with running_world(tmp_path, clock, database_url=database_url) as world:
        await world.ready()
        yield Operated(world, machine)


async def test_all_accounts_are_listed_with_how_it_goes(operated: Operated) -> None:
    ended = await operated.run("list")

    assert (ended.code, ended.complaint) == (0, "")
    assert ended.said == f"{operated.world.me}  all is well\n"


async def test_a_program_may_read_the_list_and_finds_no_keys(operated: Operated) -> None:
    ended = await operated.run("list", "--json")

    (one,) = json.loads(ended.said)
    assert one["me"] == operated.world.me
    assert one["standing"] == "all is well"
    assert one["paused"] is False
    assert not any("token" in name or "sealed" in name for name in one)


async def test_of_a_paused_account_nothing_is_asked_until_it_is_resumed(
    operated: Operated,
) -> None:
    world = operated.world
    me = world.me.removeprefix("http://").rstrip("/")
    paused = await operated.run("pause", me)
    world.trakt.watch(DUNE)

    assert await poll(world) == []
    assert "paused" in (await operated.run("list")).said
    await world.browser.visit("/")
    assert "Whoever runs this bridge has paused it. Nothing is lost" in world.browser.text
    assert "wants you to" not in world.browser.text
    assert "/site/go-on" not in world.browser.text

    resumed = await operated.run("resume", me)
    so_far = len(world.trakt.requests)
    # A command lives by the clock of the machine.
    world.clock.moment = datetime.now(UTC)
    await world.work()
    assert asked(world, so_far)
    assert (await world.states())["published"] == 1
    assert [one.code for one in (paused, resumed)] == [0, 0]


async def test_a_deleted_account_is_gone_and_its_keys_are_given_back(operated: Operated) -> None:
    world = operated.world
    so_far = len(world.trakt.requests)

    ended = await operated.run("delete", world.me, "--yes")

    assert (ended.code, ended.complaint) == (0, "")
    assert (await operated.run("list")).said == "Nobody has signed in yet.\n"
    assert [seen.path for seen in world.trakt.requests[so_far:]] == ["/oauth/revoke"]


async def test_an_operator_signs_all_browsers_of_an_account_out_or_those_of_everybody(
    operated: Operated,
) -> None:
    world = operated.world

    one = await operated.run("sign-out", world.me)
    await world.browser.visit("/watches")
    assert "not signed in here" in world.browser.text
    await world.sign_in()
    everybody = await operated.run("sign-out")

    await world.browser.visit("/watches")
    assert "not signed in here" in world.browser.text
    assert "Everybody" in everybody.said
    assert [one.code, everybody.code] == [0, 0]
    assert (await world.connection()).next_poll_at is not None


async def test_every_change_is_told_to_a_program_too(operated: Operated) -> None:
    me = operated.world.me

    ended = [
        await operated.run(*words, "--json")
        for words in (["pause", me], ["resume", me], ["sign-out"], ["delete", me, "--yes"])
    ]

    assert [json.loads(one.said) for one in ended] == [
        {"me": me, "paused": True},
        {"me": me, "paused": False},
        {"me": None, "signed_out": True},
        {"me": me, "deleted": True},
    ]


async def test_nothing_is_deleted_without_a_yes(operated: Operated) -> None:
    ended = await operated.run("delete", operated.world.me)

    assert ended.code == 1
    assert "posts on the website stay" in ended.complaint
    assert operated.world.me in (await operated.run("list")).said


async def test_an_account_that_is_not_there_is_told_in_one_line(machine: Machine) -> None:
    machine.migrate()

    ended = await asyncio.gather(
        *(machine.run("accounts", word, "bob.example") for word in ("pause", "resume", "delete"))
    )

    assert all("there is no account bob.example" in one.line for one in ended)
