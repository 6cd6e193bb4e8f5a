"""What follows for watches and posts from what a source shows today, on both databases."""

from datetime import timedelta

import pytest

from app.database import Database
from app.diff import KINDS, Findings, Known, Read, Target
from app.outbox import State, Why
from app.store import sightings, watches
from app.store.watches import Listed, News
from app.tables import AccountRow, ConnectionRow
from app.watch import Episode, Ids, Movie, Show, Unreadable, Watch
from tests.conftest import NOON

HOUR = timedelta(hours=1)
LATER = NOON + timedelta(days=1)
DUNE = Movie("Dune", 2021, Ids(trakt=481))
DARK = Show("Dark", 2017, Ids(trakt=4))


def a_film(key: int, hours: float) -> Read:
    return Watch("trakt", str(key), NOON + hours * HOUR, DUNE), {"id": key}


def an_episode(key: int) -> Read:
    work = Episode(DARK, 1, key, None, Ids(trakt=100 + key))
    return Watch("trakt", str(key), NOON + key * HOUR, work), {"id": key}


@pytest.fixture
async def store(store: Database) -> Database:
    """A database with one account and its connection."""
    async with store.writing() as session:
        session.add(AccountRow(me="https://ada.example/", created_at=NOON))
        await session.flush()
        session.add(
            ConnectionRow(
                account_id=1, source="trakt", source_user="1", source_name="ada", start_at=NOON
            )
        )
    return store


async def keep(store: Database, *read: Read) -> list[Known]:
    """Keep what was read a day after noon; return all that is known."""
    async with store.writing() as session:
        row = await session.get(ConnectionRow, 1)
        assert row is not None
        fresh = await watches.unseen(session, {1: read})
        await watches.keep(session, [News(row, fresh[1], {})], LATER)
    return await known(store)


async def known(store: Database) -> list[Known]:
    targets = [Target("movies", "481"), Target("shows", "4")]
    async with store.reading() as session:
        return await sightings.known(session, 1, ["9"], targets)


async def settle(store: Database, findings: Findings) -> list[Known]:
    async with store.writing() as session:
        row = await session.get(ConnectionRow, 1)
        assert row is not None
        await sightings.settle(session, row, findings, LATER, LATER + HOUR)
    return await known(store)


async def listed(store: Database) -> list[Listed]:
    async with store.reading() as session:
        return await watches.page(session, 1, 1)


async def test_what_was_asked_for_and_what_was_told_is_found(store: Database) -> None:
    await keep(store, a_film(1, 1), an_episode(2), an_episode(3))

    async with store.reading() as session:
        by_key = await sightings.known(session, 1, ["2", "99"])
        by_show = await sightings.known(session, 1, [], [Target("shows", "4")])
        by_episode = await sightings.known(session, 1, [], [Target("episodes", "103")])
        plays, shows = await sightings.plays(session, 1, KINDS)

    assert [one.key for one in by_key] == ["2"]
    assert [one.key for one in by_show] == ["2", "3"]
    assert [one.key for one in by_episode] == ["3"]
    assert plays.total() == 3
    assert shows == {"episode:102": "4", "episode:103": "4"}


async def test_an_absent_play_is_doubted_and_no_longer_counted(store: Database) -> None:
    (one,) = await keep(store, a_film(1, 1))

    (after,) = await settle(store, Findings(absent=(one,)))

    assert after.confirm_at == LATER + HOUR
    async with store.reading() as session:
        assert await sightings.doubted(session, [1], LATER) == {}
        assert await sightings.doubted(session, [1], LATER + HOUR) == {1: {Target("movies", "481")}}
        assert await sightings.next_doubts(session, [1]) == {1: LATER + HOUR}
        assert (await sightings.plays(session, 1, KINDS))[0].total() == 0
        assert await sightings.count(session, 1, "movies") == 1


@pytest.mark.parametrize(
    ("state", "becomes"),
    [
        (State.QUEUED, State.SKIPPED),
        (State.HELD, State.SKIPPED),
        (State.SENDING, State.SENDING),
        (State.UNSURE, State.UNSURE),
        (State.PUBLISHED, State.PUBLISHED),
    ],
)
async def test_a_gone_play_removes_its_watch_and_unposts_what_never_left(
    store: Database, state: State, becomes: State
) -> None:
    (one,) = await keep(store, a_film(1, 1))
    async with store.writing() as session:
        held = await watches.one(session, 1, 1)
        assert held is not None
        assert held[1] is not None
        held[1].state = state

    (after,) = await settle(store, Findings(gone=(one,)))

    ((watch, post),) = await listed(store)
    assert after.is_gone
    assert watch.removed_at == LATER
    assert post is not None
    assert post.state == becomes
    assert (post.why == Why.REMOVED) is (becomes is State.SKIPPED)


async def test_a_watch_that_another_sighting_tells_of_stays(store: Database) -> None:
    (one,) = await keep(store, a_film(1, 1))
    one, two = await settle(store, Findings(moved=((one, a_film(2, 3)),)))
    assert (one.is_gone, two.is_gone, two.watch_id) == (True, False, one.watch_id)

    await settle(store, Findings(gone=(one,)))
    ((watch, _),) = await listed(store)
    assert watch.removed_at is None
    await settle(store, Findings(gone=(two,)))

    ((watch, post),) = await listed(store)
    assert watch.removed_at == LATER
    assert (watch.key, watch.watched_at) == ("1", NOON + 3 * HOUR)
    assert post is not None
    assert post.watched_at == NOON + 3 * HOUR


async def test_a_removed_watch_that_is_back_is_queued_again(store: Database) -> None:
    (one,) = await keep(store, a_film(1, 1))
    (one,) = await settle(store, Findings(gone=(one,)))

    (after,) = await settle(store, Findings(back=(one,)))

    ((watch, post),) = await listed(store)
    assert after.is_counted
    assert watch.removed_at is None
    assert post is not None
    assert (post.state, post.why, post.trouble) == (State.QUEUED, None, None)


async def test_a_skip_of_the_person_outlives_a_removal(store: Database) -> None:
    (one,) = await keep(store, a_film(1, 1))
    async with store.writing() as session:
        held = await watches.one(session, 1, 1)
        assert held is not None
        assert held[1] is not None
        held[1].state = State.SKIPPED
    (one,) = await settle(store, Findings(gone=(one,)))

    await settle(store, Findings(back=(one,)))

    ((_, post),) = await listed(store)
    assert post is not None
    assert post.state == State.SKIPPED


async def test_a_corrected_date_posts_what_was_archived(store: Database) -> None:
    (one,) = await keep(store, a_film(1, -48))
    ((before, _),) = await listed(store)
    assert before.standing == "archived"

    (after,) = await settle(store, Findings(corrected=((one, a_film(1, 2)),)))

    ((watch, post),) = await listed(store)
    assert after.at == NOON.replace(second=0) + 2 * HOUR
    assert watch.standing == "posted"
    assert post is not None
    assert (post.state, post.watched_at) == (State.QUEUED, NOON + 2 * HOUR)


async def test_a_post_that_left_keeps_its_place_when_the_date_is_corrected(
    store: Database,
) -> None:
    (one,) = await keep(store, a_film(1, 1))
    async with store.writing() as session:
        held = await watches.one(session, 1, 1)
        assert held is not None
        assert held[1] is not None
        held[1].state, held[1].attempts = State.UNSURE, 1

    await settle(store, Findings(corrected=((one, a_film(1, 2)),)))

    ((watch, post),) = await listed(store)
    assert watch.watched_at == NOON + 2 * HOUR
    assert post is not None
    assert (post.state, post.watched_at) == (State.UNSURE, NOON + HOUR)


async def test_what_could_not_be_read_and_now_can_becomes_a_watch(store: Database) -> None:
    await keep(store, (Unreadable("trakt", "9", "it has no movie"), {"id": 9}))
    (one,) = await known(store)
    assert not one.is_readable

    (after,) = await settle(store, Findings(corrected=((one, a_film(9, 1)),)))

    ((watch, post),) = await listed(store)
    assert after.is_readable
    assert after.item == "movie:481"
    assert watch.title == "Dune (2021)"
    assert post is not None
    assert post.state == State.QUEUED
