"""Ratings, comments and notes: what is read, what is kept, and what is told with which viewing."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.opinion import Kind, Opinion, newest, said
from app.sources.trakt_opinions import LONGEST_WORDS, read_opinion

EVENING = datetime(2026, 11, 20, 20, 14, tzinfo=UTC)
AT = "2026-11-20T21:00:00.000Z"
MOVIE: dict[str, Any] = {"type": "movie", "movie": {"title": "Dune", "ids": {"trakt": 481}}}
RATING = {**MOVIE, "rating": 8, "rated_at": AT}
COMMENT = {
    **MOVIE,
    "comment": {"comment": "Sand.", "spoiler": False, "parent_id": 0, "created_at": AT},
}
PUBLIC = {"id": 49, "notes": "Sand.", "privacy": "public", "spoiler": False, "created_at": AT}
NOTE = {"attached_to": {"type": "movie"}, **MOVIE, "note": PUBLIC}
FLAT_NOTE = {**PUBLIC, "item": MOVIE}
OF_ONE_VIEWING = {**NOTE, "attached_to": {"type": "history", "id": 3373536619}}
READ_AT = datetime(2026, 11, 20, 21, 0, tzinfo=UTC)


def changed(item: dict[str, Any], within: str, **changes: object) -> dict[str, Any]:
    return {**item, within: {**item[within], **changes}}


def test_a_rating_is_read() -> None:
    assert read_opinion(Kind.FILM_RATING, RATING) == Opinion(
        Kind.FILM_RATING, "movie:481", rating=8, at=READ_AT
    )


@pytest.mark.parametrize(
    ("kind", "item"),
    [(Kind.COMMENT, COMMENT), (Kind.NOTE, NOTE), (Kind.NOTE, FLAT_NOTE)],
    ids=["comment", "note", "flat note"],
)
def test_words_are_read_in_each_form(kind: Kind, item: dict[str, Any]) -> None:
    assert read_opinion(kind, item) == Opinion(kind, "movie:481", words="Sand.", at=READ_AT)


def test_a_note_may_belong_to_one_viewing() -> None:
    note = read_opinion(Kind.NOTE, OF_ONE_VIEWING)

    assert note is not None
    assert note.item == "watch:3373536619"


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        (Kind.NOTE, changed(NOTE, "note", privacy="private")),
        (Kind.NOTE, changed(NOTE, "note", privacy="friends")),
        (Kind.NOTE, changed(NOTE, "note", privacy=None)),
        (Kind.NOTE, {**FLAT_NOTE, "privacy": "private"}),
        (Kind.COMMENT, changed(COMMENT, "comment", parent_id=4711)),
        (Kind.COMMENT, {**COMMENT, "type": "show", "show": MOVIE["movie"]}),
        (Kind.COMMENT, changed(COMMENT, "comment", comment=" \n ")),
        (Kind.FILM_RATING, {**RATING, "rating": 0}),
        (Kind.FILM_RATING, {**RATING, "rating": 11}),
        (Kind.FILM_RATING, {**RATING, "rating": True}),
        (Kind.FILM_RATING, {**RATING, "type": "list"}),
        (Kind.FILM_RATING, {**RATING, "type": ["movie"]}),
        (Kind.FILM_RATING, {**RATING, "movie": {"ids": {"trakt": "481"}}}),
    ],
)
def test_what_is_not_for_everyone_or_about_no_viewing_is_left_out(kind: Kind, item: object) -> None:
    assert read_opinion(kind, item) is None


@pytest.mark.parametrize(
    "item",
    [
        changed(COMMENT, "comment", spoiler=True),
        changed(COMMENT, "comment", spoiler=None),
        changed(COMMENT, "comment", comment="He was [spoiler]dead[/spoiler] all along."),
    ],
)
def test_words_that_may_give_something_away_are_marked(item: object) -> None:
    comment = read_opinion(Kind.COMMENT, item)

    assert comment is not None
    assert comment.is_spoiler


def test_lines_stay_lines_and_a_book_is_cut() -> None:
    two = read_opinion(Kind.COMMENT, changed(COMMENT, "comment", comment="One.\r\n\r\n\tTwo\x00."))
    book = read_opinion(Kind.COMMENT, changed(COMMENT, "comment", comment="word " * 10_000))

    assert two is not None
    assert two.words == "One.\n\nTwo ."
    assert book is not None
    assert book.words is not None
    assert len(book.words) <= LONGEST_WORDS
    assert book.words.endswith("…")


NAMES = [*NOTE, *PUBLIC, *COMMENT["comment"], "comment", "item", "trakt", "ids", "rating"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    | st.sampled_from(["movie", "episode", "public", "history", AT, 481]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(
            NAMES
        ),
        inner,
        max_size=6,
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.sampled_from(Kind), ANYTHING)
def test_any_entry_is_an_opinion_that_can_be_stored_or_none(kind: Kind, item: object) -> None:
    read = read_opinion(kind, item)

    if read is not None:
        assert (read.rating is None) != (read.words is None)
        assert read.rating is None or 1 <= read.rating <= 10
        assert read.item.split(":")[0] in {"movie", "episode", "watch"}
        assert "\0" not in (read.words or "")
        json.dumps(read.words).encode()


def an_opinion(
    kind: Kind = Kind.COMMENT,
    words: str = "Sand.",
    hours: float = 1,
    item: str = "movie:481",
    *,
    is_spoiler: bool = False,
) -> Opinion:
    at = EVENING + timedelta(hours=hours)
    return Opinion(kind, item, words=words, is_spoiler=is_spoiler, at=at)


def test_a_rating_is_told_whenever_it_was_given() -> None:
    old = Opinion(Kind.FILM_RATING, "movie:481", rating=8, at=EVENING - timedelta(days=900))

    assert said([old], EVENING).rating == 8
    assert said([old], None).rating == 8


def test_words_of_long_before_a_viewing_are_about_another_one() -> None:
    assert said([an_opinion(hours=-25)], EVENING).words is None
    assert said([an_opinion(hours=-23)], EVENING).words == "Sand."
    assert said([an_opinion()], None).words is None
    assert said([replace(an_opinion(), at=None)], EVENING).words is None


def test_a_note_of_this_very_viewing_needs_no_date() -> None:
    note = replace(an_opinion(Kind.NOTE, item="watch:1"), at=None)

    assert said([note], None).words == "Sand."


def test_a_comment_is_told_before_a_note_and_the_latest_before_others() -> None:
    note, comment = an_opinion(Kind.NOTE, "note", 3), an_opinion(words="comment", hours=1)
    later = an_opinion(Kind.NOTE, "later", 4, item="watch:1", is_spoiler=True)

    assert said([note, comment], EVENING).words == "comment"
    assert said([note, later], EVENING).words == "later"
    assert said([note, later], EVENING).is_spoiler


def test_of_one_kind_what_was_said_last_is_kept() -> None:
    first, last = an_opinion(words="first", hours=1), an_opinion(words="last", hours=2)
    other = an_opinion(words="other", hours=0, item="movie:7")

    assert newest([last, first, other]) == [last, other]
    assert newest([first, last, other]) == [last, other]
