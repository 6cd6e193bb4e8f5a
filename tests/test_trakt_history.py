import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.demo import catalogue
from app.demo.trakt_full import IMAGES
from app.demo.trakt_history import Play
from app.diff import Kind, Target, Watched
from app.errors import AnswerTooLarge, SourceBusy, SourceGarbled
from app.hentry import Telling, hentry
from app.sources.budget import Budget
from app.sources.trakt import USUAL_MAP, Totals, Trakt, read_token
from app.sources.trakt_history import read_item, read_watched, trimmed
from app.watch import (
    About,
    Episode,
    Movie,
    Unreadable,
    Watch,
    about_from_json,
    about_to_json,
    caption,
    from_json,
    to_json,
)
from tests.conftest import NOON

FILM: dict[str, Any] = {
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


def full(work: catalogue.Work) -> dict[str, Any]:
    """A play as the simulated Trakt tells it by ``extended=full``."""
    return Play(3373536619, datetime(2026, 11, 20, 20, 14, tzinfo=UTC), work).item(IMAGES)


def about(item: dict[str, Any]) -> About:
    watch = read_item(item)
    assert isinstance(watch, Watch)
    assert watch.about is not None
    return watch.about


def test_what_trakt_knows_of_a_film_is_read() -> None:
    assert about(full(catalogue.DUNE)) == About(
        genres=("adventure", "science-fiction"),
        rating=7.9,
        runtime=110,
        country="de",
        language="en",
        poster=(
            "https://walter-r2.trakt.tv/images/movies/000/287/071/posters/medium/000004615f.jpg.webp"
        ),
    )


def test_an_episode_has_the_genres_and_the_poster_of_its_show() -> None:
    found = about(full(catalogue.LIES))

    assert found.genres == ("drama", "science-fiction")
    assert found.poster
    assert "/shows/" in found.poster


def test_an_episode_that_nobody_has_rated_has_the_rating_of_its_show() -> None:
    rated = replace(catalogue.LIES, rating=9.1)

    assert about(full(rated)).rating == 9.1
    assert about(full(catalogue.LIES)).rating == 8.4


@pytest.mark.parametrize(
    "movie",
    [
        {"genres": None, "rating": None, "runtime": None, "images": None},
        {"genres": "drama", "rating": "8", "runtime": "110", "images": []},
        {"rating": 8.1, "votes": 0, "runtime": 0, "images": {"poster": []}},
        {"rating": True, "runtime": -3, "country": 7, "images": {"poster": [None]}},
        {"rating": 11, "images": {"poster": "walter-r2.trakt.tv/x.webp"}},
        {"rating": -1, "images": {"poster": ["trakt.tv@elsewhere.example/x y.webp"]}},
        {"images": {"poster": ["[::1/x.webp"]}},
    ],
    ids=str,
)
def test_what_trakt_does_not_tell_of_a_film_is_unknown(movie: dict[str, Any]) -> None:
    assert about(changed(FILM, movie={**FILM["movie"], **movie})) == About()


def test_no_genre_at_all_is_known_too() -> None:
    assert about(changed(FILM, movie={**FILM["movie"], "genres": []})).genres == ()


def test_an_item_is_kept_without_its_long_texts_and_reads_the_same() -> None:
    for work in (catalogue.DUNE, catalogue.LIES):
        item = full(work)

        kept = trimmed(item)

        assert read_item(kept) == read_item(item)
        assert "overview" not in json.dumps(kept)
        assert len(json.dumps(kept)) < len(json.dumps(item)) / 2


def test_what_nobody_knows_yet_is_kept_with_an_item() -> None:
    item = {**FILM, "mood": "cosy", "movie": {**FILM["movie"], "smell": ["of popcorn"]}}

    assert trimmed(item) == item


def test_what_a_later_version_knows_of_a_title_does_no_harm() -> None:
    assert about_from_json({"rating": 8.0, "awards": 3}) == About(rating=8.0)
    assert about_from_json(None) is None


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
            | st.sampled_from(["genres", "rating", "votes", "runtime", "images", "poster"])
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
        assert isinstance(item, dict)
        assert read_item(trimmed(item)) == found
        assert from_json(json.loads(json.dumps(to_json(found.work)))) == found.work
        assert found.about is not None
        assert about_from_json(json.loads(json.dumps(about_to_json(found.about)))) == found.about
        body = json.dumps(hentry(found, Telling(UTC)), ensure_ascii=False).encode()
        assert base64.b64encode(body)


@given(st.text())
def test_any_date_is_read_or_makes_the_item_unreadable(text: str) -> None:
    found = read_item(changed(FILM, watched_at=text))

    assert isinstance(found, Watch | Unreadable)


# --- Maps ---

EVENING, UNKNOWN = "2026-11-20T20:14:00.000Z", "1970-01-01T00:00:00.000Z"
MINUTE = datetime(2026, 11, 20, 20, 14, tzinfo=UTC)


def test_a_map_of_films_tells_the_minute_of_every_play() -> None:
    found = read_watched({"481": [EVENING, UNKNOWN, EVENING], "482": []}, "movies")

    assert found == Watched({"movie:481": (MINUTE, None, MINUTE)}, {})


@pytest.mark.parametrize("season", ["13", "13|2"])
def test_a_map_of_shows_tells_which_show_an_episode_is_of(season: str) -> None:
    found = read_watched({"4": {season: {"251": [EVENING]}}}, "shows")

    assert found == Watched({"episode:251": (MINUTE,)}, {"episode:251": "4"})


def test_what_is_no_id_or_no_time_is_left_out_and_counted() -> None:
    data = {"481": [EVENING, "soon", 7], "x": [EVENING], "0": [EVENING], "9": None, "-1": []}

    found = read_watched(data, "movies")

    assert found.plays == {"movie:481": (MINUTE,)}
    assert found.skipped == 6


@pytest.mark.parametrize("data", [[], None, "no", {"error": "x"}, {"481": {"plays": 1}}])
def test_an_unknown_shape_is_no_empty_map(data: object) -> None:
    with pytest.raises(SourceGarbled):
        read_watched(data, "movies")


MAPS = st.recursive(
    ANYTHING | st.lists(st.sampled_from([EVENING, UNKNOWN, "x"])),
    lambda inner: st.dictionaries(st.sampled_from(["1", "13|2", "0", "x", ""]), inner, max_size=4),
    max_leaves=20,
)


@given(MAPS, st.sampled_from(["movies", "shows"]))
def test_any_json_is_a_map_or_refused_as_a_whole(data: object, kind: Kind) -> None:
    try:
        found = read_watched(data, kind)
    except SourceGarbled:
        return

    assert all(found.plays.values())
    assert found.shows.keys() <= found.plays.keys()
    assert bool(found.plays) or data == {}


class Answers:
    """An API that answers each path with what it is given; it counts who asks at once.

    Whoever takes less than ``size`` bytes is not told all of it.
    """

    def __init__(
        self, answers: dict[str, tuple[int, dict[str, str], object]], size: int = 0
    ) -> None:
        self.answers = answers
        self.size = size
        self.asked: list[str] = []
        self.open = self.most = 0
        self.two_came, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.url.raw_path.decode())
        if request.extensions["caps"].max_bytes < self.size:
            raise AnswerTooLarge("the answer is larger")
        self.open += 1
        self.most = max(self.most, self.open)
        if self.open == 2:
            self.two_came.set()
        await self.go.wait()
        self.open -= 1
        status, headers, data = self.answers[request.url.raw_path.decode()]
        return httpx2.Response(status, headers=headers, json=data)


@asynccontextmanager
async def a_trakt(answers: Answers) -> AsyncIterator[Trakt]:
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answers)) as http:
        yield Trakt(
            http=http,
            auth=http,
            budget=Budget(500, lambda: 0.0),
            api_url="https://api.test",
            auth_url="https://auth.test",
            client_id="client",
            client_secret="",
            redirect_uri="https://bridge.test/trakt/callback",
            deadline=timedelta(seconds=10),
        )


FIRST = "/sync/watched/movies?extended=min"
COUNTED = {"X-Pagination-Page-Count": "2", "X-Pagination-Limit": "1"}


async def test_a_map_in_pages_is_read_to_its_empty_end_whatever_the_count_says() -> None:
    answers = Answers(
        {
            FIRST: (200, COUNTED, {"1": [EVENING]}),
            f"{FIRST}&page=2&limit=1": (200, COUNTED, {"2": [EVENING]}),
            f"{FIRST}&page=3&limit=1": (200, COUNTED, {"3": [EVENING]}),
            f"{FIRST}&page=4&limit=1": (200, COUNTED, {}),
        }
    )
    answers.go.set()

    async with a_trakt(answers) as trakt:
        found = await trakt.watched("token", "movies")

    assert list(found.plays) == ["movie:1", "movie:2", "movie:3"]


async def test_a_server_that_always_answers_the_whole_map_is_not_asked_for_ever() -> None:
    answers = Answers(
        {
            FIRST: (200, COUNTED, {"1": [EVENING]}),
            f"{FIRST}&page=2&limit=1": (200, COUNTED, {"1": [EVENING]}),
        }
    )
    answers.go.set()

    async with a_trakt(answers) as trakt:
        found = await trakt.watched("token", "movies")

    assert found.plays == {"movie:1": (MINUTE,)}
    assert len(answers.asked) == 2


async def test_no_more_than_two_large_maps_are_read_at_a_time() -> None:
    answers = Answers({FIRST: (200, {}, {"1": [EVENING]})}, size=USUAL_MAP + 1)

    async with a_trakt(answers) as trakt:
        reading = [asyncio.create_task(trakt.watched("token", "movies")) for _ in range(6)]
        await answers.two_came.wait()
        answers.go.set()
        found = await asyncio.gather(*reading)

    assert answers.most == 2
    assert len(answers.asked) == 12
    assert all(one.plays == {"movie:1": (MINUTE,)} for one in found)


async def test_maps_of_a_usual_size_do_not_wait_for_each_other() -> None:
    answers = Answers({FIRST: (200, {}, {"1": [EVENING]})}, size=USUAL_MAP)

    async with a_trakt(answers) as trakt:
        reading = [asyncio.create_task(trakt.watched("token", "movies")) for _ in range(6)]
        await answers.two_came.wait()
        answers.go.set()
        await asyncio.gather(*reading)

    assert answers.most == 6
    assert len(answers.asked) == 6


async def test_a_title_that_trakt_does_not_know_has_no_plays() -> None:
    path = "/sync/history/shows/4?page=1&limit=250&extended=full"
    answers = Answers({path: (404, {}, None)})
    answers.go.set()

    async with a_trakt(answers) as trakt:
        assert await trakt.history_of("token", Target("shows", "4")) == []


async def test_a_title_behind_a_busy_trakt_is_not_taken_for_an_unknown_one() -> None:
    path = "/sync/history/shows/4?page=1&limit=250&extended=full"
    answers = Answers({path: (503, {}, None)})
    answers.go.set()

    async with a_trakt(answers) as trakt:
        with pytest.raises(SourceBusy):
            await trakt.history_of("token", Target("shows", "4"))


@pytest.mark.parametrize(
    ("status", "data", "totals"),
    [
        (200, {"movies": {"plays": 155}, "episodes": {"plays": 552_000}}, Totals(155, 552_000)),
        (200, {"movies": {"plays": 155}}, None),
        (200, {"movies": {"plays": "many"}, "episodes": {"plays": 1}}, None),
        (200, [], None),
        (404, None, None),
        (504, None, None),
    ],
    ids=["told", "half", "words", "list", "unknown", "busy"],
)
async def test_trakt_s_own_totals_are_told_or_left_out(
    status: int, data: object, totals: Totals | None
) -> None:
    answers = Answers({"/users/me/stats": (status, {}, data)})
    answers.go.set()

    async with a_trakt(answers) as trakt:
        assert await trakt.totals("token") == totals


@pytest.mark.parametrize("key", ["a" * 64, "a" * 4000, "ey.J~-_+/="])
def test_a_pair_of_keys_is_kept_to_the_letter(key: str) -> None:
    answer = {"access_token": key, "refresh_token": key, "expires_in": 86400}

    pair = read_token(httpx2.Response(200, json=answer), NOON)

    assert (pair.access, pair.refresh) == (key, key)


@pytest.mark.parametrize("key", ["", "a b", "a\r\nX-Evil: 1", "\x00", "ключ", "a" * 9000, 7, None])
def test_what_no_header_could_carry_is_no_key(key: object) -> None:
    answer = httpx2.Response(200, json={"access_token": key, "refresh_token": key})

    with pytest.raises(SourceGarbled):
        read_token(answer, NOON)
