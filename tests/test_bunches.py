"""Many plays of one show that become known at once: the person is asked once, for all of them."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from app.database import Database
from app.demo.catalogue import DARK, DUNE, OFFICE, EpisodeOf, Show
from app.demo.trakt_door import CLOUDFLARE_504
from app.diff import Findings
from app.notices import Kind
from app.outbox import State, Why
from app.store import bunches, notices, posts, sightings, watches
from app.store.watches import News
from app.tables import AccountRow, ConnectionRow, NoticeRow, PostRow, SiteRow
from app.watch import Episode, Ids, Watch
from app.watch import Show as Series
from tests.conftest import NOON
from tests.polling import poll, settled
from tests.postgres import waiting_or_done
from tests.world import World

LATER = NOON + timedelta(days=1)


def of(show: Show, number: int, season: int = 1) -> list[EpisodeOf]:
    first = show.trakt * 1000 + season * 100
    return [EpisodeOf(show, season, 1 + n, None, first + n) for n in range(number)]


async def open_notices(world: World) -> list[NoticeRow]:
    async with world.bridge.database.reading() as session:
        return await notices.open_ones(session, 1)


async def test_more_than_thirty_plays_of_one_show_wait_for_one_answer(world: World) -> None:
    await settled(world)
    for episode in of(DARK, 34):
        world.trakt.watch(episode)
    world.trakt.watch(DUNE)

    await poll(world)

    assert (await world.states()) == {"archived": 1, "held": 34, "published": 1}
    (notice,) = await open_notices(world)
    assert (notice.kind, notice.subject) == (Kind.BUNCH, str(DARK.trakt))
    assert notice.said.startswith("34 plays of Dark became known at once. That is more than 30")
    assert len(world.site.posts) == 1


async def test_thirty_plays_of_each_of_two_shows_are_posted_without_a_question(
    world: World,
) -> None:
    await settled(world)
    for episode in [*of(DARK, 30), *of(OFFICE, 30)]:
        world.trakt.watch(episode)

    await poll(world)

    assert (await world.states())["published"] == 60
    assert await open_notices(world) == []


async def test_plays_on_the_newest_page_and_older_ones_are_counted_together(
    world: World,
) -> None:
    await settled(world)
    await poll(world, days=30)
    world.trakt.watch(DUNE)
    await poll(world)
    # One half is a month old, so only the comparison finds it.
    for number, episode in enumerate(of(DARK, 40)):
        at = world.clock() - timedelta(hours=number, days=20 if number < 20 else 0)
        world.trakt.watch(episode, at=at)

    await poll(world)

    assert (await world.states())["held"] == 40
    assert len(world.site.posts) == 1


async def test_what_became_known_in_a_turn_that_failed_counts_too(world: World) -> None:
    await settled(world)
    for episode in of(DARK, 20):
        world.trakt.watch(episode)
    world.trakt.then(*[CLOUDFLARE_504] * 5, at="/sync/watched/shows")
    # Its site takes nothing meanwhile, so that what is queued stays so.
    async with world.bridge.database.writing() as session:
        site = await session.get(SiteRow, 1)
        assert site is not None
        site.resume_at = world.clock() + timedelta(days=1)
    for _ in range(4):
        await poll(world, hours=1)
    assert "queued" not in await world.states()
    await poll(world, hours=1)
    assert (await world.states())["queued"] == 20

    for episode in of(DARK, 20, season=2):
        world.trakt.watch(episode)
    await poll(world, hours=1)

    assert (await world.states())["held"] == 40
    (notice,) = await open_notices(world)
    assert notice.said.startswith("40 plays of Dark")


async def test_a_later_play_of_that_show_is_not_held(world: World) -> None:
    await settled(world)
    for episode in of(DARK, 31):
        world.trakt.watch(episode)
    await poll(world)

    world.trakt.watch(of(DARK, 1, season=3)[0])
    await poll(world)

    assert (await world.states()) == {"archived": 1, "held": 31, "published": 1}


async def test_a_question_about_nothing_any_more_ends(world: World) -> None:
    await settled(world)
    plays = [world.trakt.watch(episode) for episode in of(DARK, 31)]
    await poll(world)
    # Few enough at a time to be believed.
    for part in (plays[:16], plays[16:]):
        world.trakt.history.remove(part)
        await poll(world)
        await poll(world, hours=1, minutes=1)

    assert (await world.states())["skipped"] == 31
    assert await open_notices(world) == []


# --- The answers, on both databases ---


def a_play(number: int) -> Watch:
    work = Episode(Series("Dark", 2017, Ids(trakt=4)), 1, number, None, Ids(trakt=100 + number))
    return Watch("trakt", str(number), NOON + timedelta(minutes=number), work)


async def fill(store: Database, number: int = 33) -> None:
    """A connection that has just told ``number`` plays of one show at once."""
    read = [(a_play(n), {"id": n}) for n in range(1, number + 1)]
    async with store.writing() as session:
        me = "https://ada.example/"
        session.add(AccountRow(me=me, created_at=NOON))
        await session.flush()
        row = ConnectionRow(
            account_id=1, source="trakt", source_user="1", source_name="ada", start_at=NOON
        )
        site = SiteRow(account_id=1, micropub=me, authorization_endpoint=me, token_endpoint=me)
        session.add_all([row, site])
        await session.flush()
        now = NOON + timedelta(hours=2)
        together = await bunches.gather(session, row, None, read, now)
        await watches.keep(session, [News(row, read, together)], now)


async def question(store: Database) -> NoticeRow:
    async with store.reading() as session:
        (notice,) = await notices.open_ones(session, 1)
    return notice


async def test_the_posts_of_a_bunch_are_held_and_listed_oldest_first(store: Database) -> None:
    await fill(store)

    notice = await question(store)
    async with store.reading() as session:
        found = await bunches.members(session, notice)

    assert [watch.key for watch, _ in found] == [str(n) for n in range(1, 34)]
    assert {(post.state, post.why) for _, post in found if post} == {(State.HELD, Why.BUNCH)}


@pytest.mark.parametrize(
    ("chosen", "posted"),
    [("all", 33), ("none", 0), ("some", 2)],
)
async def test_the_answer_decides_over_each_of_them_and_ends_the_question(
    store: Database, chosen: str, posted: int
) -> None:
    await fill(store)
    key, now = (await question(store)).id or 0, NOON + timedelta(days=1)

    async with store.writing() as session:
        notice = await notices.one(session, 1, key)
        assert notice is not None
        match chosen:
            case "all":
                assert await bunches.post_all(session, notice, now) == 33
            case "none":
                await bunches.keep_all(session, notice, now)
            case _:
                # The last one is nobody's: a form may say anything.
                assert await bunches.post_some(session, notice, [1, 2, 999], now) == 2

    async with store.reading() as session:
        states = await watches.states(session, 1)
        told = await watches.events(session, 1)
        assert await notices.open_ones(session, 1) == []
        post = await session.get(PostRow, 1)
    assert states == {
        name: n for name, n in {"queued": posted, "skipped": 33 - posted}.items() if n
    }
    assert ("to post it" if posted else "unposted") in told[-1].said
    if posted:
        assert post is not None
        assert (post.due_at, post.why, post.notice_id) == (now, Why.WANTED, None)


async def test_what_was_kept_unposted_stays_so_when_its_date_is_corrected(
    store: Database,
) -> None:
    await fill(store)
    async with store.writing() as session:
        notice = await notices.one(session, 1, 1)
        assert notice is not None
        await bunches.keep_all(session, notice, NOON + timedelta(days=1))
    async with store.reading() as session:
        (known,) = await sightings.known(session, 1, ["1"])
    item = a_play(1)
    corrected = replace(item, watched_at=NOON + timedelta(hours=1))

    async with store.writing() as session:
        row = await session.get(ConnectionRow, 1)
        assert row is not None
        findings = Findings(corrected=((known, (corrected, {"id": 1})),))
        await sightings.settle(session, row, findings, LATER, LATER)

    async with store.reading() as session:
        ((watch, post),) = await watches.page(session, 1, 1, text="S01E01")
    assert watch.watched_at == corrected.watched_at
    assert post is not None
    assert post.state == State.SKIPPED


async def test_an_answer_for_all_and_one_for_a_single_watch_never_wait_for_each_other(
    on_postgres: Database,
) -> None:
    store = on_postgres
    await fill(store)

    async def keep_all() -> None:
        async with store.writing() as session:
            await posts.hold_sites(session, [1])
            notice = await notices.one(session, 1, 1)
            assert notice is not None
            await bunches.keep_all(session, notice, LATER)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group, store.writing() as session:
        # As a button does it.
        await posts.hold_sites(session, [1])
        answering = group.create_task(keep_all())
        await waiting_or_done(store, answering)
        post = await session.get(PostRow, 1)
        assert post is not None
        post.state, post.why = State.QUEUED, None
    async with store.reading() as session:
        assert await watches.states(session, 1) == {"queued": 1, "skipped": 32}
