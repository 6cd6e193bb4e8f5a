"""What people think, as the simulated Trakt tells it: Trakt's own contract has the last word."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from app.demo.catalogue import DARK, DUNE, SECRETS, SPECIAL
from app.demo.trakt import SimulatedTrakt
from app.demo.trakt_opinions import Rated
from tests.trakt_contract import errors
from tests.world import Clock

RATE: list[tuple[str, Rated]] = [("movies", DUNE), ("episodes", SECRETS), ("shows", DARK)]


@pytest.mark.parametrize(("kind", "work"), RATE)
async def test_ratings_keep_the_contract(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, kind: str, work: Rated
) -> None:
    for each in (DUNE, SECRETS, DARK):
        trakt.opinions.rate(each, 8)

    answer = await api.get(f"/sync/ratings/{kind}")

    assert errors("sync.ratings.get", answer.status_code, answer.json()) == []
    assert errors(f"users.ratings.{kind}", answer.status_code, answer.json()) == []
    (rated,) = answer.json()
    assert rated["rating"] == 8
    assert rated[kind.removesuffix("s")]["ids"]["trakt"] == work.trakt


async def test_ratings_come_all_at_once_or_in_pages(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    for work in (SECRETS, SPECIAL):
        trakt.opinions.rate(work, 9)

    whole = await api.get("/sync/ratings/episodes?page=2&limit=1")
    trakt.opinions.pages_ratings = True
    paged = await api.get("/sync/ratings/episodes?page=2&limit=1")

    assert len(whole.json()) == 2
    assert "x-pagination-page-count" not in whole.headers
    assert [item["episode"]["title"] for item in paged.json()] == [SECRETS.title]
    assert paged.headers["x-pagination-page-count"] == "2"


async def test_comments_keep_the_contract_and_answers_to_others_are_apart(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    trakt.opinions.rate(DUNE, 8)
    for work in (DUNE, SECRETS, DARK):
        trakt.opinions.comment(work, "Sand everywhere.", is_spoiler=True)
    trakt.opinions.comment(DUNE, "I disagree.", parent=4711)

    own = await api.get("/users/me/comments/all/all?include_replies=false")
    every = await api.get("/users/me/comments/all/all?include_replies=true")

    assert errors("users.comments", own.status_code, own.json()) == []
    assert [item["type"] for item in own.json()] == ["show", "episode", "movie"]
    assert own.json()[2]["comment"]["user_stats"]["rating"] == 8
    assert len(every.json()) == 4


@pytest.mark.parametrize("is_flat", [False, True], ids=["example", "contract"])
async def test_notes_keep_the_contract_in_either_form(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, *, is_flat: bool
) -> None:
    trakt.opinions.flat_notes = is_flat
    play = trakt.watch(DUNE)
    trakt.opinions.note(DUNE, "With Grandma.", "private")
    trakt.opinions.note(SECRETS, "Again from the start.", "public", play=play)

    answer = await api.get("/users/me/notes/all")

    assert errors("users.notes", answer.status_code, answer.json()) == []
    assert ["note" in item for item in answer.json()] == [not is_flat] * 2


CHANGES: list[tuple[str, str, Callable[[SimulatedTrakt], None]]] = [
    ("movies", "rated_at", lambda trakt: trakt.opinions.rate(DUNE, 7)),
    ("episodes", "rated_at", lambda trakt: trakt.opinions.rate(SECRETS, 7)),
    ("movies", "commented_at", lambda trakt: trakt.opinions.comment(DUNE, "Fine.")),
    ("notes", "updated_at", lambda trakt: trakt.opinions.note(DUNE, "Fine.", "public")),
]


@pytest.mark.parametrize(("of", "name", "change"), CHANGES)
async def test_each_change_moves_its_own_stamp(
    trakt: SimulatedTrakt,
    api: httpx2.AsyncClient,
    clock: Clock,
    of: str,
    name: str,
    change: Callable[[SimulatedTrakt], None],
) -> None:
    before: dict[str, Any] = (await api.get("/sync/last_activities")).json()
    clock.passes(hours=1)

    change(trakt)
    answer = await api.get("/sync/last_activities")

    assert errors("sync.lastActivities", answer.status_code, answer.json()) == []
    after = answer.json()
    assert after["all"] == after[of][name]
    moved = [
        (part, key)
        for part, stamps in after.items()
        if isinstance(stamps, dict)
        for key, stamp in stamps.items()
        if stamp != before[part][key]
    ]
    assert moved == [(of, name)]


async def test_a_person_rates_and_comments_in_the_town(
    trakt: SimulatedTrakt, auth: httpx2.AsyncClient
) -> None:
    play = trakt.watch(DUNE)
    form = {"play": str(play), "rating": "9", "words": " Sand. ", "spoiler": "yes"}

    assert "Say what you think" in (await auth.get("/")).text
    await auth.post("/rate", data=form)

    assert [one.rating for one in trakt.opinions.ratings.values()] == [9]
    (comment,) = trakt.opinions.comments
    assert (comment.words, comment.is_spoiler) == ("Sand.", True)


async def test_a_rating_is_replaced_and_taken_away(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    trakt.opinions.rate(DUNE, 3)
    trakt.opinions.rate(DUNE, 9)
    rated = (await api.get("/sync/ratings/movies")).json()

    trakt.opinions.unrate(DUNE)

    assert [item["rating"] for item in rated] == [9]
    assert (await api.get("/sync/ratings/movies")).json() == []
