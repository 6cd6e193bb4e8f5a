"""Every fault that the other program fails at, put to ours in a small world of its own.

Each scenario takes an empty folder and returns what ours did. The simulated Trakt and websites are
the honest ones of `app.demo`; where a process must die, it is a real ``serve`` that dies.
"""

import asyncio
import signal
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from app.demo.catalogue import DARK, DUNE, LIES, SECRETS, EpisodeOf, Film, Work
from app.demo.site import Answer, Dropped, Held, SimulatedSite
from app.demo.site_habits import OneOff
from app.demo.trakt_door import Status
from app.outbox import State
from bench import theirs
from bench.server import served
from tests.world import (
    Browser,
    Clock,
    World,
    browser_for,
    listening,
    origin,
    running_world,
    serving,
)

NOON = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)
# The bridge polls every half hour and some minutes.
ROUND = timedelta(minutes=35)
# Until then every doubt about a post of a site that can be read is settled.
LONGEST = timedelta(days=3)
PATIENCE = 60  # seconds
WAITING = {State.QUEUED, State.SENDING, State.UNSURE}


@dataclass(frozen=True, slots=True)
class Ours:
    """What ours did, and whether that is what it promises."""

    said: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One fault: what the other program does, what is asked of ours, and how to find out."""

    fault: str
    theirs: str
    requirement: str
    ours: Callable[[Path], Awaitable[Ours]]


def rows(posts: int, plays: int) -> Sequence[Row]:
    """Return every fault; ``posts`` and ``plays`` are the sizes of the two that need many."""
    return (
        Row(
            f"500 to a fifth of {posts:,} posts",
            theirs.FIFTH_OF_ERRORS,
            "errors to a fifth of all posts lose none",
            partial(fifth_of_errors, posts),
        ),
        Row(
            "one 500 on the second of five plays",
            theirs.SECOND_OF_FIVE,
            "an error on the second of five loses none",
            second_of_five,
        ),
        Row(
            f"{plays} plays in one interval",
            theirs.MANY_AT_ONCE,
            "many plays in one interval are all posted",
            partial(many_at_once, plays),
        ),
        Row(
            "a play backdated by 30 minutes",
            theirs.BACKDATED,
            "a play backdated by minutes is posted",
            partial(backdated, timedelta(minutes=30)),
        ),
        Row(
            "a play backdated by 30 days",
            theirs.BACKDATED,
            "a play backdated by weeks is posted",
            partial(backdated, timedelta(days=30)),
        ),
        Row(
            "two plays with the same minute",
            theirs.SAME_MINUTE,
            "two plays of one minute are two posts",
            partial(at_once, (DUNE, LIES)),
        ),
        Row(
            "a season of 10 marked at once",
            theirs.SEASON,
            "a season marked at once is as many posts",
            partial(at_once, tuple(EpisodeOf(DARK, 3, n, None, 9000 + n) for n in range(1, 11))),
        ),
        Row(
            "killed between the 201 and the save",
            theirs.KILLED,
            "a kill between answer and save doubles nothing",
            killed,
        ),
        Row(
            "connection cut after the post was created",
            theirs.CUT,
            "a lost answer doubles nothing",
            partial(misreported, Dropped(creates=True)),
        ),
        Row(
            "created, but answered 500",
            theirs.CREATED_BUT_500,
            "an error after the post was created doubles nothing",
            partial(misreported, Answer(500, creates=True)),
        ),
        Row(
            "one site never answers",
            theirs.NEVER_ANSWERS,
            "a site that never answers delays nobody else",
            never_answers,
        ),
        Row(
            "Trakt answers 429 with Retry-After",
            theirs.RETRY_AFTER,
            "a wait that Trakt asks for is kept to",
            retry_after,
        ),
        Row(
            "refresh tokens that work once",
            theirs.SINGLE_USE,
            "single-use refresh tokens serve for weeks",
            single_use,
        ),
        Row(
            "Micropub 401, the token is revoked",
            theirs.REVOKED,
            "a revoked key is told once and not tried again",
            revoked,
        ),
        Row(
            "Micropub 200",
            theirs.ODD_SUCCESS,
            "an empty 200 is a success",
            partial(odd_success, 200),
        ),
        Row(
            "Micropub 204",
            theirs.ODD_SUCCESS,
            "a 204 is a success",
            partial(odd_success, 204),
        ),
        Row(
            "SIGTERM while a post is under way",
            theirs.SIGTERM,
            "a process that is asked to end finishes its post",
            terminated,
        ),
    )


# The scenarios.


async def fifth_of_errors(posts: int, folder: Path) -> Ours:
    """Let a site answer every fifth post of one round with 500, and be healthy afterwards."""
    async with ready(folder) as world:
        for number in range(posts):
            world.site.then(Answer(500) if number % 5 == 4 else own_answer())
        watch(world, films(posts))
        await a_round(world)
        unsure = (await world.states()).get("unsure", 0)
        result = verdict(world, posts, await settled(world))
        return Ours(f"{unsure} errors; {result.said}", result.holds and unsure == posts // 5)


async def second_of_five(folder: Path) -> Ours:
    """Let a site answer 500 to the second of five posts."""
    async with ready(folder) as world:
        world.site.then(own_answer())
        world.site.then(Answer(500))
        watch(world, films(5))
        return verdict(world, 5, await settled(world))


async def many_at_once(plays: int, folder: Path) -> Ours:
    """Let a player report many plays of the last 25 minutes at once."""
    async with ready(folder) as world:
        start = world.clock()
        world.clock.passes(minutes=29)
        for number, work in enumerate(films(plays)):
            world.trakt.watch(work, at=start + timedelta(minutes=number % 25))
        return verdict(world, plays, await settled(world))


async def backdated(by: timedelta, folder: Path) -> Ours:
    """Add a play with a date of long ago, though of after the bridge was connected."""
    async with ready(folder) as world:
        watch(world, [LIES])
        await settled(world)
        world.clock.passes(days=60)
        # Something newer is known already, so that the date lies behind what was read.
        watch(world, [SECRETS])
        await settled(world)
        world.trakt.watch(DUNE, at=world.clock() - by)
        return verdict(world, 3, await settled(world))


async def at_once(works: Sequence[Work], folder: Path) -> Ours:
    """Watch several works in one minute, and let three more rounds pass."""
    async with ready(folder) as world:
        watch(world, works)
        await settled(world)
        return verdict(world, len(works), await rounds(world, 3))


async def misreported(answer: OneOff, folder: Path) -> Ours:
    """Let a site create a post and answer otherwise, between two that go well."""
    async with ready(folder) as world:
        world.site.then(own_answer())
        world.site.then(answer)
        watch(world, [DUNE, LIES, SECRETS])
        await settled(world)
        return verdict(world, 3, await rounds(world, 3))


async def odd_success(status: int, folder: Path) -> Ours:
    """Let a site take a post with a success that says nothing more; nobody may need to look."""
    async with ready(folder) as world:
        world.site.then(Answer(status, creates=True))
        watch(world, [DUNE])
        await a_round(world)
        believed = await world.states()
        result = verdict(world, 1, await rounds(world, 3))
        return Ours(result.said, result.holds and believed == {"published": 1})


async def killed(folder: Path) -> Ours:
    """Kill a server when the site has created the post and not yet answered."""
    async with running_world(folder, Clock(datetime.now(UTC))) as world:
        held = await under_way(world)
        async with served(world.settings, folder) as server, asyncio.timeout(PATIENCE):
            await held.reached.wait()
            server.process.kill()
            await server.process.wait()
            held.until.set()
        # Later another server finds what the first one left.
        await settled(world)
        return verdict(world, 1, await rounds(world, 3))


async def terminated(folder: Path) -> Ours:
    """Ask a server to end while a site holds back its answer."""
    async with running_world(folder, Clock(datetime.now(UTC))) as world:
        held = await under_way(world)
        async with served(world.settings, folder) as server, asyncio.timeout(PATIENCE):
            await held.reached.wait()
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            is_waiting = not await has_ended(server.process, within=1)
            held.until.set()
            await server.process.wait()
        took = time.monotonic() - began
        states = await world.states()
        said = f"finished the post, then ended after {took:.1f} s"
        is_right = is_waiting and took < 10 and states == {"published": 1}
        return Ours(said if is_right else f"ended after {took:.1f} s with {states}", is_right)


async def never_answers(folder: Path) -> Ours:
    """Let two people watch something twice, and the site of the first never answer."""
    async with running_world(folder, Clock(NOON), allowed_sites="*") as world:
        await world.ready()
        async with neighbour(world) as (other, site):
            hanging, quick = Held(asyncio.Event()), own_answer()
            world.site.then(hanging)
            watch(world, [DUNE])
            world.clock.moment += ROUND
            clockwork = asyncio.create_task(world.scheduler.run())
            async with asyncio.timeout(PATIENCE):
                await hanging.reached.wait()
                site.then(quick)
                watch(world, [LIES])
                world.clock.passes(minutes=2)
                began = time.monotonic()
                await other.visit("/")
                await other.press("Check now")
                await quick.reached.wait()
            took = time.monotonic() - began
            is_hanging = "sending" in await world.states()
            hanging.until.set()
            world.scheduler.stop()
            await clockwork
            await world.scheduler.finish()
        return Ours(f"another's post leaves after {took:.1f} s", is_hanging and took < 10)


async def retry_after(folder: Path) -> Ours:
    """Let Trakt ask for two hours of patience."""
    async with ready(folder) as world:
        world.trakt.then(Status(429, {"Retry-After": "7200"}))
        watch(world, [DUNE])
        asked = len(world.trakt.requests)
        for _ in range(3):
            await a_round(world)
        during = len(world.trakt.requests) - asked - 1
        result = verdict(world, 1, await settled(world))
        said = f"{during} requests in that time; {result.said}"
        return Ours(said, result.holds and during == 0)


async def single_use(folder: Path) -> Ours:
    """Spend six weeks with tokens of seven days and refresh tokens that work once."""
    async with ready(folder) as world:
        for work in films(14):
            world.clock.passes(days=3)
            world.trakt.watch(work)
            await settled(world)
        refreshed = sum(seen.path == "/oauth/token" for seen in world.trakt.requests) - 1
        result = verdict(world, 14, await world.states())
        return Ours(
            f"{refreshed} refreshes in six weeks; {result.said}", result.holds and refreshed >= 6
        )


async def revoked(folder: Path) -> Ours:
    """Take the key back at the site, and sign in again later."""
    async with ready(folder) as world:
        world.site.revoke_tokens()
        watch(world, [DUNE, LIES])
        await rounds(world, 5)
        tried = creates(world)
        await world.browser.visit("/")
        is_told = "ign in again" in world.browser.text
        await world.sign_in_again()
        result = verdict(world, 2, await settled(world))
        said = f"{tried} try in 5 rounds, told on the dashboard; then {result.said}"
        return Ours(said, result.holds and tried == 1 and is_told)


# What they are made of.


@asynccontextmanager
async def ready(folder: Path) -> AsyncIterator[World]:
    """Run a world with a person who has signed in and connected, some time ago."""
    async with running_world(folder, Clock(NOON)) as world:
        await world.ready()
        await a_round(world)
        world.clock.passes(minutes=5)
        yield world


async def under_way(world: World) -> Held:
    """Sign in, connect and watch; return what holds the site's answer, once a server asks."""
    await world.sign_in()
    await world.connect()
    held = Held(asyncio.Event())
    world.site.then(held)
    world.trakt.watch(DUNE)
    return held


@asynccontextmanager
async def neighbour(world: World) -> AsyncIterator[tuple[Browser, SimulatedSite]]:
    """Run the site of somebody else who signs in and connects; both see the same history."""
    listener = listening()
    site = SimulatedSite(origin(listener), now=world.clock)
    async with serving(site.app, [listener]), browser_for(world.app) as client:
        other = Browser(client)
        await other.visit("/")
        await other.press("Sign in", me=site.me)
        await other.press("Approve")
        await other.press("Connect Trakt")
        await other.press("Approve")
        await world.work()
        yield other, site


def own_answer() -> Held:
    """Return the site's own answer, for a place in a row of others."""
    at_once = asyncio.Event()
    at_once.set()
    return Held(at_once)


async def has_ended(process: Process, within: float) -> bool:
    """Tell whether a process ends within so many seconds."""
    try:
        async with asyncio.timeout(within):
            await process.wait()
    except TimeoutError:
        return False
    return True


def watch(world: World, works: Sequence[Work]) -> None:
    """Let a person watch something now."""
    for work in works:
        world.trakt.watch(work)


def films(number: int) -> list[Film]:
    """Return so many films that nobody has seen."""
    return [Film(f"Film {n}", 2000, 50_000 + n, f"film-{n}") for n in range(number)]


async def a_round(world: World) -> None:
    """Let time pass and the bridge work."""
    world.clock.moment += ROUND
    await world.work()


async def rounds(world: World, number: int) -> dict[str, int]:
    """Let several rounds pass, and return where all watches stand."""
    for _ in range(number):
        await a_round(world)
    return await world.states()


async def settled(world: World) -> dict[str, int]:
    """Let rounds pass until no post waits for anything; return where all watches stand."""
    until = world.clock() + LONGEST
    states: dict[str, int] = {}
    while (not states or WAITING & states.keys()) and world.clock() < until:
        await a_round(world)
        states = await world.states()
    return states


def verdict(world: World, watched: int, states: dict[str, int]) -> Ours:
    """Judge by the site: each watch must be there once, and the bridge must know it."""
    posts = Counter(str(post.properties["mp-slug"]) for post in world.site.posts)
    lost, doubled = watched - len(posts), posts.total() - len(posts)
    said = f"{len(posts):,} of {watched:,} posted, {doubled} twice"
    is_known = states.get("published", 0) == watched
    if not is_known:
        said += f"; the bridge believes {states}"
    return Ours(said, lost == 0 and doubled == 0 and is_known)


def creates(world: World) -> int:
    """Return how many posts were sent to the site, whatever became of them."""
    return sum(seen.path == "/micropub" and seen.method == "POST" for seen in world.site.requests)
