import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from app.hentry import Telling, hentry, marker, slug, zone
from app.watch import Ids, Movie, Show, caption, from_json, name, to_json, work_key
from tests.works import DARK, DUNE, EVENING, a_watch, an_episode

VIENNA = Telling(ZoneInfo("Europe/Vienna"))


def test_a_film_becomes_the_most_compatible_post() -> None:
    assert hentry(a_watch(), VIENNA) == {
        "type": ["h-entry"],
        "properties": {
            "summary": ["Watched Dune (2021)"],
            "content": ["🎬 Watched Dune (2021) https://trakt.tv/movies/dune-2021"],
            "category": ["watch", "movie"],
            "watch-of": [
                {
                    "type": ["h-cite"],
                    "properties": {
                        "name": ["Dune"],
                        "url": ["https://trakt.tv/movies/dune-2021"],
                        "uid": ["tmdb:movie:438631"],
                        "trakt-watch-id": ["3373536619"],
                        "trakt-ids": [
                            {
                                "trakt": "287071",
                                "slug": "dune-2021",
                                "imdb": "tt1160419",
                                "tmdb": "438631",
                            }
                        ],
                        "published": ["2021"],
                    },
                }
            ],
            "syndication": ["https://trakt.tv/movies/dune-2021#watch-3373536619"],
            "mp-slug": ["watch-1jsilij"],
            "published": ["2026-11-20T21:14:00+01:00"],
        },
    }


def test_an_episode_names_its_season_its_number_and_its_show() -> None:
    post = hentry(a_watch(an_episode()), VIENNA)["properties"]
    cite = post["watch-of"][0]["properties"]

    assert post["summary"] == ["Watched Dark S01E02 “Lies”"]
    assert post["category"] == ["watch", "tv"]
    assert (cite["name"], cite["season"], cite["episode"]) == (["Lies"], ["1"], ["2"])
    assert cite["publication"] == ["Dark"]
    assert cite["episode-of"][0]["properties"] == {
        "name": ["Dark"],
        "url": ["https://trakt.tv/shows/dark"],
        "trakt-ids": [{"trakt": "118145", "slug": "dark", "tmdb": "70523"}],
        "published": ["2017"],
    }


def test_no_top_level_property_turns_the_note_into_something_else() -> None:
    assert not {"name", "photo", "uid", "author"} & set(hentry(a_watch(), VIENNA)["properties"])


@pytest.mark.parametrize("watch", [a_watch(), a_watch(an_episode())], ids=["film", "episode"])
def test_every_value_is_a_list_and_every_leaf_a_text(watch: object) -> None:
    def check(properties: dict[str, object]) -> None:
        for values in properties.values():
            assert isinstance(values, list)
            for value in values:
                if isinstance(value, dict) and "properties" in value:
                    check(value["properties"])
                elif isinstance(value, dict):
                    assert all(isinstance(leaf, str) for leaf in value.values())
                else:
                    assert isinstance(value, str)

    check(hentry(watch, VIENNA)["properties"])  # type: ignore[arg-type] # a parametrised Watch


def test_a_rewatch_says_so_and_names_its_day() -> None:
    again = Telling(UTC, again=True)

    post = hentry(a_watch(), again)["properties"]

    assert post["summary"] == ["Watched Dune (2021) again"]
    assert post["content"] == [
        "🎬 Watched Dune (2021) again on 20 November 2026 https://trakt.tv/movies/dune-2021"
    ]


def test_two_viewings_of_one_work_differ_in_slug_and_marker_only_by_their_id() -> None:
    first, second = a_watch(key="3373536619"), a_watch(key="3373536620")

    assert slug(first) != slug(second)
    assert marker(first) != marker(second)


def test_an_unknown_date_is_never_invented() -> None:
    assert "published" not in hentry(a_watch(at=None), VIENNA)["properties"]


def test_nothing_is_said_about_syndication_unless_a_server_must_be_kept_silent() -> None:
    silent = Telling(UTC, targets=())

    assert "mp-syndicate-to" not in hentry(a_watch(), VIENNA)["properties"]
    assert hentry(a_watch(), silent)["properties"]["mp-syndicate-to"] == [""]


def test_the_offset_is_the_one_at_the_time_of_the_watch() -> None:
    summer = a_watch(at=datetime(2026, 7, 1, 20, 0, tzinfo=UTC))

    assert hentry(summer, VIENNA)["properties"]["published"] == ["2026-07-01T22:00:00+02:00"]


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (DUNE, "Dune (2021)"),
        (Movie("Dune", None, DUNE.ids), "Dune"),
        (Movie(None, 2021, DUNE.ids), "Untitled film (2021)"),
        (an_episode(), "Dark S01E02 “Lies”"),
        (an_episode(None, 1, 3), "Dark S01E03"),
        (an_episode("Making of", 0, 1), "Dark S00E01 “Making of”"),
    ],
    ids=["film", "no year", "no title", "episode", "untitled episode", "special"],
)
def test_a_work_is_said_with_what_is_known(work: Movie, said: str) -> None:
    assert caption(work) == said


def test_an_untitled_episode_is_called_by_its_number() -> None:
    assert name(an_episode(None, 1, 3)) == "Episode 3"


@pytest.mark.parametrize(
    ("ids", "uid"),
    [
        (Ids(trakt=1, tmdb=2, imdb="tt3"), ["tmdb:movie:2"]),
        (Ids(trakt=1, imdb="tt3"), ["imdb:tt3"]),
        (Ids(trakt=1), ["trakt:movie:1"]),
    ],
)
def test_the_uid_comes_from_the_best_known_catalogue(ids: Ids, uid: list[str]) -> None:
    cite = hentry(a_watch(Movie("Dune", 2021, ids)), VIENNA)["properties"]["watch-of"][0]

    assert cite["properties"]["uid"] == uid


@pytest.mark.parametrize("work", [DUNE, an_episode()], ids=["film", "episode"])
def test_a_work_survives_the_database_unchanged(work: Movie) -> None:
    assert from_json(json.loads(json.dumps(to_json(work)))) == work


def test_a_work_has_the_same_key_whatever_its_title_says_today() -> None:
    assert work_key(Movie("Dune: Part One", 2021, DUNE.ids)) == work_key(DUNE)
    assert work_key(an_episode()) != work_key(DUNE)


def test_an_episode_without_ids_is_known_by_its_place_in_its_show() -> None:
    nameless = an_episode()
    nameless = type(nameless)(DARK, 1, 2, "Lies", Ids())

    assert work_key(nameless) == "episode-of:trakt:118145:1:2"
    assert work_key(type(nameless)(Show("?", None, Ids()), 1, 2, None, Ids())) is None


def test_a_naive_time_is_refused_where_the_mistake_is() -> None:
    with pytest.raises(ValueError, match="aware"):
        a_watch(at=EVENING.replace(tzinfo=None))


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../../etc/passwd", "\x00", "Europe"])
def test_a_time_zone_nobody_knows_is_none(name: str) -> None:
    assert zone(name) is None
