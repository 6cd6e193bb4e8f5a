"""Reading and writing the simulated Trakt, as Trakt's guides and its published contract have it."""

import time
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from app.demo.catalogue import DARK, DUNE, LIES, SECRETS, SPECIAL, EpisodeOf, Film, Show
from app.demo.trakt import SimulatedTrakt
from app.demo.trakt_door import Status
from app.demo.trakt_history import BadDays
from tests.conftest import NOON
from tests.trakt_contract import errors
from tests.world import Clock


async def titles(api: httpx2.AsyncClient, **params: str | int) -> list[str]:
    items = (await api.get("/sync/history", params=params)).json()
    return [str((item.get("movie") or item["episode"])["title"]) for item in items]


async def test_the_history_keeps_the_contract_with_and_without_ids_and_names(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    nameless = EpisodeOf(Show("Lost in Time", None, 7, "lost-in-time"), 1, 1, None, 8)
    for work in (DUNE, SECRETS, Film("Nothing", None, 9, "nothing"), nameless):
        trakt.watch(work)
    trakt.watch(EpisodeOf(None, 1, 2, "Orphan", 10))
    trakt.watch(DUNE, at="unknown")

    for path in ("/sync/history", "/users/me/history", "/users/ada/history"):
        answer = await api.get(path)

        assert errors("users.history.all", answer.status_code, answer.json()) == []
        assert len(answer.json()) == 6


async def test_the_full_form_of_the_history_keeps_the_contract_to_the_letter(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    for work in (DUNE, SECRETS, Film("Nothing", None, 9, "nothing")):
        trakt.watch(work)
    trakt.watch(EpisodeOf(None, 1, 2, "Orphan", 10))

    answer = await api.get("/sync/history?extended=full")

    assert errors("users.history.all", answer.status_code, answer.json(), strict=True) == []
    film = answer.json()[-1]["movie"]
    assert film["genres"] == ["adventure", "science-fiction"]
    assert film["rating"] == 7.9
    assert not film["images"]["poster"][0].startswith("https:")
    plain = (await api.get("/sync/history")).json()[-1]["movie"]
    assert "genres" not in plain


@pytest.mark.parametrize(
    ("kind", "route", "number"),
    [("movies", "movies", 1), ("episodes", "episodes", 2), ("shows", "shows", 2)],
)
async def test_each_kind_of_history_keeps_the_contract(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, kind: str, route: str, number: int
) -> None:
    for work in (DUNE, SECRETS, LIES):
        trakt.watch(work)

    answer = await api.get(f"/sync/history/{kind}")

    assert errors(f"users.history.{route}", answer.status_code, answer.json()) == []
    assert len(answer.json()) == number


@pytest.mark.parametrize(
    ("path", "number"),
    [
        (f"movies/{DUNE.trakt}", 2),
        (f"movies/{DUNE.slug}", 2),
        (f"shows/{DARK.trakt}", 2),
        (f"seasons/{LIES.season_id}", 2),
        (f"episodes/{LIES.trakt}", 1),
        ("movies/1", 0),
    ],
)
async def test_the_history_of_one_item_holds_all_its_plays(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, path: str, number: int
) -> None:
    for work in (DUNE, DUNE, SECRETS, LIES, SPECIAL):
        trakt.watch(work)

    answer = await api.get(f"/sync/history/{path}")

    assert len(answer.json()) == number


async def test_the_other_answers_keep_the_contract(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    for work in (DUNE, SECRETS, SPECIAL):
        trakt.watch(work)
    reads = {
        "/sync/last_activities": "sync.lastActivities",
        "/users/settings": "users.settings",
        "/users/me/stats": "users.stats",
        "/sync/watched/movies?extended=min": "sync.watchedMoviesMinimal",
        "/sync/watched/shows?extended=min&specials=true": "sync.watchedShowsMinimal",
        "/sync/watched/episodes?extended=min": "sync.watchedEpisodesMinimal",
    }

    for path, route in reads.items():
        answer = await api.get(path)

        assert errors(route, answer.status_code, answer.json(), strict=True) == []


async def test_times_lose_their_seconds_and_ids_do_not_fit_into_31_bits(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    play = trakt.watch(DUNE)

    [item] = (await api.get("/sync/history")).json()

    assert item["watched_at"] == "2026-11-20T12:00:00.000Z"
    assert item["id"] == play == 3_373_536_619


async def test_an_unknown_date_reads_back_as_1970_and_sorts_last(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    trakt.watch(DUNE, at="unknown")
    trakt.watch(LIES, at=datetime(1980, 1, 1, tzinfo=UTC))
    trakt.watch(SECRETS)

    assert await titles(api) == ["Secrets", "Lies", "Dune"]
    last = (await api.get("/sync/history")).json()[-1]
    assert last["watched_at"] == "1970-01-01T00:00:00.000Z"


async def test_start_and_end_are_inclusive_and_mean_the_time_of_watching(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    trakt.watch(SECRETS, at=NOON - timedelta(days=3))
    trakt.watch(LIES, at=NOON - timedelta(days=2))
    trakt.watch(DUNE, at=NOON - timedelta(days=1))

    assert await titles(api, start_at="2026-11-18T12:00:00.000Z") == ["Dune", "Lies"]
    assert await titles(api, end_at="2026-11-18T12:00:00Z") == ["Lies", "Secrets"]
    assert await titles(api, start_at="2026-11-18", end_at="2026-11-19") == ["Lies"]


async def test_pages_hold_100_by_default_and_250_at_most(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    trakt.fill(600)

    default = await api.get("/sync/history")
    clamped = await api.get("/sync/history", params={"page": 3, "limit": 1000})

    assert len(default.json()) == 100
    assert len(clamped.json()) == 100
    assert clamped.headers["X-Pagination-Page"] == "3"
    assert clamped.headers["X-Pagination-Limit"] == "250"
    assert clamped.headers["X-Pagination-Page-Count"] == "3"
    assert clamped.headers["X-Pagination-Item-Count"] == "600"


async def test_an_empty_history_has_no_page(api: httpx2.AsyncClient) -> None:
    answer = await api.get("/sync/history")

    assert answer.json() == []
    assert answer.headers["X-Pagination-Page-Count"] == "0"


async def test_fifty_thousand_plays_are_read_in_a_moment(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    trakt.fill(50_000)
    begun = time.monotonic()

    ids = set()
    for page in range(1, 201):
        answer = await api.get("/sync/history", params={"page": page, "limit": 250})
        ids |= {item["id"] for item in answer.json()}

    assert len(ids) == 50_000
    assert time.monotonic() - begun < 30


async def test_counts_may_lag_behind(trakt: SimulatedTrakt, api: httpx2.AsyncClient) -> None:
    trakt.fill(30)
    trakt.history.bad_days = BadDays(uncounted=11)

    answer = await api.get("/sync/history", params={"page": 3, "limit": 10})

    assert len(answer.json()) == 10
    assert answer.headers["X-Pagination-Page-Count"] == "2"
    assert answer.headers["X-Pagination-Item-Count"] == "19"


async def test_hidden_plays_keep_their_place_and_pages_come_back_short(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    before = NOON - timedelta(days=1)
    for age in range(4):
        trakt.watch(LIES if age == 1 else DUNE, at=before - timedelta(hours=age))
    trakt.hide(LIES)

    pages = [await titles(api, page=page, limit=2) for page in (1, 2)]
    watched = await api.get("/sync/watched/episodes?extended=min")

    assert pages == [["Dune"], ["Dune", "Dune"]]
    assert watched.json() == {}


async def test_plays_of_one_minute_may_lie_in_any_order(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    newest_first = [trakt.watch(DUNE) for _ in range(9)][::-1]
    trakt.history.bad_days = BadDays(shuffled_ties=True)

    ids = [item["id"] for item in (await api.get("/sync/history")).json()]

    assert ids != newest_first
    assert sorted(ids, reverse=True) == newest_first


async def test_items_of_any_shape_can_be_sent(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    trakt.watch(DUNE, at=NOON - timedelta(hours=1))
    trakt.add_raw({"type": "opera", "watched_at": "2026-11-20T11:30:00.000Z"})
    trakt.history.bad_days = BadDays(novelties=True)

    first, second = (await api.get("/sync/history")).json()

    assert first["type"] == "opera"
    assert errors("users.history.all", 200, [second]) == []
    assert errors("users.history.all", 200, [second], strict=True) != []


async def test_last_activities_move_on_adding_and_on_removing(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, clock: Clock
) -> None:
    play = trakt.watch(DUNE, at=NOON - timedelta(days=400))
    added = (await api.get("/sync/last_activities")).json()
    clock.moment += timedelta(minutes=5)
    trakt.remove(play)
    removed = (await api.get("/sync/last_activities")).json()

    assert added["movies"]["watched_at"] == added["all"] == "2026-11-20T12:00:30.000Z"
    assert removed["movies"]["watched_at"] == removed["all"] == "2026-11-20T12:05:30.000Z"
    assert removed["episodes"] == added["episodes"]


async def test_last_activities_may_be_as_coarse_as_minutes(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    trakt.history.bad_days = BadDays(coarse_stamps=True)
    trakt.watch(LIES)

    stamps = (await api.get("/sync/last_activities")).json()

    assert stamps["episodes"]["watched_at"] == "2026-11-20T12:00:00.000Z"


async def test_the_minimal_maps_hold_the_minute_of_every_play(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    for work in (DUNE, DUNE, LIES, SPECIAL):
        trakt.watch(work)
    noon = "2026-11-20T12:00:00.000Z"

    movies = await api.get("/sync/watched/movies?extended=min")
    shows = await api.get("/sync/watched/shows?extended=min")
    all_shows = await api.get("/sync/watched/shows?extended=min&specials=true&season_numbers=true")

    assert movies.json() == {str(DUNE.trakt): [noon, noon]}
    assert shows.json() == {str(DARK.trakt): {str(LIES.season_id): {str(LIES.trakt): [noon]}}}
    assert f"{SPECIAL.season_id}|0" in all_shows.json()["4118"]


async def test_a_page_past_the_end_of_a_map_is_an_empty_object(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    trakt.watch(DUNE)

    first = await api.get("/sync/watched/movies?extended=min&page=1&limit=250")
    second = await api.get("/sync/watched/movies?extended=min&page=2&limit=250")

    assert len(first.json()) == 1
    assert second.json() == {}


async def test_a_paged_map_tells_how_many_pages_and_items_there_are(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    trakt.fill(5, [Film(f"Film {number}", 2000, number, f"film-{number}") for number in range(5)])

    pages = [
        await api.get(f"/sync/watched/movies?extended=min&page={page}&limit=2")
        for page in (1, 2, 3)
    ]
    whole = await api.get("/sync/watched/movies?extended=min")

    assert [len(page.json()) for page in pages] == [2, 2, 1]
    assert {key: times for page in pages for key, times in page.json().items()} == whole.json()
    assert pages[0].headers["X-Pagination-Page-Count"] == "3"
    assert pages[0].headers["X-Pagination-Item-Count"] == "5"
    assert "X-Pagination-Page" not in whole.headers


async def test_the_totals_count_plays_and_titles(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    for work in (DUNE, DUNE, LIES, SECRETS, SPECIAL):
        trakt.watch(work)

    totals = (await api.get("/users/ada/stats")).json()
    trakt.history.bad_days = BadDays(uncounted=2)
    behind = (await api.get("/users/me/stats")).json()

    assert (totals["movies"]["plays"], totals["movies"]["watched"]) == (2, 1)
    assert (totals["episodes"]["plays"], totals["episodes"]["watched"]) == (3, 3)
    assert totals["shows"]["watched"] == 2
    assert (behind["movies"]["plays"], behind["episodes"]["plays"]) == (0, 1)
    assert (await api.get("/users/bob/stats")).status_code == 404


@pytest.mark.parametrize(
    ("bad_day", "shows", "films"),
    [
        (BadDays(), 2, 1),
        (BadDays(empty_maps=True), 0, 0),
        (BadDays(shortened_maps=True), 1, 0),
        # The last change was that of the film, the one before that of the special.
        (BadDays(stale_maps=1), 2, 0),
        (BadDays(stale_maps=2), 1, 0),
        (BadDays(stale_maps=9), 0, 0),
    ],
    ids=["a good day", "empty", "half", "a change behind", "two behind", "before everything"],
)
async def test_maps_have_bad_days_of_which_the_history_knows_nothing(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, bad_day: BadDays, shows: int, films: int
) -> None:
    for work in (LIES, SPECIAL, DUNE):
        trakt.watch(work)
    await api.get("/sync/watched/shows?extended=min&specials=true")
    trakt.history.bad_days = bad_day

    told = [
        (await api.get(f"/sync/watched/{kind}?extended=min&specials=true")).json()
        for kind in ("shows", "movies")
    ]

    assert [len(times) for times in told] == [shows, films]
    assert len(await titles(api)) == 3


async def test_a_stale_map_still_shows_what_was_removed_or_corrected(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    removed, corrected = trakt.watch(LIES), trakt.watch(DUNE)
    before = [await a_map(api, kind) for kind in ("movies", "episodes")]
    trakt.remove(removed)
    trakt.correct(corrected, NOON - timedelta(days=3))

    after = [await a_map(api, kind) for kind in ("movies", "episodes")]
    trakt.history.bad_days = BadDays(stale_maps=2)
    stale = [await a_map(api, kind) for kind in ("movies", "episodes")]

    assert after == [{str(DUNE.trakt): ["2026-11-17T12:00:00.000Z"]}, {}]
    assert stale == before


async def a_map(api: httpx2.AsyncClient, kind: str) -> object:
    return (await api.get(f"/sync/watched/{kind}?extended=min")).json()


async def test_a_play_that_other_apps_redate_has_a_new_id(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, clock: Clock
) -> None:
    old = trakt.watch(DUNE)
    trakt.watch(LIES, at=NOON - timedelta(days=1))
    clock.moment += timedelta(minutes=5)

    new = trakt.redate(old, NOON - timedelta(days=2))

    items = (await api.get("/sync/history")).json()
    assert [item["id"] for item in items if item["type"] == "movie"] == [new]
    assert new != old
    assert await titles(api) == ["Lies", "Dune"]
    assert trakt.history.stamps()["movie"] == clock.moment


async def test_a_corrected_play_keeps_its_id_and_changes_its_place(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, clock: Clock
) -> None:
    play = trakt.watch(DUNE)
    trakt.watch(LIES, at=NOON - timedelta(days=1))
    clock.moment += timedelta(minutes=5)

    trakt.correct(play, "unknown")

    last = (await api.get("/sync/history")).json()[-1]
    assert (last["id"], last["watched_at"]) == (play, "1970-01-01T00:00:00.000Z")
    assert len((await api.get(f"/sync/history/movies/{DUNE.trakt}")).json()) == 1
    assert trakt.history.stamps()["movie"] == clock.moment


def test_a_play_that_is_not_there_cannot_be_redated(trakt: SimulatedTrakt) -> None:
    play = trakt.watch(DUNE)
    trakt.remove(play)

    with pytest.raises(KeyError):
        trakt.redate(play, NOON)
    with pytest.raises(KeyError):
        trakt.correct(play, NOON)


async def test_a_hidden_title_can_be_found_again(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    trakt.watch(DUNE)
    trakt.hide(DUNE)
    hidden = [await titles(api), await a_map(api, "movies")]

    trakt.unhide(DUNE)

    assert hidden == [[], {}]
    assert await titles(api) == ["Dune"]
    assert await a_map(api, "movies") == {str(DUNE.trakt): ["2026-11-20T12:00:00.000Z"]}


async def test_the_plays_of_a_merged_title_keep_their_ids_under_the_other(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, clock: Clock
) -> None:
    twin = Film("Dune", 2021, 999_001, "dune-part-one")
    plays = {trakt.watch(twin), trakt.watch(twin), trakt.watch(DUNE)}
    stamps = trakt.history.stamps()
    clock.moment += timedelta(minutes=5)

    trakt.merge(twin, DUNE)

    of_old = (await api.get(f"/sync/history/movies/{twin.trakt}")).json()
    of_new = (await api.get(f"/sync/history/movies/{DUNE.trakt}")).json()
    assert of_old == []
    assert {item["id"] for item in of_new} == plays
    assert {item["movie"]["ids"]["trakt"] for item in of_new} == {DUNE.trakt}
    assert await a_map(api, "movies") == {str(DUNE.trakt): ["2026-11-20T12:00:00.000Z"] * 3}
    assert trakt.history.stamps() == stamps
    assert twin not in trakt.history.known_works()


async def test_every_list_is_a_part_of_the_whole_history(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    trakt.fill(90)
    plays = [play.id for play in trakt.plays]
    for play in plays[::3]:
        trakt.remove(play)
    trakt.history.remove(plays[1:40:3])
    for play in plays[50::3]:
        trakt.correct(play, NOON - timedelta(hours=play % 50))
    whole = (await api.get("/sync/history", params={"limit": 250})).json()

    films, episodes, dark, season, late = [
        (await api.get(f"/sync/history{path}limit=250")).json()
        for path in (
            "/movies?",
            "/episodes?",
            f"/shows/{DARK.trakt}?",
            f"/seasons/{LIES.season_id}?",
            "?start_at=2026-11-19T00:00:00Z&end_at=2026-11-19T20:00:00Z&",
        )
    ]

    assert len(whole) == len(trakt.plays) == 90 - 30 - 13
    assert whole == sorted(whole, key=lambda one: (one["watched_at"], one["id"]), reverse=True)
    assert films == [item for item in whole if item["type"] == "movie"]
    assert episodes == [item for item in whole if item["type"] == "episode"]
    assert dark == season
    assert dark == [item for item in episodes if item["show"]["ids"]["slug"] == "dark"]
    between = ("2026-11-19T00:00:00.000Z", "2026-11-19T20:00:00.000Z")
    assert late == [item for item in whole if between[0] <= item["watched_at"] <= between[1]]
    assert dark
    assert late


def test_thousands_of_plays_come_and_go_among_a_hundred_thousand_in_a_moment(
    trakt: SimulatedTrakt,
) -> None:
    trakt.fill(100_000)
    begun = time.monotonic()

    for hours in range(2000):
        play = trakt.watch(DUNE, at=NOON - timedelta(hours=hours))
        trakt.remove(trakt.redate(play, NOON))

    assert len(trakt.plays) == 100_000
    assert time.monotonic() - begun < 30


async def test_writes_keep_the_contract_and_tell_no_ids(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    unknown = {"ids": {"imdb": "tt0000111"}}
    body = {
        "movies": [{"ids": {"trakt": DUNE.trakt}, "watched_at": "2020-01-02T03:44:55Z"}, unknown],
        "episodes": [{"ids": {"trakt": LIES.trakt}, "watched_at": "unknown"}],
    }

    answer = await api.post("/sync/history", json=body)

    assert errors("sync.history.add", None, body, part="body") == []
    assert errors("sync.history.add", answer.status_code, answer.json(), strict=True) == []
    assert answer.json()["added"] == {"movies": 1, "episodes": 1}
    assert answer.json()["not_found"]["movies"] == [unknown]
    assert [play.watched_at for play in trakt.plays] == [
        datetime(2020, 1, 2, 3, 44, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
    ]


@pytest.mark.parametrize(
    ("show", "number"),
    [
        ({}, 3),
        ({"seasons": [{"number": 1}]}, 3),
        ({"seasons": [{"number": 1, "episodes": [{"number": 2, "watched_at": "released"}]}]}, 1),
    ],
    ids=["a bare show", "a season", "an episode"],
)
async def test_a_show_adds_what_it_names_and_a_bare_one_everything(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, show: dict[str, object], number: int
) -> None:
    answer = await api.post("/sync/history", json={"shows": [{"ids": {"slug": "dark"}, **show}]})

    assert answer.json()["added"] == {"movies": 0, "episodes": number}
    assert len(trakt.plays) == number


async def test_removal_by_id_takes_one_play_and_by_media_all(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, clock: Clock
) -> None:
    play, *_ = (trakt.watch(DUNE) for _ in range(3))

    one = await api.post("/sync/history/remove", json={"ids": [play, 42]})
    clock.moment += timedelta(seconds=1)
    rest = await api.post("/sync/history/remove", json={"movies": [{"ids": {"slug": DUNE.slug}}]})

    assert errors("sync.history.remove", one.status_code, one.json()) == []
    assert one.json()["deleted"] == {"movies": 1, "episodes": 0}
    assert one.json()["not_found"]["ids"] == [42]
    assert rest.json()["deleted"] == {"movies": 2, "episodes": 0}


async def test_one_write_a_second_is_allowed(api: httpx2.AsyncClient, clock: Clock) -> None:
    first = await api.post("/sync/history", json={})
    second = await api.post("/sync/history", json={})
    clock.moment += timedelta(seconds=1)
    third = await api.post("/sync/history", json={})

    assert [answer.status_code for answer in (first, second, third)] == [200, 429, 200]


async def test_the_answer_to_a_write_can_be_lost_after_it_was_done(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    trakt.then(Status(504, committed=True))

    answer = await api.post("/sync/history", json={"movies": [{"ids": {"slug": DUNE.slug}}]})

    assert answer.status_code == 504
    assert len(trakt.plays) == 1
