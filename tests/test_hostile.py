"""Markup in every field that anybody else can fill, shown to a real browser.

First hostile neighbours say what they like: Trakt in titles, a website in answers and addresses.
Then every text of the database is overwritten, whatever way it may have come in.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from playwright.async_api import Browser, BrowserContext, Page
from sqlalchemy import Table, Text, select, update
from sqlalchemy.types import String
from sqlmodel import SQLModel, col

from app import settings as config
from app.demo.catalogue import Film
from app.demo.site import Answer, Habits
from app.main import app_of, assembled
from app.notices import Kind
from app.outbox import Standing, State
from app.tables import EventRow, NoticeRow, PostRow, SiteRow, WatchRow
from app.web import file
from app.web.session import cookie_name
from tests.conftest import NOON
from tests.routes import ways
from tests.test_browser import chromium, opened
from tests.test_questions import a_bunch
from tests.world import SECRET_KEY, Clock, World, listening, origin, running_world, serving

MARKUP = (
    "\"'></title></textarea><script>window.pwned=1</script><img src=x onerror=window.pwned=1>"
    "<svg onload=window.pwned=1><a href=javascript:window.pwned=1>{{7*7}}</a><style>*{color:red}"
)
SCRIPT = "javascript:window.pwned=1//https://ada.example/"
# What the code itself chooses, or what nobody but us could read.
OURS = {
    "state", "standing", "kind", "unsure_choice", "shows", "why", "source", "subject", "key",
    "digest", "code_digest", "sealed_tokens", "sealed_notify_urls", "holder", "scope", "key_name",
}  # fmt: skip
ADDRESSES = re.compile(r"(^|_)(me|url|photo|micropub|endpoint|issuer|place|uri)$")
# Of these Chromium makes pages of its own, with styles that our policy forbids, or none at all.
FILES = {"/favicon.ico", "/robots.txt", "/healthz", "/metrics", f"{file.HERE}/{file.NAME}"}
CHECKS = """() => [...document.querySelectorAll('*')].flatMap(one => [
    ...(one.matches('script:not([src]),style,iframe,object,embed,base') ? [one.outerHTML] : []),
    ...[...one.attributes].filter(a => /^on|^style$/i.test(a.name)).map(() => one.outerHTML),
    ...['href', 'src', 'action', 'formAction'].map(name => one.getAttribute(name))
        .filter(url => url !== null && !/^(https?:|\\/|#|\\?)/.test(url)),
])"""

__all__ = ["chromium"]


@dataclass(frozen=True)
class Shown:
    """A bridge on a real port, over the database of a world."""

    world: World
    at: str
    app: FastAPI


@asynccontextmanager
async def shown(world: World) -> AsyncIterator[Shown]:
    listener = listening()
    at = origin(listener)
    settings = config.load(
        _env_file=None,
        secret_key=SECRET_KEY,
        base_url=at,
        database_url=world.settings.database_url.replace("sqlite+aiosqlite", "sqlite"),
        trakt_client_id="client",
    )
    bridge, scheduler = assembled(settings, world.clock)
    app = app_of(bridge, scheduler)
    async with serving(app, [listener]):
        yield Shown(world, at, app)
    await bridge.http.aclose()
    await bridge.trakt.http.aclose()
    await bridge.database.close()


@pytest.fixture
async def hostile(tmp_path: Path, clock: Clock) -> AsyncIterator[Shown]:
    async with running_world(tmp_path, clock, Habits()) as world:
        await a_bunch(world)
        clock.passes(minutes=5)
        for number in range(4):
            world.trakt.watch(Film(f"{MARKUP}{number}", 1950, 9000 + number, f"film{number}'\">"))
        for answer in (
            Answer(400, body=MARKUP),
            Answer(500, {"X-Said": MARKUP}, body=MARKUP),
            Answer(201, {"Location": SCRIPT}, creates=True),
            Answer(200, body=f'{{"error": "{SCRIPT}", "error_description": "<script>"}}'),
        ):
            world.site.then(answer)
        await world.check_now()
        assert any("<script>" in watch.title for watch, _ in await world.watches())
        async with shown(world) as found:
            yield found


async def poison(world: World) -> None:
    """Write markup into every text that others may have chosen, and addresses that are scripts."""
    payload = {MARKUP: MARKUP, "title": MARKUP, "url": SCRIPT, "list": [MARKUP, SCRIPT]}
    sent = {
        "method": MARKUP, "url": SCRIPT, "body": MARKUP, "status": MARKUP, "text": MARKUP,
        "headers": {MARKUP: MARKUP, "Location": SCRIPT},
    }  # fmt: skip
    async with world.bridge.database.writing() as session:
        for table in SQLModel.metadata.sorted_tables:
            if values := {column: poisoned(column) for column in texts(table)}:
                await session.execute(update(table).values(values))
        await session.execute(update(EventRow).values(exchange=sent))
        await session.execute(update(SQLModel.metadata.tables["sighting"]).values(payload=payload))
        posts = (await session.scalars(select(PostRow).order_by(col(PostRow.id)))).all()
        for post, state in zip(posts, cycle(State), strict=False):
            post.state, post.attempts, post.published_at, post.why = state, 2, NOON, None
        watches = (await session.scalars(select(WatchRow).order_by(col(WatchRow.id)))).all()
        free = (watch for watch in watches if watch.post_id is None)
        for watch, standing in zip(free, list(Standing)[1:], strict=False):
            watch.standing = standing
        open_ones = {row.kind: row for row in (await session.scalars(select(NoticeRow))).all()}
        for kind in Kind:
            row = open_ones.get(kind) or NoticeRow(account_id=1, kind=kind, said="", opened_at=NOON)
            row.said, row.closed_at = MARKUP, None
            session.add(row)


def texts(table: Table) -> list[str]:
    """The columns of a table that hold texts of others."""
    return [
        column.name
        for column in table.columns
        if isinstance(column.type, String | Text) and column.name not in OURS
    ]


def poisoned(column: str) -> str:
    return SCRIPT if ADDRESSES.search(column) else MARKUP


async def visitor(chromium: Browser, found: Shown) -> BrowserContext:
    """Ada's browser."""
    context = await chromium.new_context()
    cookie = found.world.browser.client.cookies[cookie_name(found.world.settings)]
    await context.add_cookies(
        [{"name": cookie_name(found.world.settings), "value": cookie, "url": found.at}]
    )
    return context


async def pages(found: Shown) -> list[str]:
    """Every page of the app, with every id that there is."""
    async with found.world.bridge.database.reading() as session:
        ids = {
            "watches": (await session.scalars(select(col(WatchRow.id)))).all(),
            "questions": (await session.scalars(select(col(NoticeRow.id)))).all(),
        }
    # A page of each state is enough; the newest are those of the hostile films.
    ids["watches"] = [*ids["watches"][:9], *ids["watches"][-5:]]
    return [
        *("/made-up", "/watches?q=<script>&state=<b>", "/?said=<script>"),
        "/callback?state=<script>&error=<script>",
        *(
            path.replace("{key}", str(key))
            for method, path in ways(found.app)
            if method == "GET" and path not in FILES
            for key in (ids[path.split("/")[1]] if "{key}" in path else [0])
        ),
    ]


async def look_at(page: Page, at: str, paths: list[str]) -> dict[str, Any]:
    """Visit all of them, and return what must not be there."""
    bad: dict[str, Any] = {}
    for path in paths:
        await page.goto(at + path, wait_until="load")
        wrong = await page.evaluate(CHECKS)
        if wrong or await page.evaluate("window.pwned") is not None:
            bad[path] = wrong
    return bad


async def test_whatever_others_say_no_page_runs_or_links_it(
    chromium: Browser, hostile: Shown
) -> None:
    complaints: list[str] = []
    context = await visitor(chromium, hostile)
    page = await opened(context, complaints)

    said = await look_at(page, hostile.at, await pages(hostile))
    await poison(hostile.world)
    written = await look_at(page, hostile.at, await pages(hostile))
    async with hostile.world.bridge.database.writing() as session:
        # What has stopped hides other parts of the pages.
        await session.execute(update(SiteRow).values(locked=None, paused=None, trouble=MARKUP))
        future = NOON + timedelta(days=9)
        await session.execute(update(SiteRow).values(resume_at=future, looked_at=NOON))
        await session.execute(
            update(SQLModel.metadata.tables["connection"]).values(locked=None, trouble=MARKUP)
        )
    unlocked = await look_at(page, hostile.at, await pages(hostile))
    await page.goto(hostile.at)
    shown_at_all = await page.content()
    await context.close()

    assert (said, written, unlocked) == ({}, {}, {})
    # A page that is an error says so in the console; anything else is our policy complaining.
    assert not [one for one in complaints if "the server responded with a status" not in one]
    assert "window.pwned=1" in shown_at_all


async def test_the_check_itself_would_notice(chromium: Browser, hostile: Shown) -> None:
    context = await visitor(chromium, hostile)
    page = await context.new_page()
    await page.set_content(f"<p>{MARKUP}<a href='{SCRIPT}'>x</a></p>")

    assert len(await page.evaluate(CHECKS)) >= 4
    assert await page.evaluate("window.pwned") == 1
    await context.close()
