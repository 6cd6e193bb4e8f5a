"""What holds for every route; the routes come from the app, so that a new one is not forgotten."""

import asyncio
import re
from pathlib import Path
from typing import Any, Literal, cast

import httpx2
import pytest
from bs4 import BeautifulSoup
from fastapi import FastAPI
from sqlalchemy import Column, Table, delete, select, text
from sqlmodel import SQLModel
from structlog.testing import capture_logs

from app.notify import label
from app.store import accounts, sessions
from app.vault import digest
from app.web.limits import ASK
from app.web.session import LARGEST_FORM_OF_A_STRANGER, cookie_name
from tests.conftest import NOON
from tests.postgres import new_database
from tests.routes import ways
from tests.test_notifications_page import TELEGRAM
from tests.test_pages import BOBS_COOKIE, second_person
from tests.test_questions import a_bunch
from tests.world import BRIDGE, Browser, Clock, World, running_world

ADA, BOB = 1, 2
# What stands for Ada's own in a path. A route with another kind of id needs its case here.
HERS = {
    "watches": {"key": "1", "action": "publish"},
    "questions": {"key": "1", "answer": "post"},
    "posters": {"name": "made-up.webp"},
}
# What lets each form do its work. A new form needs its case here.
FORMS: dict[str, dict[str, str]] = {
    "/check": {},
    "/poll": {},
    "/questions/{key}/{answer}": {},
    "/settings": {"timezone": "Asia/Tokyo"},
    "/settings/browsers/end": {"browser": "made-up"},
    "/settings/delete": {"sure": "yes"},
    "/settings/file": {"file": '{"ownyourtrakt": 1, "timezone": "Asia/Tokyo"}'},
    "/settings/posts": {
        "do": "save",
        "shape": "form",
        "content": "text",
        "language": "de",
        "posters": "off",
    },
    "/settings/notifications": {"address": TELEGRAM},
    "/settings/notifications/remove": {"address": label(TELEGRAM)},
    "/settings/notifications/test": {},
    "/settings/site": {"drafts": "no", "slug": "yes"},
    "/settings/site/ask": {},
    "/settings/rules": {"tags": "seen"},
    "/settings/rules/edit": {"then": "skip", "text": "dark"},
    "/settings/rules/order": {"rule": "made-up", "do": "delete"},
    "/settings/site/test": {},
    "/settings/site/test/delete": {},
    "/settings/site/test/gone": {},
    "/signin": {"me": "https://"},
    "/signout": {},
    "/signout/everywhere": {},
    "/silence/seen": {},
    "/site/go-on": {},
    "/site/look": {},
    "/site/unsure": {"choice": "again", "hours": "7"},
    "/trakt/connect": {},
    "/trakt/disconnect": {},
    "/watches/{key}/look": {},
    "/watches/{key}/{action}": {},
}
Rows = dict[str, list[tuple[Any, ...]]]


def all_ways(world: World, method: str) -> list[str]:
    """The paths of a method; what deletes the account comes last."""
    found = [path for how, path in ways(cast("FastAPI", world.app)) if how == method]
    return sorted(found, key=lambda path: (path.endswith("/delete"), "/signout" in path, path))


def of_ada(path: str) -> str:
    """A path with Ada's ids in it."""
    return path.format(**HERS[path.split("/")[1]]) if "{" in path else path


def is_of(account: int, table: Table, row: tuple[Any, ...]) -> bool:
    names = [column.name for column in table.columns]
    name = "id" if table.name == "account" else "account_id"
    return name in names and row[names.index(name)] == account


async def rows(world: World, but: int = 0) -> Rows:
    """All that the database holds, but for what belongs to one account."""
    async with world.bridge.database.reading() as session:
        return {
            table.name: [
                tuple(row)
                for row in (await session.execute(select(table).order_by(*keys(table)))).all()
                if not is_of(but, table, tuple(row))
            ]
            for table in SQLModel.metadata.sorted_tables
        }


def keys(table: Table) -> list[Column[Any]]:
    return list(table.primary_key.columns)


async def token_of(browser: Browser) -> str:
    await browser.visit("/settings")
    field = browser.document.find("input", attrs={"name": "csrf"})
    assert field is not None
    return str(field["value"])


def test_every_form_has_its_case_here(world: World) -> None:
    assert set(all_ways(world, "POST")) == FORMS.keys()


async def test_no_form_is_taken_from_another_place_or_another_session(world: World) -> None:
    await a_bunch(world)
    token = await token_of(world.browser)
    bob, client = await second_person(world)
    foreign = await token_of(bob)
    before = await rows(world)
    attempts = [
        ({"Origin": "https://evil.example"}, token),
        ({"Origin": "null"}, token),
        ({"Origin": BRIDGE}, ""),
        ({"Origin": BRIDGE}, "made-up"),
        ({"Origin": BRIDGE}, foreign),
    ]

    for path in all_ways(world, "POST"):
        for headers, csrf in attempts:
            world.bridge.limits.buckets.clear()
            answer = await world.browser.client.post(
                BRIDGE + of_ada(path), data={**FORMS[path], "csrf": csrf}, headers=headers
            )
            assert answer.status_code == 400, (path, headers, csrf)
            assert await rows(world) == before, (path, headers, csrf)
    await client.aclose()


@pytest.mark.parametrize(
    ("headers", "is_taken"),
    [
        ({"Origin": BRIDGE}, True),
        ({"Origin": BRIDGE, "Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": f"{BRIDGE}.evil.example"}, False),
        ({"Origin": ""}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-site", "Referer": f"{BRIDGE}/"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Referer": f"{BRIDGE}/settings"}, True),
        ({"Referer": f"{BRIDGE}.evil.example/"}, False),
        ({"Referer": "https://evil.example/http://localhost:8000/"}, False),
        ({}, False),
    ],
)
async def test_where_a_form_came_from_is_told_by_what_only_a_browser_writes(
    world: World, headers: dict[str, str], *, is_taken: bool
) -> None:
    await world.ready()
    token = await token_of(world.browser)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=world.app)) as plain:
        plain.cookies = world.browser.client.cookies
        answer = await plain.post(f"{BRIDGE}/poll", data={"csrf": token}, headers=headers)

    assert answer.status_code == (303 if is_taken else 400)


async def test_nothing_changes_by_reading(world: World) -> None:
    await a_bunch(world)
    # That a browser is used is noted once an hour.
    await world.browser.visit("/")
    before = await rows(world)

    for path in all_ways(world, "GET"):
        for query in ("", "?state=made-up&code=made-up", "?said=saved&page=2&q=dark"):
            await world.browser.client.get(BRIDGE + of_ada(path) + query)
            await world.browser.client.head(BRIDGE + of_ada(path) + query)

    assert await rows(world) == before


async def test_no_account_sees_anything_of_another(world: World) -> None:
    await a_bunch(world)
    bob, client = await second_person(world)

    for path in all_ways(world, "GET"):
        answer = await client.get(BRIDGE + of_ada(path), follow_redirects=True)
        if "{" in path:
            assert answer.status_code == 404, path
        assert "Dark" not in answer.text, path
        assert "Ada Example" not in answer.text, path
        assert world.me not in answer.text, path
    await bob.visit("/")
    assert "bob.example" in bob.text
    await client.aclose()


async def test_no_account_changes_anything_of_another(world: World) -> None:
    await a_bunch(world)
    bob, client = await second_person(world)
    token = await token_of(bob)
    before = await rows(world, but=BOB)

    with capture_logs() as log:
        for path in all_ways(world, "POST"):
            data = {**FORMS[path], "csrf": token}
            answer = await client.post(BRIDGE + of_ada(path), data=data)
            assert answer.status_code == 404 if "{" in path else answer.status_code < 404, path
            if "/signout" in path:
                await come_back(world, client)

    after = await rows(world, but=BOB)
    assert {name: found for name, found in after.items() if found != before[name]} == {}
    tried = {line["path"]: line["account"] for line in log if line.get("code") == "not_found"}
    assert tried == {of_ada(path): BOB for path in all_ways(world, "POST") if "{" in path}
    assert not [row for row in (await rows(world))["account"] if row[0] == BOB]
    await client.aclose()


async def come_back(world: World, client: httpx2.AsyncClient) -> None:
    """Let Bob in once more, with the cookie that he had."""
    async with world.bridge.database.writing() as session:
        await sessions.begin(session, digest(BOBS_COOKIE), BOB, "A browser", NOON)
    client.cookies.set(cookie_name(world.settings), BOBS_COOKIE, domain="localhost.local")


# --- What every answer carries ---

SETS_OUT = "form[action='/signin'], form[action='/trakt/connect']"


def check_headers(answer: httpx2.Response, path: str) -> None:
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy, path
    assert "frame-ancestors 'none'" in policy, path
    assert "base-uri 'none'" in policy, path
    assert "unsafe" not in policy, path
    assert "data:" not in policy, path
    leads_away = "form-action 'self' https: http:" in policy
    assert leads_away or "form-action 'self'" in policy or "form-action 'none'" in policy, path
    assert answer.headers["X-Content-Type-Options"] == "nosniff", path
    assert answer.headers["Referrer-Policy"] == "same-origin", path
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin", path
    resource = "cross-origin" if path.startswith("/static/") else "same-origin"
    assert answer.headers["Cross-Origin-Resource-Policy"] == resource, path
    assert path.startswith("/static/") or answer.headers["Cache-Control"] == "no-store", path
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000", path
    assert "Server" not in answer.headers, path
    if answer.text and "text/html" in answer.headers.get("Content-Type", ""):
        check_page(answer.text, path)
        # A browser would not follow a form to where the policy does not let it.
        assert leads_away is bool(BeautifulSoup(answer.text, "html5lib").select(SETS_OUT)), path


def check_page(page: str, path: str) -> None:
    """Nothing on a page is a script or a style by itself."""
    document = BeautifulSoup(page, "html5lib")
    assert not document.select("style, [style], script:not([src]), iframe, object, embed"), path
    assert not document.select("script[src]:not([src^='/static/'])"), path
    for one in document.find_all():
        assert not [name for name in one.attrs if name.lower().startswith("on")], path


def behind_https(world: World) -> None:
    """Let the answers be those of a bridge that people reach by https."""
    (layer,) = [one for one in cast("FastAPI", world.app).user_middleware if "secure" in one.kwargs]
    layer.kwargs["secure"] = True


async def test_every_answer_carries_what_protects_it(world: World) -> None:
    behind_https(world)
    await a_bunch(world)
    token = await token_of(world.browser)
    _, client = await second_person(world)
    for path in all_ways(world, "GET"):
        for who in (world.browser.client, client, nobody(world)):
            for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "PATCH"):
                world.bridge.limits.buckets.clear()
                answer = await who.request(method, BRIDGE + of_ada(path))
                check_headers(answer, of_ada(path))
                if method in {"OPTIONS", "PUT", "DELETE", "TRACE", "PATCH"}:
                    assert answer.status_code == 405, path
                    assert answer.headers["Allow"], path
    for path in all_ways(world, "POST"):
        for data in ({}, {**FORMS[path], "csrf": token}):
            world.bridge.limits.buckets.clear()
            answer = await world.browser.client.post(BRIDGE + of_ada(path), data=data)
            check_headers(answer, of_ada(path))
    await client.aclose()


def nobody(world: World) -> httpx2.AsyncClient:
    """A browser of a stranger, to whom a bug is an answer."""
    transport = httpx2.ASGITransport(app=world.app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport)


async def test_errors_and_files_carry_what_protects_them(tmp_path: Path, clock: Clock) -> None:
    here = "https://localhost"
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": here}
    async with running_world(tmp_path, clock, base_url=here) as world:
        stranger = nobody(world)
        await stranger.get(here)
        large = b"a" * (LARGEST_FORM_OF_A_STRANGER + 1)
        found = [
            (200, "/static/style.css", await stranger.get(f"{here}/static/style.css")),
            (404, "/static/made-up", await stranger.get(f"{here}/static/made-up")),
            (404, "/static/../main.py", await stranger.get(f"{here}/static/..%2fmain.py")),
            (404, "/made-up", await stranger.get(f"{here}/made-up")),
            (400, "/signin", await stranger.post(f"{here}/signin", files={"me": b"a"})),
            (
                413,
                "/signin",
                await stranger.post(f"{here}/signin", content=large, headers=form),
            ),
        ]
        for _ in range(ASK.burst):
            await stranger.get(f"{here}/callback")
        found.append((429, "/callback", await stranger.get(f"{here}/callback")))
        async with world.bridge.database.writing() as session:
            await session.execute(text("DROP TABLE claim"))
        found.append((500, "/", await stranger.get(here)))

        for status, path, answer in found:
            assert answer.status_code == status, path
            check_headers(answer, path)
        assert "Traceback" not in found[-1][2].text


# --- Who is deleted in another window in that very moment ---


class Queue(asyncio.Lock):
    """The turn to write, which tells that somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = asyncio.Event()

    async def acquire(self) -> Literal[True]:
        if self.locked():
            self.waits.set()
        return await super().acquire()


async def put_back(world: World, before: Rows) -> None:
    async with world.bridge.database.writing() as session:
        for table in reversed(SQLModel.metadata.sorted_tables):
            await session.execute(delete(table))
        for table in SQLModel.metadata.sorted_tables:
            names = [column.name for column in table.columns]
            if found := [dict(zip(names, row, strict=True)) for row in before[table.name]]:
                await session.execute(table.insert(), found)


async def test_a_form_whose_account_is_deleted_meanwhile_breaks_nothing(world: World) -> None:
    await a_bunch(world)
    token = await token_of(world.browser)
    before = await rows(world)
    broken = []

    for path in all_ways(world, "POST"):
        world.bridge.limits.buckets.clear()
        world.bridge.database.turn = queue = Queue()
        client = nobody(world)
        client.cookies = httpx2.Cookies(world.browser.client.cookies)
        data = {**FORMS[path], "csrf": token}
        async with client:
            async with world.bridge.database.writing() as session:
                ours = {"Origin": BRIDGE}
                sent = asyncio.create_task(
                    client.post(BRIDGE + of_ada(path), data=data, headers=ours)
                )
                waits = asyncio.create_task(queue.waits.wait())
                await asyncio.wait({sent, waits}, return_when=asyncio.FIRST_COMPLETED)
                await accounts.remove(session, ADA, world.bridge.vault)
            answer = await sent
            waits.cancel()
        if answer.status_code == 500 or (await rows(world))["account"]:
            broken.append(path)
        await put_back(world, before)

    assert broken == []


async def test_a_sign_that_postgresql_cannot_hold_breaks_no_page_and_no_form(
    tmp_path: Path,
    clock: Clock,
    postgres: Any,  # noqa: ANN401 - the server of a library without types
) -> None:
    async with running_world(tmp_path, clock, database_url=new_database(postgres)) as world:
        await world.sign_in()
        token, broken = await token_of(world.browser), []
        async with nobody(world) as client:
            client.cookies = httpx2.Cookies(world.browser.client.cookies)
            both = [(way, path) for way in ("GET", "POST") for path in all_ways(world, way)]
            for way, path in both:
                world.bridge.limits.buckets.clear()
                url = BRIDGE + re.sub(r"{\w+}", "%00", path)
                asked = dict.fromkeys(("q", "rule", "state", "code", "said"), "\0")
                data = {
                    **dict.fromkeys([*FORMS.get(path, {}), "browser", "rule"], "\0"),
                    "csrf": token,
                }
                ours = {"Origin": BRIDGE}
                answer = await (
                    client.get(url, params=asked)
                    if way == "GET"
                    else client.post(url, data=data, headers=ours)
                )
                if answer.status_code == 500:
                    broken.append((way, path))

    assert broken == []
