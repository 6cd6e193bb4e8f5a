"""Nothing missed: what differs between Trakt and us is found, for few requests, and believed
only when it is certain.
"""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.demo.catalogue import CATALOGUE, DARK, DUNE, LIES, EpisodeOf, Film
from app.demo.trakt_door import CLOUDFLARE_504, Slow, Status
from app.demo.trakt_history import BadDays
from app.diff import (
    Findings,
    Judged,
    Known,
    Minute,
    Plan,
    Play,
    Read,
    Sides,
    Target,
    Watched,
    by_key,
    distance,
    item_of,
    judge,
    minute,
    oddities,
    reconcile,
    scope,
    target_of,
)
from app.notices import Kind
from app.outbox import Why
from app.store import connections, notices, sightings, watches
from app.tables import ConnectionRow, NoticeRow, PostRow, WatchRow
from app.watch import Ids, Movie, Stamps, Watch
from tests.conftest import NOON
from tests.polling import asked, change, poll, settled
from tests.world import World

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
# In no other test's history.
NOSFERATU = Film("Nosferatu", 1922, 500, "nosferatu-1922")
IDLE = ["/sync/last_activities"]


def films(number: int) -> list[Film]:
    return [Film(f"Film {n}", 1950, 9000 + n, f"film-{n}") for n in range(number)]


def episodes(number: int) -> list[EpisodeOf]:
    return [EpisodeOf(DARK, 1 + n // 20, 1 + n % 20, None, 7000 + n) for n in range(number)]


async def one(world: World, title: str) -> tuple[WatchRow, PostRow | None]:
    (found,) = [row for row in await world.watches() if title in row[0].title]
    return found


async def told(world: World, title: str) -> str:
    """All that the page of a watch tells of it."""
    row, _ = await one(world, title)
    async with world.bridge.database.reading() as session:
        return " ".join(event.said for event in await watches.events(session, row.id or 0))


async def open_notices(world: World) -> list[NoticeRow]:
    async with world.bridge.database.reading() as session:
        return await notices.open_ones(session, 1)


async def check(world: World) -> list[str]:
    """Compare everything, as by the button; return what was asked for."""
    async with world.bridge.database.writing() as session:
        assert await connections.check_all(session, 1, world.clock()) == world.clock()
    return await poll(world, seconds=1)


# --- Additions ---


@pytest.mark.parametrize(
    ("at", "becomes"),
    [(timedelta(days=400), "archived"), ("unknown", "undated"), (timedelta(), "published")],
    ids=["old", "undated", "since the start"],
)
async def test_a_play_added_with_an_old_date_is_found_in_a_handful_of_requests(
    world: World, at: timedelta | Literal["unknown"], becomes: str
) -> None:
    world.trakt.fill(300)
    await settled(world)
    start = world.clock()
    await poll(world, days=30)

    world.trakt.watch(NOSFERATU, at=start - at if isinstance(at, timedelta) else at)
    requests = await poll(world)

    row, post = await one(world, "Nosferatu")
    assert (post.state if post else row.standing) == becomes
    # Stamps, newest page, one map, and the film itself where it is not on that page.
    assert len(requests) <= 4
    assert await poll(world) == IDLE


async def test_a_backdated_series_of_500_episodes_costs_at_most_seven_requests(
    world: World,
) -> None:
    await settled(world)
    await poll(world, days=30)
    for number, episode in enumerate(episodes(500)):
        world.trakt.watch(episode, at=NOON - timedelta(days=1000, hours=number))

    requests = await poll(world)

    # Stamps, newest page, one map, and the show's history: two full pages and an empty one.
    assert len(requests) <= 7
    assert (await world.states())["archived"] == 501
    assert await poll(world) == IDLE


async def test_many_unknown_films_are_read_page_by_page_and_all_are_found(world: World) -> None:
    await settled(world)
    for number, film in enumerate(films(300)):
        world.trakt.watch(film, at=NOON - timedelta(days=400, hours=number))

    requests = await poll(world)

    assert (await world.states())["archived"] == 301
    # Two pages, not 300 films.
    assert len(requests) <= 12
    assert not (await world.connection()).oddities
    assert await poll(world) == IDLE


async def test_what_was_removed_while_the_archive_was_read_leaves_no_hole(world: World) -> None:
    world.trakt.fill(700, films(700))
    await world.sign_in()
    await world.connect()
    await world.scheduler.start_due()
    await asyncio.wait({*world.scheduler.polls, *world.scheduler.archives})
    # One page is read; all that comes after it moves up by forty.
    world.trakt.history.remove([play.id for play in world.trakt.plays[:40]])

    await world.work()

    known = {row.key for row, _ in await world.watches()}
    assert {str(play.id) for play in world.trakt.plays} <= known


# --- Corrected dates ---


@pytest.mark.parametrize("days", [0, 30], ids=["this week", "long ago"])
async def test_a_date_that_was_corrected_by_removing_and_adding_keeps_its_post(
    world: World, days: int
) -> None:
    await settled(world)
    play = world.trakt.watch(DUNE)
    await poll(world)
    (post,) = world.site.posts
    await poll(world, days=days, minutes=34)

    new = world.trakt.redate(play, at=world.clock() - timedelta(days=days, minutes=50))
    await poll(world)
    await poll(world, hours=2)

    row, mine = await one(world, "Dune")
    assert mine is not None
    assert (row.key, mine.state, mine.url) == (str(play), "published", post.url)
    assert row.watched_at == world.trakt.history.play(new).watched_at
    assert len(world.site.posts) == 1
    assert "Trakt now dates it" in await told(world, "Dune")
    async with world.bridge.database.reading() as session:
        seen = await watches.sightings(session, row.id or 0)
    assert {sighting.key: sighting.gone_at is None for sighting in seen} == {
        str(play): False,
        str(new): True,
    }


async def test_a_date_corrected_to_this_week_keeps_its_post_while_the_map_lags(
    world: World,
) -> None:
    await settled(world)
    play = world.trakt.watch(DUNE)
    await poll(world)
    await poll(world, days=30)

    world.trakt.redate(play, at=world.clock())
    world.trakt.history.bad_days = BadDays(stale_maps=2)
    await poll(world)
    world.trakt.history.bad_days = BadDays()
    await poll(world, hours=2)

    _, mine = await one(world, "Dune")
    assert mine is not None
    assert [mine.url] == [post.url for post in world.site.posts]


@pytest.mark.parametrize("first", ["told before the map", "removed before it is added"])
async def test_a_play_in_doubt_keeps_its_post_whatever_else_is_watched_meanwhile(
    world: World, first: str
) -> None:
    await settled(world)
    play = world.trakt.watch(DUNE)
    await poll(world)
    await poll(world, days=30)

    world.trakt.history.remove([play])
    if first == "told before the map":
        world.trakt.watch(DUNE)
        world.trakt.history.bad_days = BadDays(stale_maps=2)
    await poll(world)
    world.trakt.history.bad_days = BadDays()
    world.trakt.watch(NOSFERATU if first == "told before the map" else DUNE)
    await poll(world)
    await poll(world, hours=2)

    _, mine = await one(world, "Dune")
    assert mine is not None
    assert mine.url == world.site.posts[0].url
    assert len(world.site.posts) == (2 if first == "told before the map" else 1)


async def test_a_corrected_date_told_beside_another_episode_keeps_its_post_while_the_map_lags(
    world: World,
) -> None:
    await settled(world)
    first, second = episodes(2)
    play = world.trakt.watch(first)
    await poll(world)
    await poll(world, days=60)

    # The map shows the other one, for which the whole show is asked.
    world.trakt.watch(second, at=world.clock() - 30 * DAY)
    world.trakt.redate(play, at=world.clock() - 40 * DAY)
    world.trakt.history.bad_days = BadDays(stale_maps=2)
    await poll(world)
    world.trakt.history.bad_days = BadDays()
    await poll(world, hours=2)

    assert len(world.site.posts) == 2
    assert (await world.states()) == {"archived": 1, "published": 2}


async def test_a_date_corrected_in_the_middle_of_a_turn_keeps_its_post(world: World) -> None:
    await settled(world)
    await poll(world, days=60)
    play = world.trakt.watch(DUNE)
    await poll(world)
    world.trakt.watch(NOSFERATU)
    world.clock.passes(minutes=34)
    slow = Slow()
    world.trakt.then(slow, at="/sync/watched/movies")

    turn = asyncio.create_task(world.work())
    await slow.arrived.wait()
    # The newest page has told of the old one, and the map tells of the new one.
    world.trakt.redate(play, at=world.clock() - 30 * DAY)
    slow.release.set()
    await turn
    await poll(world)
    await poll(world, hours=2)

    _, mine = await one(world, "Dune")
    assert mine is not None
    assert mine.url in [post.url for post in world.site.posts]
    assert len(world.site.posts) == 2


async def test_a_date_corrected_while_the_archive_is_read_keeps_its_post(world: World) -> None:
    await settled(world)
    play = world.trakt.watch(DUNE)
    await poll(world)
    await poll(world, days=60)

    new = world.trakt.redate(play, at=world.clock() - 30 * DAY)
    async with world.bridge.database.writing() as session:
        (row,) = await connections.of_account(session, 1)
        connections.read_anew(row, world.clock())
    await poll(world)
    await poll(world, hours=2)

    row_, mine = await one(world, "Dune")
    assert mine is not None
    assert [mine.url] == [post.url for post in world.site.posts]
    assert row_.watched_at == world.trakt.history.play(new).watched_at


async def test_a_viewing_again_costs_no_request_more_where_the_map_keeps_up(
    world: World,
) -> None:
    await settled(world)
    world.trakt.watch(DUNE)
    await poll(world)
    world.trakt.watch(DUNE, at=world.clock() + HOUR)

    assert "/sync/history/movies/" not in " ".join(await poll(world, hours=2))


async def test_a_date_that_was_corrected_in_place_keeps_its_post(world: World) -> None:
    await settled(world)
    play = world.trakt.watch(DUNE)
    await poll(world)
    await poll(world, days=30)

    world.trakt.correct(play, NOON + timedelta(days=3))
    await poll(world)

    row, post = await one(world, "Dune")
    assert row.watched_at == (NOON + timedelta(days=3)).replace(second=0)
    assert post is not None
    assert post.state == "published"
    assert len(world.site.posts) == 1


async def test_an_archived_watch_whose_date_turns_out_to_be_newer_is_posted(world: World) -> None:
    play = world.trakt.watch(DUNE, at=NOON - timedelta(days=300))
    await settled(world)
    await poll(world, days=30)

    world.trakt.correct(play, NOON + timedelta(days=3))
    await poll(world)

    assert world.site.posts[0].properties["published"] == ["2026-11-23T13:00:00+01:00"]


async def test_a_post_that_waits_for_its_date_waits_for_the_corrected_one(world: World) -> None:
    await settled(world)
    play = world.trakt.watch(DUNE, at=world.clock() + timedelta(days=30))
    await poll(world)

    world.trakt.correct(play, world.clock() + timedelta(days=3))
    await poll(world)
    _, post = await one(world, "Dune")
    assert post is not None
    assert post.state == "held"
    await poll(world, days=3)

    assert len(world.site.posts) == 1


async def test_many_corrected_dates_are_never_taken_for_new_viewings(world: World) -> None:
    await settled(world)
    plays = [world.trakt.watch(film) for film in films(60)]
    await poll(world)
    assert len(world.site.posts) == 60
    await poll(world, days=30)

    for play in plays:
        world.trakt.redate(play, at=world.clock() - timedelta(hours=2))
    await poll(world)
    await poll(world, hours=2)

    assert len(world.site.posts) == 60
    assert len(await world.watches()) == 61
    assert await open_notices(world) == []


# --- Several in one minute, merged titles, odd maps ---


async def test_several_plays_in_one_minute_stay_several(world: World) -> None:
    await settled(world)
    plays = [world.trakt.watch(NOSFERATU, at=NOON - timedelta(days=400)) for _ in range(3)]
    await poll(world)
    assert (await world.states())["archived"] == 4

    world.trakt.remove(plays[0])
    await poll(world)
    await poll(world, hours=1, minutes=1)

    removed = {row.key for row, _ in await world.watches() if row.removed_at}
    assert removed == {str(plays[0])}


async def test_titles_that_trakt_merged_leave_every_watch_as_it_is(world: World) -> None:
    world.trakt.watch(NOSFERATU, at=NOON - timedelta(days=400))
    await settled(world)
    twin = replace(NOSFERATU, trakt=501, slug="nosferatu-1922-2")
    world.trakt.merge(NOSFERATU, twin)

    await check(world)
    await poll(world, hours=2)

    assert (await one(world, "Nosferatu"))[0].removed_at is None
    assert (await world.states()) == {"archived": 2}
    async with world.bridge.database.reading() as session:
        row, _ = await one(world, "Nosferatu")
        (sighting,) = await watches.sightings(session, row.id or 0)
    assert sighting.item == "movie:501"


async def test_a_map_that_lags_behind_is_asked_about_once(world: World) -> None:
    await settled(world)
    play = world.trakt.watch(NOSFERATU, at=NOON - timedelta(days=400))
    await poll(world)
    world.trakt.remove(play)
    await poll(world)
    world.trakt.history.bad_days = BadDays(stale_maps=1)
    # The removal is confirmed, while the map goes on to show the play.
    await poll(world, hours=1, minutes=1)
    await check(world)
    assert "movie:500" in ((await world.connection()).oddities or {})
    world.trakt.watch(NOSFERATU)

    requests = await poll(world)

    assert "/sync/history/movies/500" not in requests
    assert (await world.states())["published"] == 1


async def test_an_unreadable_item_is_read_by_itself_when_trakt_mends_it(world: World) -> None:
    await settled(world)
    play = {"id": 99, "watched_at": "2026-11-20T12:34:00.000Z"}
    world.trakt.add_raw({**play, "type": "movie"})
    await poll(world)
    assert (await world.states())["unreadable"] == 1
    world.trakt.history.remove([])
    film = {"title": "Dune", "ids": {"trakt": 1}}
    for row in list(world.trakt.history.by_id.values()):
        if row.item().get("id") == 99:
            object.__setattr__(row, "raw", {**play, "type": "movie", "movie": film})

    await check(world)

    assert await world.states() == {"archived": 1, "published": 1}


# --- Removals ---


async def test_a_removal_is_believed_when_it_was_seen_twice_an_hour_apart(world: World) -> None:
    await settled(world)
    play = world.trakt.watch(DUNE)
    await poll(world)
    world.trakt.remove(play)
    assert "/sync/history/movies/287071" in await poll(world)
    assert (await one(world, "Dune"))[0].removed_at is None

    # Idle polls in between ask nothing; the second look comes by itself, at its time.
    assert await poll(world, minutes=34) == IDLE
    requests = await poll(world, minutes=27)

    assert requests == [*IDLE, "/sync/history/movies/287071"]
    row, post = await one(world, "Dune")
    assert row.removed_at == world.clock()
    assert post is not None
    assert post.state == "published"
    assert len(world.site.posts) == 1
    assert "asked twice" in await told(world, "Dune")
    assert await poll(world) == IDLE


async def test_what_is_shown_again_before_the_second_look_was_never_gone(world: World) -> None:
    world.trakt.watch(DUNE, at=NOON - timedelta(days=400))
    await settled(world)
    world.trakt.hide(DUNE)
    await check(world)

    world.trakt.unhide(DUNE)
    await poll(world, hours=1, minutes=1)
    await check(world)

    assert (await one(world, "Dune"))[0].removed_at is None
    assert (await world.connection()).check_found == {
        "added": 0,
        "removed": 0,
        "moved": 0,
        "missing": 0,
        "trakt": {"movies": 1, "episodes": 1},
        "ours": {"movies": 1, "episodes": 1},
        "goes_on": False,
    }


async def test_a_watch_that_is_removed_before_it_was_sent_is_never_posted(world: World) -> None:
    await settled(world)
    world.trakt.watch(DUNE, at=world.clock() + timedelta(days=30))
    await poll(world)
    world.trakt.hide(DUNE)
    await check(world)
    await poll(world, hours=1, minutes=1)
    _, post = await one(world, "Dune")
    assert post is not None
    assert (post.state, post.why) == ("skipped", Why.REMOVED)
    assert "no longer shows" in (post.trouble or "")

    await poll(world, days=31)

    assert world.site.posts == []


async def test_a_removed_watch_that_is_shown_again_goes_back_to_the_queue(world: World) -> None:
    await settled(world)
    world.trakt.watch(DUNE, at=world.clock() + timedelta(days=30))
    await poll(world)
    world.trakt.hide(DUNE)
    await check(world)
    await poll(world, hours=1, minutes=1)
    world.trakt.unhide(DUNE)

    await check(world)

    row, post = await one(world, "Dune")
    assert row.removed_at is None
    assert post is not None
    assert (post.state, post.why) == ("held", None)
    await poll(world, days=31)
    assert len(world.site.posts) == 1


@pytest.mark.parametrize(
    "bad_days",
    [BadDays(empty_maps=True), BadDays(shortened_maps=True)],
    ids=["empty", "shortened"],
)
@pytest.mark.parametrize("number", [15, 200])
async def test_a_map_without_most_of_it_is_no_removal_and_costs_little(
    world: World, bad_days: BadDays, number: int
) -> None:
    world.trakt.fill(number, films(number))
    await settled(world)
    world.trakt.history.bad_days = bad_days
    world.trakt.watch(NOSFERATU)

    first = await poll(world)
    second = await poll(world)
    await poll(world, hours=1, minutes=1)

    assert len(first) <= 3 + 15
    assert len(second) <= 3 + 15
    assert [row.title for row, _ in await world.watches() if row.removed_at] == []
    assert await open_notices(world) == []
    assert (await world.states())["published"] == 1


async def test_many_removals_at_once_are_believed_when_the_person_says_so(world: World) -> None:
    old = films(70)
    world.trakt.fill(70, old)
    await settled(world)
    world.trakt.history.remove_all({*old})
    requests = await poll(world)
    (notice,) = await open_notices(world)
    assert notice.kind == Kind.ABSENT
    assert "70 plays" in notice.said
    assert len(requests) <= 10
    await poll(world, hours=2)
    assert [row.title for row, _ in await world.watches() if row.removed_at] == []

    async with world.bridge.database.writing() as session:
        assert await connections.believe(session, 1, world.clock()) == world.clock()
    await poll(world, seconds=1)
    assert [row.title for row, _ in await world.watches() if row.removed_at] == []
    await poll(world, hours=1, minutes=1)

    assert len([row for row, _ in await world.watches() if row.removed_at]) == 70
    assert not (await world.connection()).believes_absences
    assert await open_notices(world) == []


async def test_a_question_about_many_removals_ends_when_they_are_shown_again(
    world: World,
) -> None:
    old = films(30)
    world.trakt.fill(30, old)
    await settled(world)
    for film in old:
        world.trakt.hide(film)
    await check(world)
    assert [notice.kind for notice in await open_notices(world)] == [Kind.ABSENT]

    for film in old:
        world.trakt.unhide(film)
    await poll(world, hours=1, minutes=1)

    assert await open_notices(world) == []
    assert [row.title for row, _ in await world.watches() if row.removed_at] == []


# --- Bad days ---


@pytest.mark.parametrize(
    "at",
    ["/sync/history", "/sync/watched/movies", "/sync/history/movies", "/users/me/stats"],
)
async def test_a_504_in_the_middle_loses_nothing_and_doubles_nothing(world: World, at: str) -> None:
    await settled(world)
    world.trakt.watch(DUNE)
    world.trakt.watch(NOSFERATU, at=NOON - timedelta(days=400))
    world.trakt.then(CLOUDFLARE_504, at=at)
    await change(world, checked_at=None)

    await poll(world)
    await poll(world, minutes=3)

    assert await world.states() == {"archived": 2, "published": 1}
    assert len(world.site.posts) == 1
    assert (await world.connection()).trouble is None
    assert (await world.connection()).reading_since is None


async def test_new_plays_do_not_wait_for_ever_for_a_map_that_never_comes(world: World) -> None:
    await settled(world)
    world.trakt.then(*[Status(500)] * 20, at="/sync/watched/movies")
    world.trakt.watch(DUNE)

    for _ in range(5):
        assert "published" not in await world.states()
        await poll(world, hours=1)

    assert (await world.states())["published"] == 1
    assert "out of order" in ((await world.connection()).trouble or "")


async def test_a_check_by_button_compares_everything_and_says_what_it_found(world: World) -> None:
    await settled(world)
    # No stamp moves when a title is merged or hidden, nor in this test when one is added.
    before = dict(world.trakt.history.changed)
    world.trakt.watch(NOSFERATU, at=NOON - timedelta(days=400))
    world.trakt.history.changed = before
    world.trakt.history.bad_days = BadDays(uncounted=1)
    assert await poll(world) == IDLE

    await check(world)

    row = await world.connection()
    assert row.checked_at == world.clock()
    assert row.check_found == {
        "added": 1,
        "removed": 0,
        "moved": 0,
        "missing": 0,
        "trakt": {"movies": 0, "episodes": 0},
        "ours": {"movies": 1, "episodes": 1},
        "goes_on": False,
    }


async def test_a_dead_token_is_not_asked_with_again_and_the_person_is_told_once(
    world: World,
) -> None:
    await settled(world)
    world.trakt.revoke_everything()
    await poll(world)
    (notice,) = await open_notices(world)
    assert notice.kind == Kind.TRAKT
    assert "Connect Trakt again" in notice.said
    assert await poll(world, days=2) == []
    so_far = asked(world)

    await world.browser.visit("/")
    await world.browser.press("Connect Trakt again")
    await world.browser.press("Approve")

    assert await open_notices(world) == []
    assert len(asked(world)) > len(so_far)


# --- Decisions ---


def a_row(**values: Any) -> ConnectionRow:  # noqa: ANN401 - any column
    known: dict[str, Any] = {
        "account_id": 1,
        "source": "trakt",
        "source_user": "ada",
        "source_name": "ada",
        "start_at": NOON,
        "movies_stamp": "a",
        "episodes_stamp": "b",
        "looked_at": NOON,
        "checked_at": NOON,
    }
    return ConnectionRow(**(known | values))


@pytest.mark.parametrize(
    ("values", "stamps", "pages", "kinds"),
    [
        ({}, ("a", "b"), False, ()),
        ({}, ("c", "b"), True, ("movies",)),
        ({}, ("a", "c"), True, ("shows",)),
        ({"archive_page": 2, "checked_at": None}, ("a", "c"), True, ()),
        ({"diff_due_at": NOON + HOUR}, ("a", "b"), True, ("movies", "shows")),
        ({"diff_due_at": NOON + 3 * HOUR}, ("a", "b"), False, ()),
        ({"checked_at": NOON - DAY}, ("a", "b"), True, ("movies", "shows")),
    ],
    ids=["idle", "films", "episodes", "archive unread", "due", "not due yet", "daily"],
)
def test_a_turn_reads_what_has_moved(
    values: dict[str, object], stamps: tuple[str, str], *, pages: bool, kinds: tuple[str, ...]
) -> None:
    found = scope(a_row(**values), Stamps(*stamps, now=NOON), NOON + 2 * HOUR, DAY)

    assert (found.pages, found.kinds) == (pages, kinds)


def test_an_episode_is_asked_for_by_its_show_where_that_is_known() -> None:
    assert target_of("movie:481", None) == Target("movies", "481")
    assert target_of("episode:5", "9") == Target("shows", "9")
    assert target_of("episode:5", None) == Target("episodes", "5")


def test_an_unknown_minute_is_far_from_all_others() -> None:
    assert distance(None, None) == timedelta()
    assert distance(None, NOON) > distance(NOON - timedelta(days=10_000), NOON)


def a_read(key: int, film: int, at: Minute) -> Read:
    return Watch("trakt", str(key), at, Movie("Film", 1950, Ids(trakt=film))), {}


def a_known(read: Read, key: int) -> Known:
    item = read[0]
    assert isinstance(item, Watch)
    at = minute(item.watched_at)
    return Known(key, key, item.key, item_of(item.work), None, at)


History = dict[int, tuple[int, Minute]]
MINUTES: list[Minute] = [None, NOON, NOON + HOUR, NOON - DAY]
HISTORIES = st.dictionaries(
    st.integers(1, 40), st.tuples(st.integers(1, 4), st.sampled_from(MINUTES)), max_size=18
)


class Ledger:
    """Our side, as the database would have it, and one turn after another."""

    def __init__(self, known: History) -> None:
        self.rows = {
            str(key): a_known(a_read(key, film, at), key) for key, (film, at) in known.items()
        }
        self.oddities: dict[str, object] = {}
        self.now = NOON

    def turn(self, theirs: Watched, truth: dict[str, Read], newest: dict[str, Read]) -> Findings:
        ours = Counter[Play](
            (row.item or "", row.at) for row in self.rows.values() if row.is_counted
        )
        known = [row for key, row in self.rows.items() if key in newest]
        doubted = {row.item or "" for row in self.rows.values() if row.confirm_at}
        sides = Sides(theirs, ours, {}, newest, known, doubted)
        judged = judge(sides, a_row(oddities=self.oddities), self.now, DAY)
        doubts = {
            target_of(row.item or "", None)
            for row in self.rows.values()
            if row.confirm_at and row.confirm_at <= self.now
        }
        plan = replace(judged.plan, targets=judged.plan.targets | doubts)
        told = newest | {
            key: read
            for key, read in truth.items()
            if target_of(a_known(read, 0).item or "", None) in plan.targets
        }
        self.oddities = oddities(self.oddities, sides, judged, told, self.now)
        findings = reconcile(told, list(self.rows.values()), plan, self.now)
        self.apply(findings)
        return findings

    def apply(self, findings: Findings) -> None:
        rows = self.rows
        for one in findings.back:
            rows[one.key] = replace(rows[one.key], confirm_at=None, is_gone=False)
        for old, read in findings.moved:
            rows[old.key] = replace(rows[old.key], confirm_at=None, is_gone=True)
            rows[read[0].key] = a_known(read, int(read[0].key))
        for old, read in findings.corrected:
            rows[old.key] = replace(
                a_known(read, old.id),
                confirm_at=rows[old.key].confirm_at,
                is_gone=rows[old.key].is_gone,
            )
        for one in findings.absent:
            rows[one.key] = replace(one, confirm_at=self.now + HOUR)
        for one in findings.gone:
            rows[one.key] = replace(one, confirm_at=None, is_gone=True)
        for read in findings.added:
            rows[read[0].key] = a_known(read, int(read[0].key))

    @property
    def shown(self) -> set[str]:
        return {key for key, row in self.rows.items() if row.is_counted}


def mapped(truth: dict[str, Read]) -> Watched:
    plays: dict[str, tuple[Minute, ...]] = {}
    for read in truth.values():
        one = a_known(read, 0)
        plays[one.item or ""] = (*plays.get(one.item or "", ()), one.at)
    return Watched(plays, {})


def newest(truth: dict[str, Read]) -> dict[str, Read]:
    """What the newest pages show of it: a single minute."""
    return {key: read for key, read in truth.items() if a_known(read, 0).at == minute(NOON + HOUR)}


def reads(history: History) -> dict[str, Read]:
    return by_key(a_read(key, film, at) for key, (film, at) in history.items())


@given(HISTORIES, HISTORIES)
def test_whatever_the_two_sides_say_they_agree_in_the_end(known: History, true: History) -> None:
    ledger, truth = Ledger(known), reads(true)
    recent = newest(truth)

    for _ in range(8):
        last = ledger.turn(mapped(truth), truth, recent)
        ledger.now += HOUR

    assert last == Findings()
    # A play that was told with another id for the same item and minute is the same play.
    agreed = Counter(row.play for row in ledger.rows.values() if row.is_counted)
    assert agreed == Counter(a_known(read, 0).play for read in truth.values())


@given(HISTORIES)
def test_a_play_whose_id_alone_changed_is_never_another_viewing(known: History) -> None:
    ledger = Ledger(known)
    truth = reads({key + 1000: play for key, play in known.items()})
    recent = newest(truth)

    for _ in range(3):
        assert ledger.turn(mapped(truth), truth, recent).added == ()
        ledger.now += HOUR


@given(HISTORIES, st.integers(0, 3), st.sampled_from(MINUTES), st.sampled_from([HOUR / 3, HOUR]))
def test_a_corrected_date_is_never_another_viewing_however_long_the_map_lags(
    known: History, lag: int, at: Minute, interval: timedelta
) -> None:
    ledger, stale = Ledger(known), mapped(reads(known))
    truth = reads({key + 1000: (film, at) for key, (film, _) in known.items()})
    recent = newest(truth)

    for turn in range(lag + 4):
        found = ledger.turn(stale if turn < lag else mapped(truth), truth, recent)
        assert found.added == ()
        ledger.now += interval

    agreed = Counter(row.play for row in ledger.rows.values() if row.is_counted)
    assert agreed == Counter(a_known(read, 0).play for read in truth.values())


@given(HISTORIES, st.sampled_from(["empty", "half"]))
def test_no_map_ever_makes_anything_gone_that_the_history_shows(true: History, map_: str) -> None:
    truth = reads(true)
    ledger = Ledger(true)
    full = mapped(truth)
    half = dict(list(full.plays.items())[: len(full.plays) // 2])
    wrong = Watched({} if map_ == "empty" else half, {})

    for _ in range(4):
        ledger.turn(wrong, truth, {})
        ledger.now += HOUR

    assert ledger.shown == truth.keys()


@given(st.integers(0, 80))
def test_more_than_twenty_absences_at_once_change_nothing(number: int) -> None:
    history = {key: (key, MINUTES[1]) for key in range(1, number + 1)}
    ledger = Ledger(history)

    found = ledger.turn(Watched({}, {}), {}, {})

    assert found.unbelieved == (number if number > 20 else 0)
    assert len(found.absent) == (0 if number > 20 else number)


def test_a_play_stands_for_the_vanished_one_that_is_nearest_in_time() -> None:
    ledger = Ledger({1: (7, NOON), 2: (7, NOON - 1000 * DAY)})
    truth = reads({2: (7, NOON - 1000 * DAY), 3: (7, NOON - HOUR)})

    found = ledger.turn(mapped(truth), truth, {})

    assert [(old.key, read[0].key) for old, read in found.moved] == [("1", "3")]
    assert found.added == ()


def judged(row: ConnectionRow, ours: int, theirs: int) -> Judged:
    plays = Counter[Play]((f"movie:{n}", NOON) for n in range(ours))
    map_ = Watched({f"movie:{n}": (NOON,) for n in range(theirs)}, {})
    return judge(Sides(map_, plays, {}, {}, []), row, NOON, DAY)


def test_more_than_fifty_unknown_films_are_looked_for_on_pages() -> None:
    assert not judged(a_row(), 0, 50).plan.anew
    assert judged(a_row(), 0, 51).plan == Plan(anew=True)


def test_what_the_person_believes_gone_is_asked_for_fifty_at_a_time() -> None:
    plan = judged(a_row(believes_absences=True), 60, 0).plan

    assert (len(plan.targets), plan.left, plan.many) == (50, True, 0)


async def test_the_plays_of_one_kind_are_counted_without_those_that_are_gone(
    world: World,
) -> None:
    world.trakt.fill(10, CATALOGUE[:2])
    await settled(world)

    async with world.bridge.database.reading() as session:
        plays, shows = await sightings.plays(session, 1, ["shows"])
        count = await sightings.count(session, 1, "movies")

    assert plays.total() == 6
    assert shows[f"episode:{LIES.trakt}"] == str(DARK.trakt)
    assert count == 5


def test_a_minute_is_as_precise_as_the_maps() -> None:
    assert minute(datetime.fromisoformat("2026-11-20T12:00:59.9+00:00")) == NOON.replace(second=0)
