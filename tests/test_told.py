"""What a post tells beside the watch itself: which time it is, the rating, and the words."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.demo.catalogue import DUNE, SECRETS, SPECIAL
from app.demo.trakt_door import CLOUDFLARE_504, VIP_ONLY
from app.hentry import Rewatch, rewatch
from app.opinion import Kind, Opinion
from app.store import accounts, opinions, watches
from app.style import Style, to_json
from app.tables import AccountRow, WatchRow
from tests.conftest import NOON
from tests.polling import asked, change, poll, settled
from tests.test_sightings import a_film, keep, store
from tests.world import World

__all__ = ["store"]

Stored = Any
NOW = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)
YEAR = timedelta(days=365)
TOLD = Style(tells_rewatch=True, tells_rating=True, tells_note=True)
LISTS = [
    "/users/me/comments/all/all",
    "/sync/ratings/episodes",
    "/sync/ratings/movies",
    "/users/me/notes/all",
]


async def styled(world: World, style: Style) -> None:
    """Let the person choose how posts look."""
    async with world.bridge.database.writing() as session:
        await accounts.set_style(session, 1, to_json(style))


def told(world: World) -> list[dict[str, Any]]:
    """The properties of all posts, as they came."""
    return [post.properties for post in world.site.posts]


# --- Which time it is ---


@pytest.mark.parametrize(
    ("earlier", "after"),
    [
        ([], None),
        ([NOW - timedelta(days=2)], Rewatch(2, 0)),
        ([NOW - 9 * YEAR, NOW - 3 * YEAR - timedelta(days=9)], Rewatch(3, 3)),
        ([NOW - 9 * YEAR, None], Rewatch(3, 0)),
        ([None], Rewatch(2, 0)),
        ([datetime(2024, 11, 21, tzinfo=UTC)], Rewatch(2, 1)),
        ([datetime(2024, 11, 20, tzinfo=UTC)], Rewatch(2, 2)),
    ],
)
def test_a_viewing_is_counted_after_all_earlier_ones(
    earlier: list[datetime | None], after: Rewatch | None
) -> None:
    assert rewatch(NOW, earlier, UTC) == after


def test_years_are_those_of_the_persons_own_calendar() -> None:
    before = datetime(2024, 11, 20, 23, 30, tzinfo=UTC)
    today = datetime(2026, 11, 20, 22, 30, tzinfo=UTC)

    assert rewatch(today, [before], UTC) == Rewatch(2, 2)
    assert rewatch(today, [before], ZoneInfo("Europe/Vienna")) == Rewatch(2, 1)


@given(st.lists(st.datetimes(max_value=datetime(2026, 11, 20)) | st.none(), max_size=9))  # noqa: DTZ001 - made aware below
def test_no_years_are_told_that_have_not_passed(times: list[datetime | None]) -> None:
    earlier = [when and when.replace(tzinfo=UTC) for when in times]

    after = rewatch(NOW, earlier, UTC)

    assert (after is None) == (not earlier)
    if after and after.years:
        last = max(when for when in earlier if when)
        assert after.years * 365 <= (NOW - last).days


async def test_what_counts_as_watched_before(store: Stored) -> None:
    await keep(store, a_film(1, 0), a_film(2, 5), a_film(3, 5), a_film(4, 9))
    async with store.writing() as session:
        rows = [row for row, _ in reversed(await watches.page(session, 1, 1))]
        rows[0].watched_at, rows[3].removed_at = None, NOON
        session.add(AccountRow(me="https://bob.example/", created_at=NOON))
        await session.flush()
        session.add(
            WatchRow(
                account_id=2, standing="archived", title="Dune", source="trakt", key="9",
                work_key=rows[0].work_key, watched_at=NOON - YEAR,
            )
        )  # fmt: skip
        await session.flush()

        earlier = await watches.earlier(session, rows)

    minute = NOON + timedelta(hours=5)
    told = {key: sorted(times, key=str) for key, times in earlier.items()}
    assert told == {2: [None], 3: [minute, None], 4: [minute, minute, None]}


async def test_the_third_time_says_so_with_the_years(world: World) -> None:
    for years in (9, 3):
        world.trakt.watch(DUNE, at=world.clock() - years * YEAR - timedelta(days=9))
    await settled(world)
    await styled(world, TOLD)

    world.trakt.watch(DUNE)
    await poll(world)

    (post,) = told(world)
    assert "for the 3rd time, 3 years later" in post["summary"][0] + post["content"][0]
    assert post["rewatch"] == ["true"]


async def test_before_the_whole_history_is_known_nothing_is_counted(world: World) -> None:
    world.trakt.watch(DUNE, at=world.clock() - 3 * YEAR)
    await settled(world)
    await styled(world, TOLD)
    await change(world, archive_page=2)

    world.trakt.watch(DUNE)
    await poll(world)

    (post,) = told(world)
    assert "rewatch" not in post
    assert "2nd" not in post["summary"][0] + post["content"][0]
    assert "again" in post["summary"][0] or "20 November" in post["content"][0]


# --- Ratings and words ---


async def test_a_rating_is_told_with_the_watch_on_whatever_page_of_them_it_is(
    world: World,
) -> None:
    await settled(world)
    await styled(world, TOLD)
    world.trakt.opinions.pages_ratings = True
    world.trakt.opinions.rate(DUNE, 8)
    for number in range(251):
        world.trakt.opinions.rate(replace(DUNE, trakt=number + 1, title=f"Dune {number}"), 1)

    world.trakt.watch(DUNE)
    await poll(world)

    (post,) = told(world)
    assert (post["rating"], post["best"]) == (["4"], ["5"])
    assert "8/10" in post["content"][0]


async def test_a_comment_is_told_but_no_private_note_and_nothing_that_gives_away(
    world: World,
) -> None:
    await settled(world)
    await styled(world, TOLD)
    for work in (DUNE, SECRETS, SPECIAL):
        world.trakt.watch(work)
    world.trakt.opinions.comment(DUNE, "Sand.\n\nSo much sand.")
    world.trakt.opinions.note(SECRETS, "With Grandma.", "private")
    world.trakt.opinions.comment(SPECIAL, "He is the one.", is_spoiler=True)

    await poll(world)

    texts = "".join(post["content"][0] for post in told(world))
    assert "Sand.\n\nSo much sand." in texts
    assert "the one" not in repr(told(world))
    assert "Grandma" not in repr([*told(world), *await kept(world)])


async def test_what_is_not_to_be_told_any_more_is_forgotten(world: World) -> None:
    await settled(world)
    await styled(world, TOLD)
    world.trakt.opinions.rate(DUNE, 8)
    world.trakt.opinions.comment(DUNE, "Sand.")
    world.trakt.watch(DUNE)
    await poll(world)
    assert {one.kind for one in await kept(world)} == {Kind.FILM_RATING, Kind.COMMENT}

    await styled(world, replace(TOLD, tells_note=False))

    assert {one.kind for one in await kept(world)} == {Kind.FILM_RATING}
    assert await poll(world) == ["/sync/last_activities"]


async def test_who_does_not_want_it_told_is_not_asked_about(world: World) -> None:
    await settled(world)
    await styled(world, Style())
    before = len(world.trakt.requests)

    world.trakt.opinions.rate(DUNE, 8)
    world.trakt.opinions.comment(DUNE, "Sand.")
    world.trakt.watch(DUNE)
    await poll(world)

    assert not set(LISTS) & set(asked(world, before))
    (post,) = told(world)
    assert "rating" not in post


async def test_lists_are_asked_for_when_they_have_changed_and_not_otherwise(world: World) -> None:
    await settled(world)
    await styled(world, TOLD)

    assert await poll(world) == ["/sync/last_activities", *LISTS]
    assert await poll(world) == ["/sync/last_activities"]

    world.trakt.opinions.rate(DUNE, 8)
    world.clock.passes(minutes=3)
    assert await poll(world, seconds=0) == []
    assert await poll(world) == ["/sync/last_activities", "/sync/ratings/movies"]
    assert await poll(world) == ["/sync/last_activities"]


async def test_a_rating_of_the_minute_of_the_last_look_is_not_overlooked(world: World) -> None:
    await settled(world)
    await styled(world, TOLD)
    await poll(world)
    world.clock.passes(minutes=34)
    world.trakt.opinions.rate(SECRETS, 5)
    await world.work()

    # In the same minute, so that a stamp that is cut to minutes stays the same.
    world.trakt.opinions.rate(DUNE, 8)
    world.trakt.watch(DUNE)
    await poll(world)

    (post,) = told(world)
    assert post["rating"] == ["4"]


async def test_a_rating_that_was_taken_away_or_changed_is_told_no_more(world: World) -> None:
    await settled(world)
    await styled(world, TOLD)
    world.trakt.opinions.rate(DUNE, 8)
    world.trakt.opinions.rate(SECRETS, 8)
    await poll(world)

    world.trakt.opinions.unrate(DUNE)
    world.trakt.opinions.rate(SECRETS, 10)
    world.trakt.watch(DUNE)
    world.trakt.watch(SECRETS)
    await poll(world)

    assert [post.get("rating") for post in told(world)] == [None, ["5"]]


async def test_a_list_that_cannot_be_read_keeps_no_post_waiting_and_is_asked_for_again(
    world: World,
) -> None:
    await settled(world)
    await styled(world, TOLD)
    world.trakt.opinions.rate(DUNE, 8)
    world.trakt.watch(DUNE)
    world.trakt.then(CLOUDFLARE_504, at="/sync/ratings/movies")

    await poll(world)

    (post,) = told(world)
    assert "rating" not in post
    world.trakt.watch(DUNE)
    await poll(world, hours=2)
    assert told(world)[1]["rating"] == ["4"]


async def test_a_list_for_vips_stops_nothing_else(world: World) -> None:
    await settled(world)
    await styled(world, TOLD)
    world.trakt.opinions.rate(DUNE, 8)
    world.trakt.watch(DUNE)
    world.trakt.then(VIP_ONLY, at="/users/me/notes")

    requests = await poll(world)

    assert [path for path in requests if path in LISTS] == LISTS
    (post,) = told(world)
    assert post["rating"] == ["4"]
    assert (await world.connection()).trouble is None


async def kept(world: World) -> list[Opinion]:
    async with world.bridge.database.reading() as session:
        rows = [row for row, _ in await watches.page(session, 1, 1)]
        return [one for many in (await opinions.about(session, rows)).values() for one in many]


async def test_reading_a_list_again_changes_only_what_differs(store: Stored) -> None:
    def rated(item: str, rating: int) -> Opinion:
        return Opinion(Kind.FILM_RATING, item, rating=rating, at=NOON)

    first = [rated("movie:1", 8), rated("movie:2", 5), rated("movie:3", 1)]
    second = [rated("movie:1", 8), rated("movie:2", 6)]
    async with store.writing() as session:
        assert await opinions.keep(session, 1, Kind.FILM_RATING, first, whole=True) == 3
        assert await opinions.keep(session, 1, Kind.FILM_RATING, first, whole=True) == 0
        assert await opinions.keep(session, 1, Kind.FILM_RATING, second, whole=False) == 2
        assert await opinions.keep(session, 1, Kind.COMMENT, [], whole=True) == 0
        assert await opinions.keep(session, 1, Kind.FILM_RATING, second, whole=True) == 1
