import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.hentry import Telling, hentry
from app.sources.trakt_history import read_item
from app.watch import Episode, Movie, Unreadable, Watch, caption, from_json, to_json

FILM = {
    "id": 3373536619,
    "watched_at": "2026-11-20T20:14:00.000Z",
    "action": "scrobble",
    "type": "movie",
    "movie": {
        "title": "Dune",
        "year": 2021,
        "ids": {"trakt": 287071, "slug": "dune-2021", "imdb": "tt1160419", "tmdb": 438631},
    },
}
EPISODE = {
    "id": 3373536620,
    "watched_at": "2026-11-20T21:00:00.000Z",
    "action": "watch",
    "type": "episode",
    "episode": {"season": 1, "number": 2, "title": "Lies", "ids": {"trakt": 5, "tvdb": 6}},
    "show": {"title": "Dark", "year": 2017, "ids": {"trakt": 118145, "slug": "dark"}},
}


def changed(item: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {**item, **changes}


def without(item: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != key}


def test_a_film_is_read() -> None:
    watch = read_item(FILM)

    assert isinstance(watch, Watch)
    assert isinstance(watch.work, Movie)
    assert (watch.key, watch.watched_at) == (
        "3373536619",
        datetime(2026, 11, 20, 20, 14, tzinfo=UTC),
    )
    assert caption(watch.work) == "Dune (2021)"
    assert watch.work.ids.tmdb == 438631


def test_an_episode_is_read() -> None:
    watch = read_item(EPISODE)

    assert isinstance(watch, Watch)
    assert isinstance(watch.work, Episode)
    assert caption(watch.work) == "Dark S01E02 “Lies”"


@pytest.mark.parametrize(
    "item",
    [
        changed(FILM, movie={"title": None, "year": None, "ids": {"trakt": 1}}),
        changed(FILM, movie={"ids": {"slug": "dune-2021", "imdb": "", "tmdb": None}}),
        changed(EPISODE, episode={"season": 0, "number": 1, "title": None}),
        changed(EPISODE, show={"title": None, "year": "2017", "ids": {"slug": "dark"}}),
        changed(FILM, action="checkin", plex={"guid": "x"}, rating=None),
        without(FILM, "action"),
    ],
    ids=["nothing known", "empty ids", "special", "untitled show", "unknown keys", "no action"],
)
def test_what_is_unknown_is_left_out(item: dict[str, Any]) -> None:
    assert isinstance(read_item(item), Watch)


@pytest.mark.parametrize(
    "date", ["1970-01-01T00:00:00.000Z", "unknown", None], ids=["1970", "unknown", "null"]
)
def test_an_unknown_date_is_no_date(date: object) -> None:
    watch = read_item(changed(FILM, watched_at=date))

    assert isinstance(watch, Watch)
    assert watch.watched_at is None


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (changed(FILM, type="podcast"), "its type is 'podcast', which this version does not know"),
        (without(FILM, "type"), "it has no type"),
        (without(FILM, "movie"), "it has no movie"),
        (changed(FILM, movie=None), "a part of it is not an object: None"),
        (changed(FILM, movie={"title": "Dune", "ids": {}}), "neither a slug nor a Trakt id"),
        (changed(EPISODE, episode={"season": 1, "title": "Lies"}), "it has no number"),
        (changed(EPISODE, episode={"season": "1", "number": 2}), "its season is not a number"),
        (without(EPISODE, "show"), "it has no show"),
        (changed(FILM, watched_at="yesterday"), "watched_at is not a time"),
        (changed(FILM, watched_at=17), "watched_at is not a time"),
        (without(FILM, "watched_at"), "it has no watched_at"),
        (changed(FILM, id="3373536619"), "its id is not a positive number"),
        (changed(FILM, id=-1), "its id is not a positive number"),
        (changed(FILM, id=True), "its id is not a positive number"),
        ("a text", "a part of it is not an object"),
        (None, "a part of it is not an object"),
    ],
)
def test_what_cannot_be_read_says_why(item: object, reason: str) -> None:
    unreadable = read_item(item)

    assert isinstance(unreadable, Unreadable)
    assert reason in unreadable.reason


def test_an_unreadable_item_is_known_by_its_id_where_it_has_one() -> None:
    assert read_item(changed(FILM, type="podcast")).key == "3373536619"
    assert read_item(changed(FILM, id=None)).key == read_item(changed(FILM, id=None)).key
    assert read_item(changed(FILM, id=None)).key != read_item(changed(EPISODE, id=None)).key


def test_no_control_character_and_no_lone_surrogate_gets_into_a_title() -> None:
    watch = read_item(changed(FILM, movie={"title": "Du\x00ne\ud800\n", "ids": {"trakt": 1}}))

    assert isinstance(watch, Watch)
    assert caption(watch.work) == "Du ne?"


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["movie", "episode", "unknown", "2026-11-20T20:14:00.000Z", "x" * 600]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*FILM, *EPISODE, "title", "year", "ids", "trakt", "slug", "season"])
            | st.text(max_size=5),
            inner,
            max_size=8,
        )
    ),
    max_leaves=25,
)
ITEMS = (
    ANYTHING
    | st.builds(
        changed,
        st.sampled_from([FILM, EPISODE]),
        **dict.fromkeys(("watched_at", "type", "movie", "episode", "show"), ANYTHING),
    )
    | st.builds(changed, st.sampled_from([FILM, EPISODE]), id=ANYTHING, watched_at=ANYTHING)
)


@given(ITEMS)
def test_any_json_is_read_or_kept_as_unreadable(item: object) -> None:
    found = read_item(item)

    assert isinstance(found, Watch | Unreadable)
    assert found.key == read_item(item).key
    if isinstance(found, Watch):
        assert from_json(json.loads(json.dumps(to_json(found.work)))) == found.work
        body = json.dumps(hentry(found, Telling(UTC)), ensure_ascii=False).encode()
        assert base64.b64encode(body)


@given(st.text())
def test_any_date_is_read_or_makes_the_item_unreadable(text: str) -> None:
    found = read_item(changed(FILM, watched_at=text))

    assert isinstance(found, Watch | Unreadable)
