"""A rolling restart in the middle of a round: the new process is up before the old one is down."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from app.demo.catalogue import DUNE, LIES, SECRETS, SPECIAL
from app.demo.site import Held
from app.demo.trakt_door import Slow
from tests.machine import ROOT
from tests.test_serve import PATIENCE, Neighbours, free_port, neighbours_of
from tests.world import Browser

BRIDGE = "http://localhost:8000"
LONGEST_SILENCE = 120  # seconds; then what it was to say will not come


@dataclass
class Router(httpx2.AsyncBaseTransport):
    """Leads each request to the next of the processes that are up, as a platform's router does."""

    ports: list[int] = field(default_factory=list)
    inner: httpx2.AsyncBaseTransport = field(default_factory=httpx2.AsyncHTTPTransport)
    statuses: list[int] = field(default_factory=list)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.ports.append(self.ports.pop(0))
        passed_on = httpx2.Request(
            request.method,
            request.url.copy_with(port=self.ports[-1]),
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        answer = await self.inner.handle_async_request(passed_on)
        self.statuses.append(answer.status_code)
        return answer

    async def aclose(self) -> None:
        await self.inner.aclose()


@dataclass
class Serving:
    """One process of the bridge."""

    process: Process
    port: int
    lines: list[str] = field(default_factory=list)

    async def says(self, word: str) -> None:
        """Return when it says ``word``, from now on."""
        assert self.process.stdout is not None
        while not self.lines or word not in self.lines[-1]:
            line = await asyncio.wait_for(self.process.stdout.readline(), LONGEST_SILENCE)
            assert line, "".join(self.lines)
            self.lines.append(line.decode())
        self.lines.append("")

    async def ends(self) -> str:
        """Ask it to end, as a platform does; return all it has said."""
        self.process.terminate()
        said, _ = await asyncio.wait_for(self.process.communicate(), PATIENCE)
        return "".join([*self.lines, said.decode()])


@asynccontextmanager
async def serving(folder: Path, settings: Mapping[str, str]) -> AsyncIterator[Serving]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "serve"),
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **settings, "PORT": str(port)},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        yield Serving(process, port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@dataclass(frozen=True)
class Round:
    """A post and a poll that are under way, until they are let go."""

    post: Held
    read: Slow

    def go_on(self) -> None:
        self.post.until.set()
        self.read.release.set()


async def under_way(browser: Browser, others: Neighbours) -> Round:
    """Let a post be on its way to the site, and Trakt be asked for three more films."""
    others.trakt.watch(DUNE)
    others.site.then(post := Held(asyncio.Event()))
    await check_now(browser)
    await post.reached.wait()
    for work in (LIES, SECRETS, SPECIAL):
        others.trakt.watch(work)
    others.trakt.then(read := Slow(), at="/sync/history")
    await check_now(browser)
    await read.arrived.wait()
    return Round(post, read)


async def test_a_rolling_restart_during_a_round_shows_no_error_and_posts_everything_once(
    tmp_path: Path, database_url: str
) -> None:
    router = Router()
    async with (
        neighbours_of(BRIDGE) as others,
        httpx2.AsyncClient(mounts={"all://localhost": router}, trust_env=False) as client,
        serving(tmp_path, settings := settings_for(others, database_url)) as old,
    ):
        browser = Browser(client)
        await old.says("serving")
        router.ports = [old.port]
        await settle_in(browser, others)
        await old.says("polled")
        going_on = await under_way(browser, others)

        async with serving(tmp_path, settings) as new:
            await new.says("another process holds the scheduler")
            # Both are up, and people meet either.
            router.ports = [old.port, new.port]
            await look_around(browser)
            router.ports = [new.port]
            going_on.go_on()
            told = await old.ends()
            await look_around(browser)
            await new.says("this process is the scheduler now")
            for _ in range(4 - told.count("published")):
                await new.says("published")
            await check_now(browser)
            await new.says("polled")
            told += await new.ends()

    assert posted(others) == sorted(str(play.id) for play in others.trakt.plays)
    assert set(router.statuses) <= {200, 303}
    assert "Traceback" not in told
    assert {old.process.returncode, new.process.returncode} <= {0, -signal.SIGTERM}


def settings_for(others: Neighbours, database_url: str) -> dict[str, str]:
    return {**others.settings, "DATABASE_URL": database_url, "WAITS__BETWEEN_POSTS": "0"}


async def settle_in(browser: Browser, others: Neighbours) -> None:
    await browser.visit(f"{BRIDGE}/")
    await browser.press("Sign in", me=others.site.me)
    await browser.press("Approve")
    await browser.press("Connect Trakt")
    await browser.press("Approve")


async def check_now(browser: Browser) -> None:
    await browser.visit(f"{BRIDGE}/")
    await browser.press("Check now")


async def look_around(browser: Browser) -> None:
    for path in ("/", "/watches", "/settings", "/healthz") * 2:
        assert (await browser.visit(f"{BRIDGE}{path}")).status_code == 200


def posted(others: Neighbours) -> list[str]:
    """The plays that the posts on the site tell of."""
    bodies = [json.loads(post.body)["properties"] for post in others.site.posts]
    return sorted(one["watch-of"][0]["properties"]["trakt-watch-id"][0] for one in bodies)
