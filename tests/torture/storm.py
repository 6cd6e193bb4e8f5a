"""The storm: life after life of the bridge, then calm, then the verdict."""

import asyncio
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import typer

from app.demo.site import Habits, SimulatedSite
from app.demo.trakt import SimulatedTrakt
from app.demo.trakt_history import BadDays
from app.demo.trakt_town import SimulatedTraktTown
from app.waits import USUAL
from tests.postgres import postgres_server, told
from tests.torture import books
from tests.torture.bridge import Bridge, nurseries
from tests.torture.clock import SharedClock
from tests.torture.diary import Diary, floored
from tests.torture.fates import Where
from tests.torture.network import Neighbour, Network
from tests.torture.person import Person, a_client
from tests.torture.plans import Beat, Form, Life, birth, life
from tests.torture.verdict import Offence, Verdict, judged, stories
from tests.world import listening, origin, serving

POLL_INTERVAL = timedelta(minutes=30)
# The bridge is still when it has asked nobody anything for so long.
STILL = 0.12  # seconds
LONGEST_REQUEST = 5  # seconds
LONGEST_VISIT = 5  # seconds
LONGEST_START = 60  # seconds
# Whoever opens a gate at last has some hundred posts sent, one by one.
LONGEST_REPOSE = 60  # seconds
TOKEN_LIFE = timedelta(hours=5)
# In these steps time passes after the storm: looks and second opinions come soon, then days.
CALM = (
    *(timedelta(minutes=20),) * 6,
    *(timedelta(hours=3),) * 8,
    *(timedelta(hours=8),) * 5,
    timedelta(days=1),
)

# The sites: all keep what tells our posts apart, or list them, but the last but one.
SITES: tuple[Habits, ...] = (
    Habits(with_refresh_token=True, expires_in=timedelta(hours=9), source_needs_update=True),
    Habits(source_lists_urls=False, largest_page=10),
    Habits(slug_replaces=True, create_status=202, cursor_paging=True),
    Habits(content_only=True),
    Habits(ignores_slug=True, shown_after=timedelta(minutes=9)),
)
READABLE = tuple(not habits.content_only for habits in SITES)
WAITS = {
    "SEND_DEADLINE": "1",
    "SEARCH_DEADLINE": "2",
    "LOOK_DEADLINE": "1.5",
    "TRAKT_DEADLINE": "4",
    "BETWEEN_POSTS": "0",
    "LONGEST_REST": "0.1",
    "SHORTEST_REST": "0.01",
    "SUCCESSION": "0.1",
}


@dataclass(slots=True)
class Storm:
    """Everything there is, and what has happened so far."""

    seed: str
    form: Form
    clock: SharedClock
    bridge: Bridge
    network: Network
    people: list[Person]
    diaries: list[Diary]
    copy: Path
    copied: str = ""
    is_behind: bool = False
    old_beat: datetime | None = None
    happened: Counter[str] = field(default_factory=Counter)
    wrongs: list[str] = field(default_factory=list)

    async def run(self) -> Verdict:
        """Let it rage, calm down, and judge."""
        for number in range(1, self.form.births + 1):
            await self.live(birth(self.seed, number))
        await self.settle_in()
        for number in range(1, self.form.most_lives + 1):
            if self.bridge.kills >= self.form.kills and self.has_posted_enough():
                break
            await self.live(life(self.seed, number, self.form))
            self.tell(number)
        else:
            self.wrongs.append(f"{self.form.most_lives} lives were not enough")
        await self.calm()
        verdict = judged(self.bridge.database, self.worlds)
        return replace(verdict, offences=(*verdict.offences, *self.needless_questions()))

    def needless_questions(self) -> list[Offence]:
        """Return what people were asked although their sites list their posts."""
        return [
            Offence(person.site.me, "its person was asked, and it lists its posts", (play,))
            for person, is_readable in zip(self.people, READABLE, strict=True)
            for play in person.asked
            if is_readable
        ]

    @property
    def worlds(self) -> list[tuple[Diary, SimulatedSite]]:
        """Return each person's viewings with their site."""
        return [(diary, one.site) for diary, one in zip(self.diaries, self.people, strict=True)]

    def has_posted_enough(self) -> bool:
        """Tell whether the sites hold as many posts as this form wants."""
        return sum(len(one.site.posts) for one in self.people) >= self.form.posts

    def tell(self, number: int) -> None:
        """Say now and then how far it is."""
        if number % 50 == 0:
            posts = sum(len(one.site.posts) for one in self.people)
            typer.echo(f"life {number}: {self.bridge.kills} kills, {posts} posts")

    async def settle_in(self) -> None:
        """Let everybody sign in, connect and post a first film, with nothing in the way.

        A list without any post of ours proves nothing, so there is one before the storm.
        """
        self.network.begin(())
        await self.bridge.begin(None, is_patient=True)
        for person, diary in zip(self.people, self.diaries, strict=True):
            diary.start = floored(self.clock.world())
            await person.arrive()
        self.clock.passes(timedelta(minutes=2))
        for person, diary in zip(self.people, self.diaries, strict=True):
            diary.watch(diary.film(), self.clock.world())
            await person.check_now()
            await self.has_posted(person)
        self.clock.passes(timedelta(minutes=12))

    async def has_posted(self, person: Person) -> None:
        """Return when there is a post on somebody's site."""
        async with asyncio.timeout(LONGEST_START):
            while not person.site.posts:
                await self.network.quiet(STILL, LONGEST_START)

    async def live(self, plan: Life) -> None:
        """Live through one life, from before its start to its end."""
        await self.finish(plan)
        await self.prepare(plan)
        history = self.diaries[plan.under_it].trakt.history
        history.bad_days = plan.weather
        self.network.begin(plan.meetings)
        await self.bridge.begin(plan.death)
        await self.meanwhile(self.healthy(), LONGEST_START)
        await self.meanwhile(self.people[plan.visits].look_after_it())
        for beat in plan.beats:
            await self.beat(beat)
        self.clock.goes_wrong_by(timedelta())
        history.bad_days = BadDays()
        await self.finish(plan)

    async def prepare(self, plan: Life) -> None:
        """Do what is done while the bridge is down."""
        if plan.takes_copy:
            self.take_copy()
        if plan.puts_copy_back and self.copied:
            await self.put_copy_back()
        elif self.is_behind:
            self.catch_up()
        if plan.downtime:
            self.happened["downtime"] += 1
            await self.pass_by(plan.downtime)
        # Who was killed could not give the scheduler's lease back.
        self.clock.passes(USUAL.scheduler_lease)
        if self.is_behind:
            self.grow_old()
        await self.network.arrive()

    def take_copy(self) -> None:
        """Keep a copy of the database, and remember what it knows."""
        self.copied = books.keep_copy(self.bridge.database, self.copy)
        known, self.is_behind = plays_in(self.copied), False
        for diary in self.diaries:
            diary.known = known

    def catch_up(self) -> None:
        """See what the database knows since an old copy was put back; at last it knows all."""
        known = plays_in(self.bridge.database)
        for diary in self.diaries:
            diary.known = None if diary.is_known_by(known) else known
        self.is_behind = any(diary.known for diary in self.diaries)

    async def put_copy_back(self) -> None:
        """Put the old copy back, after a while in which no site gets or hides anything more."""
        await self.network.arrive(all_of_them=True)
        self.clock.passes(3 * POLL_INTERVAL)
        books.put_back(self.bridge.database, self.copied)
        self.old_beat = books.last_heartbeat(self.bridge.database)
        self.copied = ""
        self.happened["old copy"] += 1
        self.is_behind = True
        for person in self.people:
            self.network.keys.refused((Where.SITE_TOKEN, person.name))
            self.network.keys.refused((Where.TRAKT_TOKEN, person.name))

    def grow_old(self) -> None:
        """Let time pass until the last heartbeat of an old copy is no recent one.

        A wrong clock's may, and then nobody can know the copy for what it is (docs/promises.md).
        """
        old = self.old_beat
        if old is None or books.last_heartbeat(self.bridge.database) != old:
            return
        recent = 2 * POLL_INTERVAL + timedelta(seconds=LONGEST_START)
        while abs(old - self.clock.bridge()) <= recent:
            self.clock.passes(POLL_INTERVAL)

    async def beat(self, beat: Beat) -> None:
        """Do some deeds, let time pass, and let the bridge do what comes of it."""
        if not self.bridge.lives:
            return
        now = self.clock.world()
        for act in beat.acts:
            self.diaries[act.who].do(act.deed, act.pick, now)
        if beat.wrong != timedelta():
            self.happened["clock jump"] += 1
            await self.network.arrive(all_of_them=True)
        # Days do not pass in the middle of a request; who sleeps then finds it broken.
        await self.meanwhile(self.network.quiet(0, LONGEST_REQUEST))
        self.clock.goes_wrong_by(beat.wrong)
        await self.pass_by(beat.step)
        if beat.checks is not None:
            await self.meanwhile(self.people[beat.checks].check_now())
        await self.meanwhile(self.settle())

    async def pass_by(self, span: timedelta) -> None:
        """Let time pass; what comes to a site late comes at its time, and not at the end."""
        end = self.clock.world() + span
        for at in (*self.network.late_until(end), end):
            self.clock.passes(max(at - self.clock.world(), timedelta()))
            await self.network.arrive()

    async def settle(self) -> None:
        """Return when the bridge is still and has taken all that is due, or has had its time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.form.longest_beat):
                await self.network.quiet(STILL, LONGEST_REQUEST)
                while is_due(self.bridge.database, self.clock.bridge()):
                    await self.network.quiet(STILL, LONGEST_REQUEST)

    async def finish(self, plan: Life) -> None:
        """End a life that is not over yet, as its plan says; none ends without a cause."""
        if self.bridge.lives and plan.is_asked_to_end:
            await self.ask_to_end(f"life {plan.number}")
        if self.bridge.lives:
            await self.network.spared()
        code = await self.bridge.kill()
        if code == -signal.SIGKILL:
            self.network.keys.died()
        elif code not in {0, -signal.SIGTERM}:
            self.wrongs.append(f"life {plan.number}: the bridge ended by itself, with {code}")

    async def ask_to_end(self, when: str) -> None:
        """Ask the bridge to end, as a platform does; it must do so in time."""
        self.happened["asked to end"] += 1
        try:
            await self.bridge.ask_to_end()
        except TimeoutError:
            self.wrongs.append(f"{when}: it did not end within 10 s of SIGTERM")

    async def healthy(self) -> None:
        """Return when the bridge answers."""
        client = self.people[0].client
        answer = await client.get(f"{self.bridge.url}/healthz", timeout=LONGEST_START)
        if answer.status_code != 200:
            self.wrongs.append(f"/healthz answered {answer.status_code}")

    async def meanwhile(self, work: Coroutine[Any, Any, None], most: float = LONGEST_VISIT) -> None:
        """Do ``work`` unless the bridge dies; what a dying bridge spoils is done another time."""
        task = asyncio.create_task(work)
        either: set[asyncio.Future[Any]] = {task, self.bridge.ended}
        await asyncio.wait(either, timeout=most, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
        try:
            await task
        except (asyncio.CancelledError, httpx2.HTTPError, AssertionError) as error:
            self.happened[f"spoilt: {type(error).__name__}"] += 1

    async def calm(self) -> None:
        """Let days pass without any fault, until nothing is left to do."""
        await self.network.arrive(all_of_them=True)
        # What the last life had begun is nobody's when its leases have run out.
        self.clock.passes(timedelta(minutes=20))
        self.network.begin(())
        # No neighbour hesitates now; who is slow is slow because this machine is busy.
        await self.bridge.begin(None, is_patient=True)
        await self.healthy()
        for number, step in enumerate(CALM):
            if number % 3 == 0:
                for person in self.people:
                    await person.look_after_it()
            await self.repose()
            self.clock.passes(step)
            await self.network.arrive()
        for person in self.people:
            await person.look_after_it()
        await self.repose()
        await self.ask_to_end("the calm")

    async def repose(self) -> None:
        """Return when the bridge has nothing to do that is due now."""
        ends = asyncio.get_running_loop().time() + LONGEST_REPOSE
        while asyncio.get_running_loop().time() < ends:
            await self.network.quiet(STILL, self.form.longest_beat)
            now, database = self.clock.world(), self.bridge.database
            if not is_at_work(database, now) and not is_due(database, now):
                return


AT_WORK = """
    SELECT 1 FROM connection WHERE polling_until IS NOT NULL AND locked IS NULL
        OR archive_page IS NOT NULL AND locked IS NULL AND archive_failures = 0
    UNION SELECT 1 FROM post WHERE state = 'sending'
    UNION SELECT 1 FROM site WHERE looking_until IS NOT NULL
    UNION SELECT 1 FROM post JOIN site ON site.account_id = post.account_id
        WHERE post.state = 'queued' AND post.due_at <= '{now:%Y-%m-%d %H:%M:%S.%f}+00'
        AND site.gate_at IS NULL AND site.locked IS NULL AND site.paused IS NULL
        AND (site.next_send_at IS NULL OR site.next_send_at <= '{now:%Y-%m-%d %H:%M:%S.%f}+00')
"""


# What nobody has taken yet: it is taken at the next look for work, of whoever looks next.
DUE = """
    SELECT 1 FROM connection WHERE locked IS NULL AND polling_until IS NULL
        AND next_poll_at <= '{now:%Y-%m-%d %H:%M:%S.%f}+00'
    UNION SELECT 1 FROM site WHERE locked IS NULL AND looking_until IS NULL
        AND look_due_at <= '{now:%Y-%m-%d %H:%M:%S.%f}+00'
        AND (resume_at IS NULL OR resume_at <= '{now:%Y-%m-%d %H:%M:%S.%f}+00')
    UNION SELECT 1 FROM post JOIN site ON site.account_id = post.account_id
        WHERE post.state = 'queued' AND post.due_at <= '{now:%Y-%m-%d %H:%M:%S.%f}+00'
        AND site.gate_at IS NULL AND site.locked IS NULL AND site.paused IS NULL
        AND (site.resume_at IS NULL OR site.resume_at <= '{now:%Y-%m-%d %H:%M:%S.%f}+00')
        AND (site.next_send_at IS NULL OR site.next_send_at <= '{now:%Y-%m-%d %H:%M:%S.%f}+00')
"""


def is_due(database: str, now: datetime) -> bool:
    """Tell whether there is something to do that nobody has taken yet."""
    return books.is_there(database, DUE.format(now=now))


def is_at_work(database: str, now: datetime) -> bool:
    """Tell whether the bridge has a turn under way, or a post to send."""
    return bool(books.rows(database, AT_WORK.format(now=now)))


def plays_in(database: str) -> set[int]:
    """Return the ids of all plays that a database knows."""
    return {int(row[0]) for row in books.rows(database, "SELECT key FROM sighting")}


@asynccontextmanager
async def gathered(folder: Path, url: str, seed: str, form: Form) -> AsyncIterator[Storm]:
    """Yield a storm that is about to begin."""
    clock = SharedClock(folder / "clock")
    async with AsyncExitStack() as stack:
        listeners = [listening() for _ in range(2 + len(SITES))]
        api, auth, *homes = (origin(listener) for listener in listeners)
        bridge = await stack.enter_async_context(
            nurseries(folder, environment(url, api=api, auth=auth), form)
        )
        town = a_town(clock, bridge)
        names = [f"person{number}" for number in range(len(SITES))]
        network = Network(clock, bridge.database, bridge.strike, town)
        sites = [
            SimulatedSite(home, now=clock.world, habits=habits)
            for home, habits in zip(homes, SITES, strict=True)
        ]
        neighbours = [Neighbour(town.api), Neighbour(town.auth)]
        neighbours += [Neighbour(site.app, name) for site, name in zip(sites, names, strict=True)]
        ports = [listener.getsockname()[1] for listener in listeners]
        network.neighbours = dict(zip(ports, neighbours, strict=True))
        await stack.enter_async_context(serving(network, listeners))
        people = [
            Person(
                name,
                site,
                bridge.url,
                auth,
                network.keys,
                partial(network.arrive, all_of_them=True),
                a_client(clock.passes),
            )
            for name, site in zip(names, sites, strict=True)
        ]
        for person in people:
            stack.push_async_callback(person.client.aclose)
        diaries = [Diary(a_trakt(town, name)) for name in names]
        for diary, number in zip(diaries, form.old_plays, strict=True):
            diary.fill(number, clock.world())
        yield Storm(seed, form, clock, bridge, network, people, diaries, folder / "copy.db")


def a_town(clock: SharedClock, bridge: Bridge) -> SimulatedTraktTown:
    """Return the Trakt of all people."""
    return SimulatedTraktTown(
        client_id="client",
        redirect_uri=f"{bridge.url}/trakt/callback",
        now=clock.world,
        gets_per_5_min=1_000_000,
    )


def a_trakt(town: SimulatedTraktTown, name: str) -> SimulatedTrakt:
    """Return the Trakt of one person, whose tokens live for hours."""
    trakt = town.person(name)
    trakt.tokens.lifetime = TOKEN_LIFE
    return trakt


def environment(url: str, *, api: str, auth: str) -> Mapping[str, str]:
    """Return the settings of the bridge."""
    return {
        "SECRET_KEY": "a secret key that only the torture knows",
        "DATABASE_URL": url,
        "TRAKT_CLIENT_ID": "client",
        "TRAKT_API_URL": api,
        "TRAKT_AUTH_URL": auth,
        "TRAKT_GETS_PER_5_MIN": "1000000",
        "POLL_INTERVAL": str(int(POLL_INTERVAL.total_seconds())),
        "ALLOWED_SITES": "*",
        "ALLOW_PRIVATE_NETWORKS": "127.0.0.0/8",
        **{f"WAITS__{name}": value for name, value in WAITS.items()},
    }


async def torture(seed: str, form: Form) -> bool:
    """Run one storm, say what came of it, and return whether all was well.

    The folder of a storm that went wrong is kept.
    """
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="ownyourtrakt-torture-"))
    with database_in(folder, form.database) as url:
        async with gathered(folder, url, seed, form) as storm:
            verdict = await storm.run()
        wrongs = [*storm.wrongs, *unexplained(storm)]
        for line in [*stories(url, verdict), *wrongs]:
            typer.echo(line)
    is_well = not verdict.offences and not wrongs
    if is_well:
        remove(folder)
    else:
        typer.echo(f"the bridge's database and log are kept in {folder}")
    seconds = time.monotonic() - began
    typer.echo(f"seconds={seconds:.0f} of_workers={storm.bridge.kills_of_workers}")
    typer.echo(summary(storm, verdict))
    return is_well


@contextmanager
def database_in(folder: Path, kind: str) -> Iterator[str]:
    """Yield the URL of an empty database, which on PostgreSQL is gone after the storm."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'bridge.db'}"
        return
    with postgres_server() as server:
        told(server, f"CREATE DATABASE {books.BRIDGE}")
        yield str(server.get_uri(database=books.BRIDGE))


def unexplained(storm: Storm) -> list[str]:
    """Return what people were told where a key was wanted although none can have been lost."""
    return [
        f"{one.site.me}: no key can have been lost, and yet: {said}"
        for one in storm.people
        for said in one.unexplained
    ]


def summary(storm: Storm, verdict: Verdict) -> str:
    """Return the last line."""
    faults = storm.network.met.total() + sum(
        storm.happened[name] for name in ("downtime", "old copy", "clock jump")
    )
    plays = sum(len(diary.viewings) for diary in storm.diaries)
    reconnects = sum(person.reconnects for person in storm.people)
    asked = sum(len(person.asked) for person in storm.people)
    return (
        f"torture: seed={storm.seed} kills={storm.bridge.kills} faults={faults} plays={plays} "
        f"posts={verdict.posts} reconnects={reconnects} asked={asked} lost={verdict.lost} "
        f"doubled={verdict.doubled}"
    )


def remove(folder: Path) -> None:
    """Remove the folder of a storm and what the storm made in it."""
    for left in folder.iterdir():
        left.unlink()
    folder.rmdir()
