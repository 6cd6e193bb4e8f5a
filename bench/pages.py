"""The pages of somebody who has watched much, asked one after the other by one browser."""

import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import count, islice
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import insert, update

from app.main import utcnow
from app.outbox import Standing, State
from app.store import sessions
from app.tables import ConnectionRow, PostRow, WatchRow
from app.vault import digest
from app.watch import Episode, Ids, Movie, Show, Work, caption, to_json, work_key
from app.web.bridge import Bridge
from app.web.session import cookie_name
from bench.bridge import Resident, move_in, running_bridge, settings_at
from bench.figures import Figure, of_spans
from bench.library import EPISODES
from bench.server import Server, served

COOKIE = "the cookie of somebody who is signed in"
PER_PAGE = 50
# One watch in so many is on the site; the others lie in the archive.
POSTED = 10


async def page_figures(folder: Path, watches: int, times: int = 60) -> list[Figure]:
    """Return how long pages take of somebody with so many watches.

    ``times`` each: of one account 200 requests are answered at once, the next ones with 429.
    """
    settings = settings_at(folder, "http://127.0.0.1:9")
    async with running_bridge(settings, utcnow) as running:
        running.scheduler.stop()
        nobody = "http://127.0.0.1:9/"
        await move_in(running.bridge, [Resident(nobody, nobody, "token", utcnow())], "then")
        await fill(running.bridge, watches)
    last = -(-watches // PER_PAGE)
    cookies = {cookie_name(settings): COOKIE}
    async with (
        served(settings, folder) as server,
        httpx2.AsyncClient(cookies=cookies, trust_env=False) as browser,
    ):
        dashboard = [await shown(browser, server, "/") for _ in range(times)]
        leafed = [
            await shown(browser, server, f"/watches?page={1 + place * last // times}")
            for place in range(times)
        ]
        searched = [
            await shown(browser, server, f"/watches?q=show+{place}") for place in range(times)
        ]
    return [
        *of_spans(f"dashboard, {watches:,} watches", dashboard, 50, 95),
        *of_spans(f"/watches, {watches:,} watches, leafing", leafed, 50, 95),
        *of_spans(f"/watches, {watches:,} watches, searching", searched, 50, 95),
    ]


async def shown(browser: httpx2.AsyncClient, server: Server, path: str) -> float:
    """Return the seconds until a page is here."""
    began = time.perf_counter()
    answer = await browser.get(f"{server.origin}{path}")
    seconds = time.perf_counter() - began
    if answer.status_code != 200 or "Sign out" not in answer.text:
        raise RuntimeError(f"{path} was not shown: {answer.status_code}")
    return seconds


async def fill(bridge: Bridge, watches: int) -> None:
    """Let the only account have so many watches and nothing to do, and sign it in."""
    now = bridge.now()
    posts: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for number, work in enumerate(islice(works(), watches), 1):
        at = now - timedelta(hours=number)
        is_posted = number % POSTED == 0
        if is_posted:
            posts.append(
                {
                    "id": number,
                    "account_id": 1,
                    "state": State.PUBLISHED,
                    "due_at": at,
                    "watched_at": at,
                    "published_at": at,
                    "url": f"http://127.0.0.1:9/{number}",
                }
            )
        rows.append(
            {
                "account_id": 1,
                "post_id": number if is_posted else None,
                "standing": Standing.POSTED if is_posted else Standing.ARCHIVED,
                "title": caption(work),
                "work_key": work_key(work),
                "work": to_json(work),
                "source": "trakt",
                "key": str(number),
                "watched_at": at,
            }
        )
    async with bridge.database.writing() as session:
        await session.execute(insert(PostRow), posts)
        await session.execute(insert(WatchRow), rows)
        await session.execute(
            update(ConnectionRow).values(next_poll_at=now + timedelta(days=1), trouble=None)
        )
        await sessions.begin(session, digest(COOKIE), 1, "A browser", now)


def works() -> Iterator[Work]:
    """Yield films and episodes without end, none of them twice; of ten one is a film."""
    for number in count(1):
        if number % 10 == 0:
            yield Movie(f"Film {number}", 1990, Ids(trakt=number, slug=f"film-{number}"))
            continue
        of, which = divmod(number, EPISODES)
        show = Show(f"Show {of}", 1990, Ids(trakt=of, slug=f"show-{of}"))
        yield Episode(show, which // 10 + 1, which % 10 + 1, f"Episode {which}", Ids(trakt=number))
