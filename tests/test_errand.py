"""``poll --due``: all that is due is done without a process that stays, and nothing is skipped."""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.cli.poll import summary
from app.demo.catalogue import DUNE, LIES, SECRETS, SPECIAL, Work
from app.demo.site import Habits
from app.scheduler import Errand
from app.scheduler import Work as Running
from app.settings import Settings
from app.store import lease
from tests.polling import asked, change, settled
from tests.test_adopt import new_process
from tests.test_look import open_notices, site, watched
from tests.world import BRIDGE, SECRET_KEY, Clock, World, running_world

ROOT = Path(__file__).parents[1]
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DONE = Errand(0, 0, 0, 0, 0, None, is_done=True)


def environment(settings: Settings, **values: str) -> dict[str, str]:
    """What another process needs to work beside the bridge of a world."""
    return {
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT),
        "SECRET_KEY": SECRET_KEY,
        "BASE_URL": BRIDGE,
        "DATABASE_URL": settings.database_url.replace("+aiosqlite", "").replace("+psycopg", ""),
        "TRAKT_CLIENT_ID": "client",
        "TRAKT_API_URL": settings.trakt_api_url,
        "TRAKT_AUTH_URL": settings.trakt_auth_url,
        "ALLOW_PRIVATE_NETWORKS": "127.0.0.0/8",
        "WAITS__BETWEEN_POSTS": "0",
        **values,
    }


class Going(Clock):
    """A clock that goes on by itself, as in life."""

    def __call__(self) -> datetime:
        return self.moment + timedelta(seconds=time.monotonic())


async def started(world: World, folder: Path, *words: str, **values: str) -> Process:
    """Run it, on a database that no other process schedules any more."""
    await world.scheduler.step_down()
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "poll", *words,
        cwd=folder,
        env=environment(world.settings, **values),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )  # fmt: skip


async def sleeping(world: World) -> None:
    """Somebody has a post on their site, and then no process works for a night."""
    await world.ready()
    await watched(world, SPECIAL)
    world.clock.passes(hours=9)
    new_process(world)


async def test_it_polls_and_posts_what_was_watched_while_nobody_was_awake(tmp_path: Path) -> None:
    clock = Clock(datetime.now(UTC) - timedelta(hours=20))
    async with running_world(tmp_path, clock) as world:
        await sleeping(world)
        clock.moment = datetime.now(UTC)
        works: tuple[Work, ...] = (DUNE, LIES, SECRETS)
        for n, work in enumerate(works):
            world.trakt.watch(work, at=clock() - timedelta(hours=3 - n))

        process = await started(world, tmp_path, "--due", "--json")
        said, log = await process.communicate()

        assert process.returncode == 0, log.decode()
        done = json.loads(said)
        assert (done["polls"], done["posts"], done["is_done"]) == (1, 3, True)
        assert datetime.fromisoformat(done["next_due_at"]) > clock()
        assert len(world.site.posts) == 4
        assert await world.states() == {"published": 4}


async def test_where_nothing_is_due_it_asks_nobody(tmp_path: Path) -> None:
    clock = Clock(datetime.now(UTC))
    async with running_world(tmp_path, clock) as world:
        await world.ready()
        so_far = len(world.trakt.requests)

        process = await started(world, tmp_path, "--due")
        said, log = await process.communicate()

        assert process.returncode == 0, log.decode()
        assert said.decode().startswith("Nothing was due; the next thing is due in ")
        assert len(world.trakt.requests) == so_far


async def test_without_due_it_checks_everybody(tmp_path: Path) -> None:
    clock = Clock(datetime.now(UTC))
    async with running_world(tmp_path, clock) as world:
        await world.ready()
        world.trakt.watch(DUNE)

        process = await started(world, tmp_path)
        said, log = await process.communicate()

        assert process.returncode == 0, log.decode()
        assert said.decode().startswith("1 look at Trakt, ")
        assert len(world.site.posts) == 1


async def test_asked_to_end_it_ends_and_says_that_more_is_due(tmp_path: Path) -> None:
    clock = Clock(datetime.now(UTC))
    async with running_world(tmp_path, clock) as world:
        await world.ready()
        await change(world, next_poll_at=clock())
        # It waits for what is due soon, and here that is for ever.
        process = await started(world, tmp_path, "--due", POLL_INTERVAL="1", WAITS__LINGER="86400")
        assert process.stderr
        async with asyncio.timeout(60):
            while b"polled" not in await process.stderr.readline():
                assert not process.stderr.at_eof()
        process.send_signal(signal.SIGTERM)
        said, _ = await process.communicate()

        assert process.returncode == 0
        assert "more is due, the next run goes on" in said.decode()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY is missing"),
        ({"NOTIFY_URLS": "nonsense://x"}, "NOTIFY_URLS"),
        ({"DATABASE_URL": "sqlite:////dev/null/bridge.db"}, "cannot be used"),
    ],
    ids=["setting", "notify", "database"],
)
async def test_what_cannot_work_is_told_in_one_line_and_by_the_exit_code(
    world: World, tmp_path: Path, values: dict[str, str], named: str
) -> None:
    process = await started(world, tmp_path, "--due", **values)
    said, complaint = await process.communicate()

    assert process.returncode == 2
    assert said == b""
    (line,) = complaint.decode().splitlines()
    assert named in line


async def test_two_at_once_do_nothing_twice(world: World) -> None:
    await sleeping(world)
    world.trakt.watch(DUNE)
    beside = replace(
        world.scheduler,
        name="beside",
        renewed_at=None,
        polls=Running(),
        posts=Running(),
        looks=Running(),
    )
    so_far = len(world.trakt.requests)

    await asyncio.gather(world.scheduler.errand(), beside.errand())

    assert len(world.site.posts) == 2
    assert asked(world, so_far).count("/sync/last_activities") == 1


async def test_where_another_process_schedules_all_is_left_to_it(tmp_path: Path) -> None:
    clock = Going(datetime.now(UTC))
    async with running_world(tmp_path, clock, waits={"scheduler_lease": 1}) as world:
        await world.ready()
        await change(world, next_poll_at=clock())
        beside = replace(world.scheduler, name="beside", renewed_at=None)
        clockwork = asyncio.create_task(world.scheduler.run())

        done = await beside.errand()

        assert (done.is_left_to_another, done.is_done) == (True, False)
        world.scheduler.stop()
        await clockwork


async def test_the_lease_of_a_process_that_was_killed_is_waited_for(tmp_path: Path) -> None:
    clock = Going(datetime.now(UTC))
    length = timedelta(seconds=0.5)
    async with running_world(
        tmp_path, clock, waits={"scheduler_lease": 0.5, "succession": 0.1}
    ) as world:
        async with world.bridge.database.writing() as session:
            await lease.take(session, "killed", clock(), length)

        done = await world.scheduler.errand()

        assert done.is_done


async def test_by_cron_every_half_hour_each_run_finds_its_poll_due(world: World) -> None:
    await settled(world)

    for _ in range(4):
        world.clock.passes(minutes=30)
        new_process(world)
        before = world.scheduler.polls.begun
        await world.scheduler.errand()
        assert world.scheduler.polls.begun == before + 1


async def test_by_cron_every_half_hour_no_gate_is_shut_and_no_silence_shown(world: World) -> None:
    await settled(world)

    for _ in range(4):
        world.clock.passes(minutes=35)
        new_process(world)
        await world.scheduler.errand()

        assert (await site(world)).gate_at is None
    await world.browser.visit("/")
    assert "did not work for" not in world.browser.text


async def test_a_wait_that_trakt_asked_for_is_kept(world: World) -> None:
    await settled(world)
    later = world.clock() + timedelta(minutes=4)
    await change(world, next_poll_at=later, resume_at=later)
    before = world.scheduler.polls.begun

    await world.scheduler.errand()

    assert world.scheduler.polls.begun == before


async def test_posts_leave_at_their_pace_and_all_in_one_run(tmp_path: Path, clock: Clock) -> None:
    async with running_world(tmp_path, Going(clock()), waits={"between_posts": 0.2}) as world:
        await settled(world)
        works: tuple[Work, ...] = (DUNE, SECRETS, SPECIAL)
        for work in works:
            world.trakt.watch(work)
        world.clock.passes(minutes=34)

        done = await world.scheduler.errand()

        assert done.posts == 3
        assert len(world.site.posts) == 3


async def test_a_question_that_what_was_read_raises_is_asked_in_the_same_run(
    tmp_path: Path, clock: Clock
) -> None:
    async with running_world(tmp_path, clock, Habits(content_only=True)) as world:
        await sleeping(world)
        world.trakt.watch(DUNE)

        await world.scheduler.errand()

        assert [notice.kind for notice in await open_notices(world)] == ["gate"]


async def test_a_run_that_takes_too_long_leaves_the_rest_to_the_next(
    tmp_path: Path, clock: Clock
) -> None:
    async with running_world(tmp_path, clock, waits={"longest_errand": 0}) as world:
        done = await world.scheduler.errand()

        assert not done.is_done


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (DONE, "Nothing was due; nothing is to come."),
        (
            replace(DONE, polls=1, posts=2, next_due_at=NOW + timedelta(minutes=30)),
            "1 look at Trakt, 2 posts sent; the next thing is due in 30 minutes.",
        ),
        (
            replace(DONE, archive_pages=3, looks=1, messages=1, next_due_at=NOW),
            (
                "3 pages of older history, 1 look at a site, 1 round of messages; "
                "the next thing is due in 0 minutes."
            ),
        ),
        (
            replace(DONE, polls=2, next_due_at=NOW + timedelta(minutes=1)),
            "2 looks at Trakt; the next thing is due in 1 minute.",
        ),
        (
            replace(DONE, polls=7, is_done=False),
            "7 looks at Trakt; more is due, the next run goes on.",
        ),
        (
            replace(DONE, is_done=False, is_left_to_another=True),
            "Another process is at work on this database; what is due is left to it.",
        ),
        (replace(DONE, is_done=False), "Nothing was begun; more is due, the next run goes on."),
    ],
)
def test_the_summary_is_one_line(done: Errand, said: str) -> None:
    assert summary(done, NOW) == said
