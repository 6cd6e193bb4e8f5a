"""What a site holds already: adopted on a new database, waited for on an old copy of one."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from app.demo.catalogue import DUNE, LIES, SECRETS, SPECIAL, Work
from app.demo.site import Answer, Habits
from app.demo.trakt_door import CLOUDFLARE_504
from app.demo.trakt_history import stamp
from app.indieweb.source import PAGE
from app.lookup import BEGINNING
from app.notices import Kind
from app.store import gates, looks, starts
from app.tables import FoundRow, PostRow, SiteRow
from tests.test_look import later, newest, open_notices, posts, site, states, watched
from tests.world import Clock, World, running_world

DAY = timedelta(days=1)
# A site on which nobody finds anything for now.
MUTE = Habits(lists_nothing=True, feed_page_size=1, shown_after=timedelta(days=9))


def theirs(world: World, work: Work, at: datetime, play: int) -> dict[str, list[object]]:
    """A post as the old program made it."""
    cite = {"name": ["Dune"], "url": [page_of(work)], "trakt-watch-id": [play]}
    return {
        "summary": ["Just watched: Dune"],
        "published": [stamp(at)],
        "watch-of": [{"type": ["h-cite"], "properties": cite}],
    }


def page_of(work: Work) -> str:
    slug = getattr(work, "slug", None)
    return f"https://trakt.tv/movies/{slug}"


def new_process(world: World) -> None:
    """The next thing the scheduler does is what a new process does."""
    world.scheduler.tended_at = None


def copy(world: World, to: Path) -> None:
    source = sqlite3.connect(database_file(world))
    with sqlite3.connect(to) as target:
        source.backup(target)
    target.close()
    source.close()


async def put_back(world: World, old: Path) -> None:
    """Replace the database by an old copy of it, as a person would, with the bridge stopped."""
    await world.bridge.database.close()
    replace_file(database_file(world), old)
    new_process(world)


def replace_file(current: Path, old: Path) -> None:
    for suffix in ("-wal", "-shm"):
        current.with_name(current.name + suffix).unlink(missing_ok=True)
    current.write_bytes(old.read_bytes())


def database_file(world: World) -> Path:
    return Path(world.settings.database_url.partition(":///")[2])


@asynccontextmanager
async def restored(
    folder: Path, clock: Clock, habits: Habits | None = None
) -> AsyncIterator[World]:
    """A world whose database is a day older than what is on the site: DUNE was posted since."""
    async with running_world(folder, clock, habits) as world:
        await world.ready()
        await watched(world, LIES)
        await later(world, minutes=5)
        copy(world, folder / "copy.db")
        await watched(world, DUNE)
        assert len(world.site.posts) == 2
        clock.passes(days=1)
        await put_back(world, folder / "copy.db")
        yield world


async def test_an_old_copy_of_the_database_posts_nothing_twice(
    tmp_path: Path, clock: Clock
) -> None:
    async with restored(tmp_path, clock) as world:
        world.trakt.watch(SPECIAL)

        await later(world, hours=2)

        assert states(await posts(world)) == ["published"] * 3
        assert len(world.site.posts) == 3
        assert (await site(world)).gate_at is None


async def test_an_old_copy_whose_last_heartbeat_a_wrong_clock_told_posts_nothing_twice(
    tmp_path: Path, clock: Clock
) -> None:
    async with running_world(tmp_path, clock) as world:
        await world.ready()
        await watched(world, LIES)
        clock.passes(days=2)
        await world.work()
        copy(world, tmp_path / "copy.db")
        clock.passes(days=-2)
        new_process(world)
        await watched(world, DUNE)
        clock.passes(hours=8)
        await put_back(world, tmp_path / "copy.db")

        await later(world, hours=2)

        assert states(await posts(world)) == ["published"] * 2
        assert len(world.site.posts) == 2
        assert (await site(world)).gate_at is None


async def test_behind_a_gate_only_what_is_surely_new_leaves(tmp_path: Path, clock: Clock) -> None:
    async with restored(tmp_path, clock) as world:
        for _ in range(2):
            world.site.then(Answer(503), at="GET /micropub?q=source")
        await world.work()
        assert states(await posts(world)) == ["queued", "published"]

        clock.passes(minutes=2)
        world.trakt.watch(SPECIAL)
        await world.check_now()

        assert states(await posts(world)) == ["published", "queued", "published"]
        assert len(world.site.posts) == 3


async def test_a_site_that_cannot_be_listed_is_asked_about_once_for_all(
    tmp_path: Path, clock: Clock
) -> None:
    async with restored(tmp_path, clock, Habits(content_only=True)) as world:
        world.trakt.watch(SECRETS, clock() - timedelta(hours=3))

        await later(world, hours=3)

        assert len(world.site.posts) == 2
        (asked,) = await open_notices(world)
        assert asked.kind == Kind.GATE
        assert "One post waits" in asked.said
        async with world.bridge.database.writing() as session:
            assert await gates.answer(session, 1, clock(), there=False) == 1
        await world.work()
        assert len(world.site.posts) == 3
        assert await open_notices(world) == []


def fail(world: World, at: str, times: int) -> None:
    """Let the site fail so often where it is asked there."""
    for _ in range(times):
        world.site.then(Answer(503), at=at)


async def test_nobody_is_asked_while_a_list_that_was_there_before_fails_for_some_hours(
    tmp_path: Path, clock: Clock
) -> None:
    async with restored(tmp_path, clock) as world:
        fail(world, "GET /micropub?q=source", 8)
        fail(world, "GET /", 8)

        await later(world, hours=1)
        assert (await site(world)).gate_at is not None
        assert await open_notices(world) == []

        for _ in range(4):
            await later(world, hours=1)
        assert states(await posts(world)) == ["published"] * 2
        assert len(world.site.posts) == 2
        assert (await site(world)).gate_at is None


async def test_whoever_has_a_list_that_fails_for_a_day_is_asked_all_the_same(
    tmp_path: Path, clock: Clock
) -> None:
    async with restored(tmp_path, clock) as world:
        fail(world, "GET /micropub?q=source", 1000)
        fail(world, "GET /", 1000)

        for _ in range(30):
            await later(world, hours=1)

        (asked,) = await open_notices(world)
        assert asked.kind == Kind.GATE


async def test_an_end_of_a_list_that_was_seen_once_opens_no_gate(
    tmp_path: Path, clock: Clock
) -> None:
    async with running_world(tmp_path, clock, Habits(largest_page=1)) as world:
        await world.ready()
        backdated = clock() + timedelta(minutes=2)
        await watched(world, LIES)
        copy(world, tmp_path / "copy.db")
        world.trakt.watch(DUNE, backdated)
        await world.check_now()
        clock.passes(days=1)
        await put_back(world, tmp_path / "copy.db")
        nothing = Answer(200, {"Content-Type": "application/json"}, '{"items": []}')
        world.site.then(nothing, at=f"GET /micropub?q=source&limit={PAGE}&offset=1")

        await later(world, hours=2)

        assert states(await posts(world)) == ["published"] * 2
        assert len(world.site.posts) == 2


@pytest.mark.parametrize("is_in_copy", [True, False])
async def test_what_a_wrong_clock_posted_before_its_date_is_not_posted_again_from_an_old_copy(
    tmp_path: Path, clock: Clock, *, is_in_copy: bool
) -> None:
    async with running_world(tmp_path, clock, Habits(content_only=True)) as world:
        await world.ready()
        if not is_in_copy:
            copy(world, tmp_path / "copy.db")
        world.trakt.watch(DUNE, clock() + timedelta(hours=12))
        await world.check_now()
        if is_in_copy:
            copy(world, tmp_path / "copy.db")
        await posted_ahead_of_time(world)
        clock.passes(hours=4)
        await put_back(world, tmp_path / "copy.db")

        await later(world, hours=4)
        (asked,) = await open_notices(world)
        assert "One post waits" in asked.said

        await later(world, hours=12)
        assert states(await posts(world)) == ["queued"]
        assert len(world.site.posts) == 1


async def test_what_becomes_known_after_its_date_only_waits_behind_the_gate_as_well(
    tmp_path: Path, clock: Clock
) -> None:
    async with running_world(tmp_path, clock, Habits(content_only=True)) as world:
        await world.ready()
        copy(world, tmp_path / "copy.db")
        world.trakt.watch(DUNE, clock() + timedelta(hours=12))
        await world.check_now()
        await posted_ahead_of_time(world)
        clock.passes(hours=11)
        await put_back(world, tmp_path / "copy.db")
        world.trakt.then(*[CLOUDFLARE_504] * 12, at="/sync/last_activities")
        await later(world, hours=2)
        assert await posts(world) == []

        for _ in range(4):
            await later(world, hours=6)

        assert states(await posts(world)) == ["queued"]
        assert len(world.site.posts) == 1
        (asked,) = await open_notices(world)
        assert "One post waits" in asked.said


async def posted_ahead_of_time(world: World) -> None:
    """Let a bridge whose clock is a day ahead of its site's post what is due then."""
    true = world.clock()
    world.site.shelf.now = world.site.micropub.now = lambda: true
    world.clock.passes(days=1)
    await world.work()
    assert len(world.site.posts) == 1
    world.clock.passes(days=-1)
    world.site.shelf.now = world.site.micropub.now = world.clock


@asynccontextmanager
async def told_alike(
    folder: Path, clock: Clock, first: float, second: float
) -> AsyncIterator[World]:
    """A world with an old copy, whose site keeps only text and shows the first of two viewings.

    ``first`` and ``second``: so many minutes before the post came there each was.
    """
    async with running_world(folder, clock, Habits(content_only=True)) as world:
        await world.ready()
        await watched(world, LIES)
        copy(world, folder / "copy.db")
        clock.passes(hours=2)
        arrived = clock()
        world.trakt.watch(DUNE, arrived - timedelta(minutes=first))
        await world.check_now()
        clock.passes(days=1)
        await put_back(world, folder / "copy.db")
        world.trakt.watch(DUNE, arrived - timedelta(minutes=second))
        await later(world, hours=3)
        assert len(world.site.posts) == 2
        yield world


@pytest.mark.parametrize(("first", "second"), [(20, 90), (20, 0)], ids=["later", "in its minute"])
async def test_a_text_that_two_viewings_may_have_is_given_to_neither(
    tmp_path: Path, clock: Clock, first: float, second: float
) -> None:
    async with told_alike(tmp_path, clock, first, second) as world:
        assert states(await posts(world)) == ["queued", "queued", "published"]
        (asked,) = await open_notices(world)
        assert "2 posts wait" in asked.said


async def test_a_post_whose_address_came_after_a_look_had_seen_it_is_given_to_no_other_viewing(
    tmp_path: Path, clock: Clock
) -> None:
    async with running_world(tmp_path, clock, Habits(content_only=True)) as world:
        await world.ready()
        at = clock()
        await watched(world, DUNE)
        async with world.bridge.database.writing() as session:
            assert await looks.ask_for(session, 1, clock(), whole=True)
        await later(world, minutes=5)
        async with world.bridge.database.writing() as session:
            (row,) = (await session.scalars(select(FoundRow))).all()
            row.post_id = None

        world.trakt.watch(DUNE, at)
        await later(world, hours=1)

        assert len(world.site.posts) == 2
        assert len({post.url for post in await posts(world)}) == 2


async def test_a_post_whose_answer_was_lost_is_given_to_no_other_viewing(
    tmp_path: Path, clock: Clock
) -> None:
    async with running_world(tmp_path, clock, Habits(content_only=True)) as world:
        await world.ready()
        at = clock() + timedelta(minutes=5)
        await watched(world, DUNE)
        async with world.bridge.database.writing() as session:
            assert await looks.ask_for(session, 1, clock(), whole=True)
        await world.work()
        await seen_while_it_was_sent(world)

        world.trakt.watch(DUNE, at)
        await world.check_now()
        await later(world, hours=1)

        assert [one.url for one in world.site.posts[1:]] == [
            post.url for post in await posts(world) if post.state == "published"
        ]


async def test_a_post_of_what_an_old_copy_has_not_sent_is_given_to_no_viewing_that_it_has(
    tmp_path: Path, clock: Clock
) -> None:
    async with running_world(tmp_path, clock, Habits(content_only=True)) as world:
        await world.ready()
        await watched(world, DUNE)
        world.trakt.watch(DUNE)
        await watched(world, DUNE)
        world.site.delete(world.site.posts[1].url)
        await forgotten(world, world.site.posts[1].url, world.site.posts[2].url)

        await later(world, hours=1)

        assert states(await posts(world)) == ["skipped", "unsure", "published"]


async def forgotten(world: World, lost: str, other: str) -> None:
    """Let the first of two posts be in doubt, and the other one never have been sent."""
    async with world.bridge.database.writing() as session:
        for row in (await session.scalars(select(FoundRow))).all():
            row.post_id = None
        for post in (await session.scalars(select(PostRow))).all():
            if post.url == other:
                post.state, post.body, post.attempts, post.sent_at = "skipped", None, 0, None
            if post.url == lost:
                post.state = "unsure"
            if post.url in {lost, other}:
                post.url = None
        assert await looks.ask_for(session, 1, world.clock(), whole=True)


async def seen_while_it_was_sent(world: World) -> None:
    """Let the only post be as if a look had seen it before its answer was lost."""
    async with world.bridge.database.writing() as session:
        (row,) = (await session.scalars(select(FoundRow))).all()
        (post,) = (await session.scalars(select(PostRow))).all()
        row.post_id, post.url, post.state = None, None, "unsure"


async def test_a_text_that_may_be_of_a_viewing_already_decided_over_is_not_given_to_another(
    tmp_path: Path, clock: Clock
) -> None:
    async with told_alike(tmp_path, clock, 20, 20) as world:
        (other, _), *_ = await world.watches()
        await world.browser.visit(f"/watches/{other.id}")
        await world.browser.press("Do not post it")
        async with world.bridge.database.writing() as session:
            assert await looks.ask_for(session, 1, clock(), whole=True)
        await later(world, hours=2)
        assert sorted(states(await posts(world))) == ["published", "queued", "skipped"]

        async with world.bridge.database.writing() as session:
            assert await gates.answer(session, 1, clock(), there=False) == 1
        await later(world, hours=1)

        assert len(world.site.posts) == 3


async def test_nobody_is_asked_and_no_gate_opens_before_trakt_was_read_since(
    tmp_path: Path, clock: Clock
) -> None:
    async with restored(tmp_path, clock, MUTE) as world:
        world.trakt.then(*[CLOUDFLARE_504] * 3, at="/sync/last_activities")
        await world.work()
        async with world.bridge.database.writing() as session:
            row = await session.get(SiteRow, 1)
            assert row is not None
            # What the site showed so far has let all leave that is younger than this.
            row.gate_reached = BEGINNING

        clock.passes(minutes=1)
        await world.work()

        assert await open_notices(world) == []
        assert (await site(world)).gate_at is not None


async def test_a_gate_shut_again_asks_again_once_trakt_was_read(
    tmp_path: Path, clock: Clock
) -> None:
    async with restored(tmp_path, clock, MUTE) as world:
        await later(world, hours=3)
        assert await open_notices(world) != []

        clock.passes(hours=5)
        world.trakt.then(*[CLOUDFLARE_504] * 2, at="/sync/last_activities")
        new_process(world)
        await world.work()
        assert await open_notices(world) == []

        await later(world, hours=3)
        assert [one.kind for one in await open_notices(world)] == [Kind.GATE]


async def test_what_a_person_says_is_there_is_not_sent(tmp_path: Path, clock: Clock) -> None:
    async with restored(tmp_path, clock, MUTE) as world:
        await later(world, hours=3)
        (asked,) = await open_notices(world)
        assert asked.kind == Kind.GATE

        async with world.bridge.database.writing() as session:
            await gates.answer(session, 1, clock(), there=True)
        await world.work()

        assert states(await posts(world)) == ["published"] * 2
        assert len(world.site.posts) == 2


async def test_a_short_sleep_shuts_no_gate(world: World) -> None:
    await world.ready()
    world.clock.passes(minutes=59)
    new_process(world)

    await world.work()

    assert (await site(world)).gate_at is None


async def test_a_new_process_on_a_new_database_shuts_no_gate(world: World) -> None:
    await world.sign_in()

    await world.work()

    assert (await site(world)).gate_at is None


async def test_a_gate_that_keeps_nothing_back_opens_without_a_question(
    tmp_path: Path, clock: Clock, world_url: str
) -> None:
    async with running_world(
        tmp_path, clock, Habits(has_no_source=True), database_url=world_url
    ) as world:
        await world.ready()
        clock.passes(hours=5)
        new_process(world)

        await later(world, hours=3)

        assert (await site(world)).gate_at is None
        assert await open_notices(world) == []


async def test_after_the_first_sign_in_the_site_is_read(world: World) -> None:
    world.site.publish_before({"content": ["Hello"], "published": ["2020-01-01T00:00:00Z"]})

    await world.sign_in()
    await world.work()

    found = await site(world)
    assert found.adopted_at == world.clock()
    assert found.shows == "list"


async def test_old_watches_that_the_site_shows_are_recognised(world: World) -> None:
    at = world.clock() - 30 * DAY
    play = world.trakt.watch(DUNE, at)
    url = world.site.publish_before(theirs(world, DUNE, at, play))

    await world.ready()

    ((watch, post),) = await world.watches()
    assert post is not None
    assert (post.state, post.url) == ("published", url)
    assert watch.standing == "posted"
    assert len(world.site.posts) == 1


async def test_a_plain_link_with_the_minute_is_recognised(world: World) -> None:
    at = (world.clock() - 30 * DAY).replace(second=0)
    world.trakt.watch(DUNE, at)
    plain = {"watch-of": [page_of(DUNE)], "published": [at.astimezone(UTC).isoformat()]}
    url = world.site.publish_before(plain)

    await world.ready()

    assert (await newest(world)).url == url


async def test_a_post_of_another_viewing_is_not_taken_for_it(world: World) -> None:
    first = world.trakt.watch(DUNE, world.clock() - 30 * DAY)
    world.trakt.watch(DUNE, world.clock() - 3 * DAY)
    world.site.publish_before(theirs(world, DUNE, world.clock() - 30 * DAY, first))

    await world.ready()

    (second, _), (_, old) = await world.watches()
    assert second.standing == "archived"
    assert old is not None


@pytest.mark.parametrize("since", [True, False])
async def test_a_lost_database_may_start_where_the_old_one_left_off(
    tmp_path: Path, clock: Clock, world_url: str, *, since: bool
) -> None:
    async with running_world(tmp_path, clock, database_url=world_url) as world:
        last = world.trakt.watch(DUNE, clock() - 2 * DAY)
        world.site.publish_before(theirs(world, DUNE, clock() - 2 * DAY, last))
        world.trakt.watch(LIES, clock() - 3 * DAY)
        world.trakt.watch(SPECIAL, clock() - DAY)
        await world.ready()
        assert len(world.site.posts) == 1
        (asked,) = await open_notices(world)
        assert asked.kind == Kind.START

        async with world.bridge.database.writing() as session:
            await starts.answer(session, 1, clock(), since=since)
        await world.work()

        assert len(world.site.posts) == (2 if since else 1)
        assert await open_notices(world) == []


async def test_a_database_that_has_posted_is_not_asked_where_to_start(world: World) -> None:
    await world.ready()
    await watched(world, DUNE)

    async with world.bridge.database.writing() as session:
        assert await looks.ask_for(session, 1, world.clock(), whole=True)
    await world.work()

    assert await open_notices(world) == []


async def test_a_look_that_is_cut_short_goes_on_where_it_stopped(
    tmp_path: Path, clock: Clock, world_url: str
) -> None:
    async with running_world(
        tmp_path, clock, Habits(largest_page=10), database_url=world_url
    ) as world:
        for day in range(35):
            at = clock() - day * DAY
            world.site.publish_before({"content": ["Hi"], "published": [at.isoformat()]})
        for answer in (Answer(503),):
            world.site.then(answer, at="GET /micropub?q=source&limit=100&offset=20")
        await world.sign_in()
        await world.work()
        assert (await site(world)).adopted_at is None

        await later(world, minutes=10)

        queries = [one.query for one in world.site.requests if "q=source" in one.query]
        assert queries.count("q=source&limit=100") == 1
        assert (await site(world)).adopted_at is not None


async def test_a_post_under_way_is_left_to_its_own_answer(world: World) -> None:
    await world.ready()
    await watched(world, LIES)
    async with world.bridge.database.writing() as session:
        row = await session.get(PostRow, 1)
        assert row is not None
        row.state, row.url = "sending", None
        row.due_at = world.clock() + DAY
        assert await looks.ask_for(session, 1, world.clock(), whole=True)

    await world.work()

    assert (await newest(world)).state == "sending"


async def test_an_account_s_gate_is_its_own(world: World) -> None:
    await world.ready()
    async with world.bridge.database.writing() as session:
        await gates.shut(session, world.clock() - DAY, world.clock())
        found = await session.get(SiteRow, 1)
        assert found is not None
        assert await gates.answer(session, 2, world.clock(), there=True) == 0
        assert found.gate_at is not None
