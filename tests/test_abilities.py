"""What an endpoint can do: by whose word, and what counts."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.abilities import (
    HABITS,
    LONGEST_TEXT,
    MOST_TARGETS,
    Abilities,
    Ability,
    Finding,
    How,
    Sent,
    Server,
    Target,
    after_post,
    by_page,
    compared,
    from_json,
    learned,
    met,
    overruled,
    read_config,
    to_json,
    told,
)
from tests.conftest import NOON

ENDPOINT = "https://ada.example/micropub"
LATER = NOON + timedelta(hours=1)
A = Ability

texts = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
CONFIG_NAMES = [
    "q", "media-endpoint", "syndicate-to", "post-types", "mp", "visibility", "post-status",
    "properties",
]  # fmt: skip
configs = st.dictionaries(st.sampled_from(CONFIG_NAMES) | texts, json_values, max_size=6)


# --- By whose word ---


def test_what_was_seen_counts_more_than_what_the_server_says_and_that_more_than_its_kind() -> None:
    known = met(Abilities(), ENDPOINT, Server.WORDPRESS, NOON)
    assert known.can(A.SLUG) is True

    known = learned(known, {A.SLUG: False}, How.CONFIG, NOON)
    assert known.can(A.SLUG) is False
    known = learned(known, {A.SLUG: True}, How.POST, NOON)
    assert known.can(A.SLUG) is True
    known = learned(known, {A.SLUG: False}, How.CONFIG, LATER)

    assert known.can(A.SLUG) is True


def test_of_two_posts_the_newer_one_counts_whether_it_was_a_test_or_not() -> None:
    known = learned(Abilities(), {A.NESTED: True}, How.TEST, NOON)

    known = learned(known, {A.NESTED: False}, How.POST, LATER)
    assert known.can(A.NESTED) is False
    known = learned(known, {A.NESTED: True}, How.TEST, LATER + timedelta(hours=1))

    assert known.can(A.NESTED) is True


def test_the_person_overrules_whatever_was_seen_and_may_take_it_back() -> None:
    known = learned(Abilities(), {A.DRAFTS: False}, How.TEST, NOON)

    said = overruled(known, {A.DRAFTS: True, A.UPDATE: None}, LATER)
    later = learned(said, {A.DRAFTS: False}, How.TEST, LATER + timedelta(days=1))

    assert later.can(A.DRAFTS) is True
    assert later.by_person(A.DRAFTS) is True
    assert later.can(A.UPDATE) is None
    assert overruled(later, {A.DRAFTS: None}, LATER).can(A.DRAFTS) is False


def test_a_word_that_is_saved_again_keeps_its_date() -> None:
    known = overruled(Abilities(), {A.DRAFTS: True, A.UPDATE: True}, NOON)

    known = overruled(known, {A.DRAFTS: True, A.UPDATE: False}, LATER)

    assert known.finding(A.DRAFTS) == Finding(A.DRAFTS, can=True, how=How.PERSON, at=NOON)
    assert known.finding(A.UPDATE) == Finding(A.UPDATE, can=False, how=How.PERSON, at=LATER)


def test_of_another_endpoint_only_the_persons_word_goes_on() -> None:
    known = met(Abilities(), ENDPOINT, Server.WORDPRESS, NOON)
    known = overruled(learned(known, {A.NESTED: True}, How.POST, NOON), {A.DRAFTS: False}, NOON)

    moved = met(known, "https://other.example/micropub", Server.UNKNOWN, LATER)

    assert [(one.ability, one.how) for one in moved.findings] == [(A.DRAFTS, How.PERSON)]
    assert (moved.server, moved.asked_at, moved.posts) == (Server.UNKNOWN, None, 0)


def test_another_program_behind_the_same_address_is_learned_anew() -> None:
    known = met(Abilities(), ENDPOINT, Server.WORDPRESS, NOON)
    known = learned(known, {A.NESTED: True}, How.POST, NOON)

    known = met(known, ENDPOINT, Server.MICROBLOG_PUB, LATER)

    assert known.server is Server.MICROBLOG_PUB
    assert known.can(A.NESTED) is False


def test_a_page_that_does_not_tell_its_server_takes_nothing_back() -> None:
    known = met(Abilities(), ENDPOINT, Server.INDIEKIT, NOON)

    assert met(known, ENDPOINT, Server.UNKNOWN, LATER) == known


@pytest.mark.parametrize("server", Server)
def test_the_habits_of_each_kind_of_server_are_weaker_than_anything_else(server: Server) -> None:
    known = met(Abilities(), ENDPOINT, server, NOON)

    for ability, can in HABITS[server].items():
        assert known.can(ability) is can
        assert learned(known, {ability: not can}, How.CONFIG, NOON).can(ability) is not can


# --- Which server ---

PAGES: list[tuple[str, list[str], list[str], Server]] = [
    ("https://a.example/wp-json/micropub/1.0/endpoint", [], [], Server.WORDPRESS),
    ("https://a.example/blog/?rest_route=/micropub/1.0/endpoint", [], [], Server.WORDPRESS),
    ("https://a.example/m", ["WordPress 6.5.5"], [], Server.WORDPRESS),
    ("https://a.example/m", [], ["https://api.w.org/"], Server.WORDPRESS),
    ("https://micro.blog/micropub", ["Hugo 0.91"], [], Server.MICRO_BLOG),
    # The page of one program may name the endpoint of another.
    ("https://micro.blog/micropub", ["WordPress 6.5.5"], [], Server.MICRO_BLOG),
    ("https://notmicro.blog/micropub", [], [], Server.UNKNOWN),
    ("https://a.example/micropub/endpoint", [], [], Server.KNOWN),
    ("https://a.example/m", ["Known https://withknown.com"], [], Server.KNOWN),
    ("https://a.example/m", ["", "https://withknown.com", "nginx"], [], Server.KNOWN),
    ("https://a.example/indieweb/micropub", ["Drupal 10 (https://…)"], [], Server.DRUPAL),
    ("https://a.example/micropub", ["microblogpub"], [], Server.MICROBLOG_PUB),
    ("https://a.example/micropub", ["Hugo 0.91", "nginx"], [], Server.UNKNOWN),
    ("", [], [], Server.UNKNOWN),
]


@pytest.mark.parametrize(("endpoint", "named", "rels", "server"), PAGES)
def test_a_server_is_recognised_by_what_its_page_gives_away(
    endpoint: str, named: list[str], rels: list[str], server: Server
) -> None:
    assert by_page(endpoint, named, rels) is server


INDIEKIT: dict[str, Any] = {
    "categories": [],
    "media-endpoint": "https://a.example/media",
    "post-types": [{"type": "note", "name": "Note"}],
    "syndicate-to": [{"uid": "https://masto.example/@ada", "name": "ada"}],
    "q": ["category", "config", "media-endpoint", "post-types", "source", "syndicate-to"],
}
DJANGO: dict[str, Any] = {**INDIEKIT, "q": [*INDIEKIT["q"], "channel"]}
WORDPRESS: dict[str, Any] = {
    "syndicate-to": [],
    "media-endpoint": "https://a.example/wp-json/micropub/1.0/media",
    "visibility": ["public", "private"],
    "mp": ["slug", "syndicate-to"],
    "q": ["config", "syndicate-to", "category", "source"],
}
KNOWN: dict[str, Any] = {
    "media-endpoint": "https://a.example/micropub/endpoint",
    "syndicate-to": ["twitter::ada"],
}


@pytest.mark.parametrize(
    ("endpoint", "answer", "server"),
    [
        ("https://a.example/micropub", INDIEKIT, Server.INDIEKIT),
        ("https://a.example/indieweb/micropub/", DJANGO, Server.DJANGO),
        ("https://a.example/m", WORDPRESS, Server.WORDPRESS),
        ("https://a.example/micropub", {}, Server.UNKNOWN),
        ("https://a.example/micropub", "<html>", Server.UNKNOWN),
    ],
)
def test_a_server_is_recognised_by_how_it_speaks_of_itself(
    endpoint: str, answer: object, server: Server
) -> None:
    assert told(Abilities(endpoint), answer, NOON).server is server


# --- What an endpoint says ---


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({}, {}),
        (None, {}),
        ([INDIEKIT], {}),
        (INDIEKIT, {A.MEDIA: True, A.TARGETS: True, A.SOURCE: True}),
        (
            WORDPRESS,
            {A.MEDIA: True, A.TARGETS: False, A.SOURCE: True, A.SLUG: True, A.VISIBILITY: True},
        ),
        (KNOWN, {A.MEDIA: True, A.TARGETS: True}),
        ({"q": ["config"]}, {A.MEDIA: False, A.SOURCE: False, A.LIST: False}),
        ({"properties": ["mp-slug", "post-status"]}, {A.SLUG: True, A.DRAFTS: True}),
        ({"post-status": ["published", "draft"]}, {A.DRAFTS: True}),
        ({"q": "config", "mp": 7, "syndicate-to": {}, "visibility": None}, {}),
    ],
)
def test_only_what_follows_for_sure_is_taken_from_an_endpoints_word(
    answer: object, says: Mapping[Ability, bool]
) -> None:
    assert read_config(answer, ENDPOINT).says == says


def test_targets_are_named_by_objects_or_by_bare_texts() -> None:
    assert read_config(INDIEKIT, ENDPOINT).targets == (Target("https://masto.example/@ada", "ada"),)
    assert read_config(KNOWN, ENDPOINT).targets == (Target("twitter::ada", "twitter::ada"),)


@pytest.mark.parametrize(
    "media", ["http://a.example/media", "javascript:alert(1)", "media", 7, None, ["https://a.b/"]]
)
def test_a_media_endpoint_that_must_not_have_the_key_is_none(media: object) -> None:
    config = read_config({"media-endpoint": media}, ENDPOINT)

    assert config.media_endpoint is None
    assert config.says == {A.MEDIA: False}


def test_a_site_without_https_may_have_its_media_endpoint_there_too() -> None:
    answer = {"media-endpoint": "http://127.0.0.1:8002/media"}

    assert read_config(answer, "http://127.0.0.1:8002/micropub").media_endpoint


@given(configs | json_values)
def test_no_answer_whatever_does_harm(answer: object) -> None:
    known = told(Abilities(ENDPOINT), answer, NOON)

    assert known.asked_at == NOON
    assert known.media_endpoint is None or known.media_endpoint.startswith("https://")
    assert len(known.targets) <= MOST_TARGETS
    assert all(len(one.uid) <= LONGEST_TEXT and one.name.isprintable() for one in known.targets)
    assert {one.how for one in known.findings} <= {How.CONFIG, How.KIND}
    assert from_json(to_json(known)) == known


def test_what_it_no_longer_says_of_itself_is_forgotten() -> None:
    known = told(Abilities(ENDPOINT), WORDPRESS, NOON)

    known = told(known, {}, LATER)

    assert known.can(A.VISIBILITY) is None
    assert (known.targets, known.media_endpoint) == ((), None)


def test_it_is_asked_once_a_day_and_after_the_clock_went_back() -> None:
    known = told(Abilities(ENDPOINT), {}, NOON)

    assert Abilities(ENDPOINT).is_to_be_asked(NOON)
    assert not known.is_to_be_asked(NOON)
    assert not known.is_to_be_asked(NOON + timedelta(hours=23))
    assert known.is_to_be_asked(NOON + timedelta(hours=24))
    assert known.is_to_be_asked(NOON - timedelta(hours=1))


# --- What became of a post ---

CITE = {"type": ["h-cite"], "properties": {"name": ["Dune"]}}
SENT = Sent(
    {
        "published": ["2026-11-20T21:14:00+01:00"],
        "watch-of": [CITE],
        "mp-slug": ["watch-1"],
        "post-status": ["draft"],
        "visibility": ["private"],
    },
    "https://ada.example/2026/watch-1",
)
ALL = {**SENT.properties, "published": ["2026-11-20T20:14:59Z"]}


@pytest.mark.parametrize(
    ("kept", "seen"),
    [
        (
            {**ALL, "post-status": ["published"]},
            {A.NESTED: True, A.SLUG: True, A.DATE: True, A.DRAFTS: False, A.VISIBILITY: True},
        ),
        ({**ALL, "visibility": ["public"]}, {A.VISIBILITY: False, A.DRAFTS: True}),
        ({"content": ["Watched"]}, {A.NESTED: False, A.DATE: False}),
        ({**ALL, "watch-of": ["https://trakt.tv/movies/dune-2021"]}, {A.NESTED: False}),
        ({**ALL, "watch-of": [{"type": ["h-cite"], "properties": {}}]}, {A.NESTED: False}),
        ({**ALL, "published": ["2026-11-20T20:16:00Z"]}, {A.DATE: False}),
    ],
)
def test_a_post_shows_what_its_server_keeps(
    kept: dict[str, Any], seen: dict[Ability, bool]
) -> None:
    found = compared(SENT, kept)

    assert {ability: found[ability] for ability in seen} == seen
    assert found[A.SOURCE] is True


def test_a_post_that_is_not_told_of_proves_nothing() -> None:
    assert compared(SENT, None) == {}


def test_what_may_be_left_out_for_another_reason_proves_nothing() -> None:
    found = compared(SENT, {"content": ["Watched"]})

    assert A.DRAFTS not in found
    assert A.VISIBILITY not in found
    # A draft's address is often a passing one.
    assert A.SLUG not in compared(replace(SENT, url="https://ada.example/?p=7"), ALL)


def test_an_address_without_the_slug_shows_that_it_was_not_wanted() -> None:
    kept = {**ALL, "post-status": ["published"]}

    assert compared(replace(SENT, url="https://ada.example/7"), kept)[A.SLUG] is False


def test_only_three_posts_without_a_word_say_that_single_posts_are_not_told_of() -> None:
    known = Abilities(ENDPOINT)
    for _ in range(2):
        known = after_post(known, {}, NOON)
    assert known.can(A.SOURCE) is None
    assert after_post(known, {A.SOURCE: True}, NOON).can(A.SOURCE) is True

    assert after_post(known, {}, NOON).can(A.SOURCE) is False


# --- In the database ---


@given(json_values)
def test_what_another_version_wrote_is_read_as_far_as_it_is_understood(data: object) -> None:
    assert from_json(data).posts >= 0
    known = from_json({"findings": data, "targets": data, "endpoint": ENDPOINT, "server": data})
    assert known.endpoint == ENDPOINT


def test_an_ability_that_is_not_known_here_is_passed_over() -> None:
    known = learned(Abilities(ENDPOINT), {A.SLUG: True}, How.POST, NOON)
    data = to_json(known)
    data["findings"] += [
        {**data["findings"][0], "ability": "telepathy"},
        {**data["findings"][0], "how": "rumour"},
        {**data["findings"][0], "at": "yesterday"},
        {**data["findings"][0], "can": "perhaps"},
    ]

    assert from_json({**data, "server": "abacus"}) == known
