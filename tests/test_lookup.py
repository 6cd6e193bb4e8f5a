from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.hentry import Telling, hentry
from app.lookup import (
    BEGINNING,
    MOST_PAGES,
    Entry,
    Progress,
    Told,
    Way,
    clue,
    clues,
    digest,
    is_second,
    match,
    predicted,
    progress_of,
    read_entry,
    spaced,
    turned,
)
from tests.conftest import NOON
from tests.works import EVENING, a_watch, an_episode

DUNE_URL = "https://trakt.tv/movies/dune-2021"
DAY = timedelta(days=1)


def told(key: str = "3373536619", at: datetime | None = EVENING) -> Told:
    return Told(key=key, work_url=DUNE_URL, watched_at=at)


def listed(**properties: object) -> Entry:
    entry = read_entry({"type": ["h-entry"], "properties": properties})
    assert entry is not None
    return entry


def test_a_post_of_ours_is_recognised_by_its_marker() -> None:
    entry = read_entry(hentry(a_watch(), Telling(UTC)))

    assert entry is not None
    assert entry.marker == "3373536619"
    assert match(told(), [entry]) == entry


@pytest.mark.parametrize("lost", ["watch-of", "syndication"])
def test_either_half_of_the_marker_is_enough(lost: str) -> None:
    body = hentry(a_watch(), Telling(UTC))
    del body["properties"][lost]

    entry = read_entry(body)

    assert entry is not None
    assert match(told(), [entry]) == entry


def test_a_rewatch_of_the_same_film_is_another_post() -> None:
    entry = read_entry(hentry(a_watch(key="1"), Telling(UTC)))

    assert entry is not None
    assert match(told(key="2"), [entry]) is None


def test_an_entry_with_another_marker_never_matches_by_work_and_minute() -> None:
    entry = Entry(marker="1", work_url=DUNE_URL, published=EVENING)

    assert match(told(key="2"), [entry]) is None


def test_the_marker_of_the_old_program_counts_as_a_number_too() -> None:
    old = {
        "summary": ["Just watched: Dune"],
        "published": ["2021-10-20T20:14:00Z"],
        "watch-of": [
            {
                "type": ["h-cite"],
                "properties": {
                    "name": ["Dune"],
                    "url": [DUNE_URL],
                    "trakt-watch-id": [3373536619],
                    "trakt-ids": {"trakt": 287071},
                },
            }
        ],
    }

    entry = listed(**old)

    assert entry.marker == "3373536619"
    assert match(told(), [entry]) == entry


@pytest.mark.parametrize("written", ["2026-11-20T21:14:30+01:00", "2026-11-20T20:14:00Z"])
def test_a_plain_link_counts_with_the_same_minute_whatever_its_offset(written: str) -> None:
    entry = listed(
        **{"watch-of": ["http://www.trakt.tv/movies/dune-2021/"], "published": [written]}
    )

    assert match(told(), [entry]) == entry


@pytest.mark.parametrize("written", [["2026-11-20T20:15:00Z"], [], ["2026-11-20"], ["soon"]])
def test_a_plain_link_does_not_count_without_the_minute(written: list[str]) -> None:
    entry = listed(**{"watch-of": [DUNE_URL], "published": written})

    assert match(told(), [entry]) is None


TEXT = "🎬 Watched Dune (2021) https://trakt.tv/movies/dune-2021"


def text_entry(at: datetime, text: str = TEXT) -> Entry:
    return listed(content=[text], published=[at.isoformat()])


def by_text(since: datetime | None) -> Told:
    return replace(told(), contents=frozenset({digest(spaced(TEXT) or "")}), since=since)


def test_a_server_that_keeps_only_the_text_is_recognised_by_it() -> None:
    entry = text_entry(NOON + timedelta(seconds=3))

    assert match(by_text(since=NOON), [entry]) == entry


def test_a_text_from_before_the_attempt_is_another_post() -> None:
    assert match(by_text(since=NOON), [text_entry(NOON - DAY)]) is None


def test_two_posts_with_the_text_tell_nothing() -> None:
    twins = [text_entry(NOON), text_entry(NOON + timedelta(minutes=1))]

    assert match(by_text(since=NOON), twins) is None


def test_html_content_is_compared_as_text() -> None:
    html = {
        "html": "<p>🎬 Watched Dune (2021)\n <a href='/x'>https://trakt.tv/movies/dune-2021</a></p>"
    }
    entry = listed(content=[html], published=[NOON.isoformat()])

    assert match(by_text(since=NOON), [entry]) == entry


def test_a_post_about_something_else_is_none_of_ours() -> None:
    assert not listed(content=["What a day"], published=[NOON.isoformat()]).may_be_ours


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_nothing_that_a_site_lists_makes_reading_it_fail(item: object) -> None:
    read_entry(item)


NAMES = st.sampled_from(
    ["url", "published", "content", "watch-of", "syndication", "trakt-watch-id", "properties"]
)
VALUES = st.recursive(
    st.none() | st.integers() | st.text() | st.sampled_from([DUNE_URL, f"{DUNE_URL}#watch-1"]),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
)


@given(st.dictionaries(NAMES, VALUES))
def test_nothing_inside_of_an_entry_makes_reading_it_fail(properties: dict[str, Any]) -> None:
    entry = read_entry({"type": ["h-entry"], "properties": properties})

    assert entry is not None
    match(told(), [entry])


ENTRIES = st.lists(
    st.builds(
        Entry,
        url=st.sampled_from(["https://ada.example/1", "https://ada.example/2"]),
        marker=st.sampled_from([None, "1", "2"]),
        work_url=st.sampled_from([None, DUNE_URL, f"{DUNE_URL}-2"]),
        published=st.sampled_from([None, EVENING, EVENING + timedelta(seconds=20), NOON]),
        content_digest=st.sampled_from([None, "one", "two", "three"]),
    ),
    max_size=6,
)


@given(ENTRIES, st.sampled_from([None, DUNE_URL]), st.sampled_from([None, EVENING]))
def test_what_is_found_by_its_clues_is_what_is_found_among_all(
    entries: list[Entry], work_url: str | None, at: datetime | None
) -> None:
    one = Told("1", work_url, at, contents=frozenset({"one", "two"}), since=at)
    near = [entry for key in clues(one) for entry in entries if clue(entry) == key]

    assert match(one, near) == match(one, entries)


def page(*days: int, marked: bool = True) -> list[Entry]:
    return [
        Entry(
            url=f"https://ada.example/{day}",
            marker=str(day) if marked else None,
            published=NOON - day * DAY,
        )
        for day in days
    ]


def begun(depth: datetime | None = None, way: Way = Way.LIST) -> Progress:
    return Progress(way, NOON, depth)


def test_a_list_is_read_until_it_is_older_than_what_is_looked_for() -> None:
    first = turned(begun(NOON - 2 * DAY), page(0, 1), 2, 2)
    second = turned(first, page(2, 3), 2, 4)
    third = turned(second, page(4, 5), 2, 6)

    assert not first.is_done
    assert not second.is_done
    assert third.is_done
    assert third.proven == NOON - 4 * DAY


def test_one_backdated_post_at_the_end_of_a_page_says_nothing_about_the_next() -> None:
    after = turned(begun(NOON - 2 * DAY), page(0, 700), 2, 2)

    assert not after.is_done
    assert after.proven == NOON


def test_a_list_out_of_order_is_read_to_its_end() -> None:
    mixed = turned(begun(NOON - 2 * DAY), page(5, 0), 2, 2)
    end = turned(mixed, [], 0, 2)

    assert not mixed.is_done
    assert mixed.proven is None
    assert end.is_done
    assert end.is_whole


def test_order_is_watched_across_pages() -> None:
    after = turned(turned(begun(), page(4, 5), 2, 2), page(3), 1, 3)

    assert after.proven is None


def test_the_last_page_that_comes_again_is_the_end() -> None:
    first = turned(begun(), page(0, 1), 2, 2)
    last = turned(first, page(2), 1, 3)
    again = turned(last, page(2), 1, 4)

    assert not last.is_done
    assert again.is_whole
    assert again.read == again.ours == 3


def test_a_server_that_cannot_turn_pages_is_not_read_for_ever() -> None:
    first = turned(begun(), page(0, 1), 2, 2)
    again = turned(first, page(0, 1), 2, 4)

    assert again.is_done
    assert not again.is_whole
    assert again.read == 2
    assert again.proven == NOON


def test_a_look_ends_at_its_last_page() -> None:
    after = turned(replace(begun(), pages=MOST_PAGES - 1), page(0), 1, 1)

    assert after.is_done
    assert not after.is_whole


def test_the_end_that_the_server_names_is_the_end() -> None:
    after = turned(begun(), page(0), 1, None)

    assert after.is_whole
    assert after.proven == BEGINNING


def test_progress_survives_the_database() -> None:
    after = turned(begun(NOON - DAY), page(0), 1, "mark")

    assert progress_of(after.to_json()) == after
    assert progress_of(None) is None


def test_a_place_is_predicted_from_the_places_of_others() -> None:
    others = [("https://ada.example/posts/watch-1a", "watch-1a")]

    assert predicted("watch-2b", others) == "https://ada.example/posts/watch-2b"


@pytest.mark.parametrize(
    "others",
    [
        [],
        [("https://ada.example/posts/17", "watch-1a")],
        [("https://ada.example/2026/11/watch-1a", "watch-1a")],
        [("https://ada.example/posts/watch-1a-2", "watch-1a")],
        [("https://ada.example/posts/watch-1a", None)],
    ],
)
def test_no_place_is_predicted_where_the_slug_or_the_day_decides_otherwise(
    others: list[tuple[str, str | None]],
) -> None:
    assert predicted("watch-2b", others) is None


def test_a_number_behind_the_slug_tells_of_an_earlier_post() -> None:
    assert is_second("https://ada.example/posts/watch-1a-2", "watch-1a")
    assert is_second("https://ada.example/posts/watch-1a-2/", "watch-1a")
    assert not is_second("https://ada.example/posts/watch-1a", "watch-1a")
    assert not is_second("https://ada.example/posts/17-2", "watch-1a")


def test_an_episode_is_told_apart_from_the_next_one() -> None:
    watch = a_watch(an_episode(number=2))
    entry = read_entry(hentry(watch, Telling(UTC)))
    assert entry is not None
    unmarked = replace(entry, marker=None)
    other = Told("9", "https://trakt.tv/shows/dark/seasons/1/episodes/3", EVENING)

    assert match(other, [unmarked]) is None
