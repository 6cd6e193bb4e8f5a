"""One whole life of an account, and then no secret of it anywhere in clear."""

import asyncio
import base64
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from io import StringIO
from pathlib import Path
from urllib.parse import parse_qsl, quote

import httpx2
import pytest
import structlog
from sqlalchemy import select
from sqlmodel import SQLModel

from app import logs
from app.copies import copy_file
from app.database import sqlite_file
from app.demo.catalogue import CATALOGUE
from app.demo.site import Answer, Dropped, Habits
from app.demo.trakt_door import Dropped as DroppedByTrakt
from app.demo.trakt_door import Status
from app.http import without_keys
from app.store import notices
from tests.test_connect import consented
from tests.world import BRIDGE, SECRET_KEY, Clock, World, filled, running_world

CLIENT_SECRET = "marked-client-secret-of-the-app"
METRICS_TOKEN = "marked-token-of-the-metrics-page"
TOPIC, OPERATORS = "marked-topic-of-the-person", "marked-topic-of-the-operator"
JSON = {"Content-Type": "application/json"}


@dataclass
class Watcher:
    """Remembers every secret that went over a wire, and every page that the bridge showed."""

    secrets: set[str] = field(default_factory=set)
    shown: list[str] = field(default_factory=list)

    async def see(self, answer: httpx2.Response) -> None:
        if answer.url.host != "localhost":
            return
        await answer.aread()
        self.secrets |= {cookie.value or "" for cookie in answer.cookies.jar}
        headers = [f"{n}: {v}" for n, v in answer.headers.multi_items() if n != "set-cookie"]
        self.shown += [answer.text, *headers]

    def learn(self, world: World) -> None:
        """Take note of all keys and codes there are by now."""
        site = world.site.indieauth
        self.secrets |= {SECRET_KEY, CLIENT_SECRET, METRICS_TOKEN, TOPIC, OPERATORS}
        self.secrets |= {*site.tokens, *site.refresh_tokens, *world.trakt.tokens.given_out}
        bodies = [seen.body for seen in world.site.requests]
        bodies += [seen.body for seen in world.trakt.requests]
        for body in bodies:
            self.secrets |= set(told_in(body.decode("utf-8", "replace")))

    def found_in(self, text: str) -> list[str]:
        """The secrets in a text, however they are written."""
        return [one for one in self.secrets - {""} if any(way in text for way in written(one))]


def told_in(body: str) -> Iterator[str]:
    """The codes, verifiers and tokens of a request to a token endpoint."""
    try:
        fields = json.loads(body)
    except ValueError:
        fields = dict(parse_qsl(body))
    for name in ("code", "code_verifier", "refresh_token", "token"):
        if isinstance(fields, dict) and fields.get(name):
            yield str(fields[name])


def written(secret: str) -> set[str]:
    return {secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode().rstrip("=")}


@pytest.fixture(params=["text", "json"])
def logged(request: pytest.FixtureRequest) -> Iterator[StringIO]:
    """All that is logged at any level, in one of the two forms."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    logs.configure(request.param)
    root.setLevel(logging.DEBUG)
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(said := StringIO())
    yield said
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@asynccontextmanager
async def watched(folder: Path, clock: Clock) -> AsyncIterator[tuple[World, Watcher]]:
    habits = Habits(with_refresh_token=True, expires_in=timedelta(hours=4))
    watcher = Watcher()
    async with running_world(
        folder,
        clock,
        habits,
        trakt_client_secret=CLIENT_SECRET,
        metrics_token=METRICS_TOKEN,
        # Nobody listens there.
        notify_urls=f"ntfy://127.0.0.1:9/{OPERATORS}",
    ) as world:
        world.trakt.app.client_secret = CLIENT_SECRET
        client = world.browser.client
        client.event_hooks = {**client.event_hooks, "response": [watcher.see]}
        yield world, watcher


async def lives(world: World, watcher: Watcher) -> None:
    """Sign in, connect, post and renew, with every kind of failure on the way."""
    await fails_to_come_in(world, watcher)
    world.trakt.fill(5)
    await world.connect()
    await world.work()
    watcher.learn(world)
    await world.browser.visit("/settings/notifications")
    await world.browser.press("Add", address=f"https://ntfy.sh/{TOPIC}")
    async with world.bridge.database.writing() as session:
        # So that nothing leaves for the internet.
        local = [f"ntfy://127.0.0.1:9/{TOPIC}"]
        await notices.set_addresses(session, 1, local, world.bridge.vault)
    await world.browser.visit("/settings/notifications")
    await world.browser.press("Send a test message")
    await fails_at_the_site(world, watcher)
    await fails_at_trakt(world, watcher)
    # Both keys are renewed, then lost.
    for passes in ({"hours": 4}, {"days": 6}):
        world.clock.passes(**passes)
        world.trakt.watch(CATALOGUE[0])
        await world.work()
        watcher.learn(world)
    world.site.revoke_tokens()
    world.trakt.revoke_everything()
    world.clock.passes(hours=1)
    world.trakt.watch(CATALOGUE[1])
    await world.work()
    await world.scheduler.guarded("poll", breaks(*watcher.secrets))


async def breaks(*secrets: str) -> None:
    raise RuntimeError(f"a bug with {len(secrets)} secrets in its hands")


async def fails_to_come_in(world: World, watcher: Watcher) -> None:
    """Each door answers with what it was sent, or with nothing."""
    await world.browser.visit("/")
    await world.browser.press("Sign in", me=world.me)
    world.site.then(Dropped(), at="POST /token")
    await world.browser.press("Approve")
    await is_refused_with_its_own_code(world)
    await world.browser.visit("/callback?code=marked-code&state=marked-state")
    watcher.secrets |= {"marked-code"}
    await world.sign_in()
    callback = await consented(world)
    world.trakt.then(DroppedByTrakt(), at="/oauth/token")
    await world.browser.visit(callback)
    callback = await consented(world)
    refusal = {"error": "invalid_grant", "error_description": httpx2.URL(callback).params["code"]}
    world.trakt.then(Status(400, JSON, json.dumps(refusal).encode()), at="/oauth/token")
    await world.browser.visit(callback)
    callback = await consented(world)
    world.trakt.then(Status(500), at="/users/settings")
    await world.browser.visit(callback)


async def is_refused_with_its_own_code(world: World) -> None:
    """The site says no to a code, and repeats it."""
    await world.browser.visit("/")
    await world.browser.press("Sign in", me=world.me)
    form, _ = world.browser.form_with("Approve")
    fields = {**filled(form), "decision": "approve"}
    url = world.browser.page.url.join(str(form["action"]))
    callback = (await world.browser.client.post(url, data=fields)).headers["Location"]
    refusal = {"error": "invalid_grant", "error_description": httpx2.URL(callback).params["code"]}
    world.site.then(Answer(400, JSON, json.dumps(refusal)), at="POST /token")
    await world.browser.visit(callback)


async def fails_at_the_site(world: World, watcher: Watcher) -> None:
    for status in (400, 401, 403, 404, 429, 500, 302, 200, 201):
        # Its answers show the keys that it knows.
        site = world.site.indieauth
        echo = " ".join([list(site.tokens)[-1], list(site.refresh_tokens)[-1]])
        body = json.dumps({"error": "invalid_request", "error_description": f"Bearer {echo}"})
        world.site.then(Answer(status, {**JSON, "Location": f"/?{quote(echo)}"}, body))
        world.clock.passes(minutes=20)
        world.trakt.watch(CATALOGUE[status % len(CATALOGUE)])
        await world.check_now()
        await world.browser.visit("/")
        watcher.learn(world)
    world.site.then(Dropped())
    world.clock.passes(minutes=20)
    world.trakt.watch(CATALOGUE[3])
    await world.check_now()


async def fails_at_trakt(world: World, watcher: Watcher) -> None:
    for status in (400, 401, 403, 404, 426, 429, 500, 503, 200):
        echo = " ".join(world.trakt.tokens.given_out).encode()
        world.trakt.then(Status(status, {}, b"Bearer " + echo), at="/sync")
        world.clock.passes(hours=2)
        await world.check_now()
        watcher.learn(world)
    world.trakt.then(DroppedByTrakt(), at="/sync")
    world.clock.passes(hours=2)
    await world.check_now()


async def walks(world: World) -> None:
    """Look at every page there is."""
    for path in ("/", "/watches", "/settings", "/settings/notifications", "/settings/delete", "/x"):
        await world.browser.visit(path)
    async with world.bridge.database.reading() as session:
        rows = await session.execute(select(SQLModel.metadata.tables["watch"].c.id))
    for (key,) in rows:
        await world.browser.visit(f"/watches/{key}")
    await world.browser.client.get(
        f"{BRIDGE}/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"}
    )
    await world.browser.client.get(f"{BRIDGE}/metrics?token={METRICS_TOKEN}")


async def stored(world: World) -> str:
    async with world.bridge.database.reading() as session:
        return repr(
            [
                [dict(row._mapping) for row in await session.execute(select(table))]
                for table in SQLModel.metadata.tables.values()
            ]
        )


def files(world: World, folder: Path) -> str:
    path = sqlite_file(world.settings.database_url)
    assert path is not None
    copy_file(path, folder / "backups" / "copy.db")
    found = [*folder.glob("bridge.db*"), *folder.glob("backups/*")]
    assert len(found) >= 3
    return "".join(one.read_bytes().decode("latin-1") for one in found)


async def test_no_secret_of_a_whole_life_is_anywhere_in_clear(
    tmp_path: Path, clock: Clock, logged: StringIO
) -> None:
    async with watched(tmp_path, clock) as (world, watcher):
        await lives(world, watcher)
        await walks(world)
        watcher.learn(world)
        kept = await stored(world)
        raw = await asyncio.to_thread(files, world, tmp_path)
        await world.browser.visit("/settings/delete")
        await world.browser.press("Delete my account")
        after = await stored(world)
        watcher.learn(world)
    said = logged.getvalue()

    # It was a life indeed, and much was said of it.
    assert len(watcher.secrets) > 25
    for words in ("polled", "sent", "refreshed", "work failed", "poll failed", "notification"):
        assert words in said
    assert "our key" in kept
    assert re.search(r"Signed in as", " ".join(watcher.shown))
    places = {
        "logs": said,
        "rows": kept,
        "files": raw,
        "pages": "\n".join(watcher.shown),
        "rows after": after,
    }
    for name, text in places.items():
        assert (name, watcher.found_in(text)) == (name, [])


def test_a_secret_would_be_found() -> None:
    watcher = Watcher({"a/secret+"})

    for text in ("x a/secret+", "x?a%2Fsecret%2B", "Basic YS9zZWNyZXQr"):
        assert watcher.found_in(text) == ["a/secret+"]


@pytest.mark.parametrize(
    "words",
    [
        "missing_authorization_endpoint",
        "Ask https://ada.example/micropub/endpoint/for/posts, or update WordPress 6.4.2.",
        "The key of 2026-11-20 is no longer valid.",
    ],
)
def test_words_without_a_key_stay_as_they_are(words: str) -> None:
    assert without_keys(words) == words


@pytest.mark.parametrize(
    "key", ["2bcd75596464eac72f3c2f4209de1af3", "NNic_8Phbk0P4V8dksEpMc0e_4pv"]
)
def test_a_key_in_somebodys_words_is_taken_out(key: str) -> None:
    assert without_keys(f"Bearer {key} is unknown") == "Bearer … is unknown"
