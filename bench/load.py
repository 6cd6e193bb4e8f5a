"""Strangers on the public pages, while everybody's Trakt is polled beside them."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx2

from app.main import utcnow
from bench import crowd
from bench.bridge import move_in, running_bridge, settings_at
from bench.crowd import JOINED, Crowd
from bench.figures import Figure, of_spans
from bench.others import Others, others
from bench.rounds import residents, shown
from bench.schedule import LEAD, spread
from bench.server import served

PATIENCE = 10.0  # seconds; whoever waits longer has had no answer
HANDS = 4  # with which the greedy one asks
CSRF = re.compile(r'name="csrf" value="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Load:
    """So many strangers for so long, who look at each page for ``pause`` seconds."""

    clients: int = 200
    seconds: float = 30
    pause: float = 1.0


USUAL = Load()


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request; ``status`` is 0 where nothing came back."""

    path: str
    status: int
    seconds: float

    @property
    def is_error(self) -> bool:
        """Whether somebody who asks now and then was not served."""
        return self.status in {0, 429} or self.status >= 500


@dataclass(slots=True)
class Stranger:
    """A browser with an address of its own, which the proxy in front tells (TRUSTED_PROXIES)."""

    browser: httpx2.AsyncClient
    answers: list[Answer] = field(default_factory=list)
    csrf: str = ""

    async def get(self, path: str) -> None:
        """Look at a page."""
        await self.ask("GET", path)

    async def sign_in(self, me: str) -> None:
        """Send the form of the first page."""
        await self.ask("POST", "/signin", {"me": me, "csrf": self.csrf})

    async def ask(self, method: str, path: str, form: dict[str, str] | None = None) -> None:
        """Send a request and note what became of it."""
        began, status = time.perf_counter(), 0
        try:
            answer = await self.browser.request(method, path, data=form)
        except httpx2.HTTPError:
            pass
        else:
            status = answer.status_code
            if found := CSRF.search(answer.text):
                self.csrf = found[1]
        self.answers.append(Answer(path, status, time.perf_counter() - began))

    async def wander(self, unknown: str, start: float, end: float, pause: float) -> None:
        """Walk through all that strangers can see until ``end``, the last walk to its end."""
        await asyncio.sleep(start - time.perf_counter())
        while time.perf_counter() < end:
            for step in (
                partial(self.get, "/"),
                partial(self.get, "/id"),
                partial(self.get, "/static/style.css"),
                partial(self.sign_in, "not a website"),
                partial(self.get, "/healthz"),
                partial(self.sign_in, unknown),
            ):
                await step()
                await asyncio.sleep(pause)

    async def grab(self, end: float) -> None:
        """Look at the first page without any pause."""
        while time.perf_counter() < end:
            await self.get("/")


@dataclass(frozen=True, slots=True)
class Street:
    """A bridge that polls, its strangers, and a website that knows nothing of IndieAuth."""

    strangers: Sequence[Stranger]
    greedy: Stranger
    unknown: str
    pause: float

    async def crowded(self, seconds: float, hands: int = 0) -> list[Answer]:
        """Return what became of all requests of so many seconds, but for the greedy one's."""
        for stranger in self.strangers:
            stranger.answers.clear()
        start = time.perf_counter()
        end = start + seconds
        await asyncio.gather(
            *(
                stranger.wander(
                    self.unknown, start + place * self.pause / len(self.strangers), end, self.pause
                )
                for place, stranger in enumerate(self.strangers)
            ),
            *(self.greedy.grab(end) for _ in range(hands)),
        )
        return [answer for stranger in self.strangers for answer in stranger.answers]


async def load_figures(
    folder: Path, accounts: int, latency: timedelta, load: Load = USUAL
) -> list[Figure]:
    """Return what strangers notice while so many accounts are polled in that time.

    Then once more for a third of it, with somebody among them who asks without end.
    """
    async with a_street(folder, accounts, latency, load) as (street, away):
        before = await away.do(crowd.polls)
        calm = await street.crowded(load.seconds)
        polls = await away.do(crowd.polls) - before
        greedy = await street.crowded(load.seconds / 3, HANDS)
    if not polls:
        raise RuntimeError("these figures would not be true: nobody was polled")
    refused = sum(answer.status == 429 for answer in street.greedy.answers)
    pages = len(street.greedy.answers) - refused
    what = (
        f"{load.clients} clients for {load.seconds:.0f} s beside a round over {accounts:,} accounts"
    )
    return [
        Figure(f"{what}: errors", sum(a.is_error for a in calm), "", f"{len(calm):,} requests"),
        *spans(what, calm),
        Figure(f"{what}: polls meanwhile", polls, "", shown(latency)),
        Figure(
            "… beside one who asks without end: errors of the others",
            sum(answer.is_error for answer in greedy),
            "",
            f"{len(greedy):,} requests",
        ),
        *spans("… beside one who asks without end", greedy),
        Figure("… who got 429", refused, "", f"and {pages:,} pages"),
    ]


def spans(what: str, answers: Sequence[Answer]) -> list[Figure]:
    """Return how long answers took: pages, and sign-ins, which may wait for a website."""
    pages = [answer.seconds for answer in answers if answer.path != "/signin"]
    signins = [answer.seconds for answer in answers if answer.path == "/signin"]
    return [
        *of_spans(f"{what}: pages", pages, 50, 99),
        *of_spans(f"{what}: sign-ins of nobody", signins, 50, 99),
    ]


@asynccontextmanager
async def a_street(
    folder: Path, accounts: int, latency: timedelta, load: Load
) -> AsyncIterator[tuple[Street, Others[Crowd]]]:
    """Run a bridge whose accounts are all polled in that time, for people to come by."""
    with others(partial(crowd.make, accounts, latency.total_seconds()), 2) as away:
        trakt, sites = away.origins
        interval = timedelta(seconds=max(1, round(load.seconds)))
        settings = settings_at(
            folder, trakt, poll_interval=int(interval.total_seconds()), trusted_proxies=1
        )
        async with running_bridge(settings, utcnow) as running:
            running.scheduler.stop()
            await move_in(running.bridge, residents(accounts, sites), crowd.stamp(JOINED))
            await spread(running.bridge, utcnow() + LEAD, interval)
        async with served(settings, folder) as server, AsyncExitStack() as stack:

            async def stranger(number: int) -> Stranger:
                # All speak plain http, so that none of them needs to load certificates.
                browser = httpx2.AsyncClient(
                    base_url=server.origin,
                    headers={
                        "X-Forwarded-For": f"198.18.{number // 256}.{number % 256}",
                        "Origin": settings.base_url,
                    },
                    timeout=PATIENCE,
                    trust_env=False,
                    verify=False,
                )
                return Stranger(await stack.enter_async_context(browser))

            everybody = [await stranger(number) for number in range(load.clients + 1)]
            yield Street(everybody[1:], everybody[0], f"{sites}/nobody/", load.pause), away
