"""Rules as values: what they decide, in which words, and as JSON."""

import json
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules import (
    DONE,
    GENRES,
    Decision,
    Facts,
    Rule,
    Rules,
    RulesError,
    Then,
    decide,
    decision_from_json,
    decision_to_json,
    from_json,
    kept,
    to_json,
    words,
)
from app.watch import About, Watch
from tests.works import a_watch, an_episode

VIENNA = Facts(ZoneInfo("Europe/Vienna"), again=False)
SKIP = Then.SKIP
DOCS = Path(__file__).parents[1] / "docs" / "rules.md"
# Watched at 21:14 in Vienna.
FILM = replace(a_watch(), about=About(genres=("drama", "science-fiction"), rating=7.9))
EPISODE = replace(a_watch(an_episode()), about=About(genres=("reality",), rating=5))
UNTOLD = a_watch()
UNDATED = replace(FILM, watched_at=None)


def number(rule: Rule, watch: Watch = FILM, facts: Facts = VIENNA) -> int | None:
    return decide(Rules((rule,)), watch, facts).number


@pytest.mark.parametrize(
    ("rule", "watch", "applies"),
    [
        (Rule(), FILM, True),
        (Rule(kind="movie"), FILM, True),
        (Rule(kind="movie"), EPISODE, False),
        (Rule(kind="episode"), EPISODE, True),
        (Rule(work="dune"), FILM, True),
        (Rule(work="Dun"), FILM, False),
        (Rule(work="Dark"), EPISODE, True),
        (Rule(work="Lies"), EPISODE, False),
        (Rule(work="https://trakt.tv/movies/dune-2021"), FILM, True),
        (Rule(work="trakt.tv/shows/dune-2021"), FILM, False),
        (Rule(work="https://app.trakt.tv/shows/dark/seasons/1?x=y"), EPISODE, True),
        (Rule(work="https://trakt.tv/shows/118145"), EPISODE, True),
        (Rule(work="trakt:118145"), EPISODE, True),
        (Rule(work="trakt:287071"), FILM, True),
        (Rule(work="trakt:1"), FILM, False),
        (Rule(genre="drama"), FILM, True),
        (Rule(genre="reality"), FILM, False),
        (Rule(at_least=7.9), FILM, True),
        (Rule(at_least=8), FILM, False),
        (Rule(at_most=7.9), FILM, True),
        (Rule(at_most=7), FILM, False),
        (Rule(at_least=5, at_most=8), FILM, True),
        (Rule(text="LIES"), EPISODE, True),
        (Rule(text="dark s01"), EPISODE, True),
        (Rule(text="secrets"), EPISODE, False),
        (Rule(kind="movie", genre="drama", at_least=7, text="dune"), FILM, True),
        (Rule(kind="movie", genre="drama", at_least=9, text="dune"), FILM, False),
    ],
    ids=str,
)
def test_a_rule_applies_when_all_its_conditions_hold(
    rule: Rule, watch: Watch, *, applies: bool
) -> None:
    assert (number(rule, watch) == 1) is applies


@pytest.mark.parametrize(
    ("hours", "applies"),
    [((21, 22), True), ((20, 21), False), ((22, 6), False), ((20, 2), True), ((21, 0), True)],
)
def test_hours_are_of_the_persons_zone_and_may_go_over_midnight(
    hours: tuple[int, int], *, applies: bool
) -> None:
    assert (number(Rule(hours=hours)) == 1) is applies


def test_another_zone_has_another_hour() -> None:
    rule = Rule(hours=(5, 6))

    assert number(rule, facts=Facts(ZoneInfo("Asia/Tokyo"))) == 1
    assert number(rule) is None


def test_a_rule_for_rewatches_tells_them_from_first_times() -> None:
    again = replace(VIENNA, again=True)

    assert number(Rule(again=True), facts=again) == 1
    assert number(Rule(again=False), facts=again) is None
    assert number(Rule(again=True)) is None
    assert number(Rule(again=False)) == 1


@pytest.mark.parametrize(
    ("rule", "watch", "facts", "note"),
    [
        (Rule(hours=(0, 23)), UNDATED, VIENNA, "at what hour it was watched"),
        (Rule(again=True), UNDATED, Facts(UTC), "whether it was seen before"),
        (Rule(again=False), UNDATED, Facts(UTC), "whether it was seen before"),
        (Rule(genre="drama"), UNTOLD, VIENNA, "Trakt’s genre was not known yet"),
        (Rule(genre="drama"), replace(FILM, about=About()), VIENNA, "genre was not known"),
        (Rule(at_most=10), UNTOLD, VIENNA, "Trakt’s rating was not known yet"),
        (Rule(at_least=1), replace(FILM, about=About(genres=())), VIENNA, "rating was not known"),
    ],
    ids=str,
)
def test_what_nobody_knows_holds_no_condition_and_is_told(
    rule: Rule, watch: Watch, facts: Facts, note: str
) -> None:
    decision = decide(Rules((rule,)), watch, facts)

    assert decision.number is None
    assert len(decision.notes) == 1
    assert note in decision.notes[0]
    assert decision.notes[0].startswith("Rule 1 did not apply")


def test_what_is_unknown_is_not_told_where_another_condition_does_not_hold() -> None:
    assert decide(Rules((Rule(kind="episode", genre="drama"),)), UNTOLD, VIENNA) == Decision()


def test_the_first_rule_that_applies_wins() -> None:
    rules = Rules((Rule(SKIP, kind="episode"), Rule(Then.DRAFT, genre="drama"), Rule(SKIP)))

    assert decide(rules, EPISODE, VIENNA).then is SKIP
    assert decide(rules, FILM, VIENNA).then is Then.DRAFT
    assert decide(rules, FILM, VIENNA).number == 2
    assert decide(rules, UNTOLD, VIENNA).number == 3


def test_without_a_rule_a_watch_is_published_with_the_usual_tags_and_targets() -> None:
    decision = decide(Rules(tags=("seen",), targets=("mastodon",)), FILM, VIENNA)

    assert decision == Decision(tags=("seen",), targets=("mastodon",))
    assert decision.said == "No rule of yours applies, so it is published"


def test_a_rule_adds_its_tags_and_replaces_the_targets() -> None:
    usual = Rules(tags=("seen", "tv"), targets=("mastodon",))
    own = replace(usual, rules=(Rule(tags=("tv", "late"), targets=()),))

    assert decide(own, FILM, VIENNA).tags == ("seen", "tv", "late")
    assert decide(own, FILM, VIENNA).targets == ()
    as_usual = replace(usual, rules=(Rule(),))
    assert decide(as_usual, FILM, VIENNA).targets == ("mastodon",)


def test_the_persons_word_passes_over_rules_that_skip_and_over_no_other() -> None:
    rules = Rules((Rule(SKIP, kind="movie"), Rule(Then.PRIVATE, genre="drama"), Rule(Then.DRAFT)))

    decision = decide(rules, FILM, VIENNA, wanted=True)

    assert decision.then is Then.PRIVATE
    assert decision.notes == ("Rule 1 skips it, but you asked for it.",)
    assert decision.wanted


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Rule(SKIP, "episode", genre="reality"), "episodes of the genre Reality → skip"),
        (Rule(Then.DRAFT), "everything → send as a draft"),
        (Rule(SKIP, "movie", work="Dune"), "films called “Dune” → skip"),
        (Rule(SKIP, work="trakt.tv/shows/dark"), "everything of trakt.tv/shows/dark → skip"),
        (
            Rule(SKIP, "movie", genre="science-fiction", at_most=5.5, again=True),
            "films of the genre Science fiction, that Trakt rates 5.5 or less, seen before → skip",
        ),
        (
            Rule(Then.PRIVATE, again=False, hours=(22, 6), text="x"),
            (
                "everything seen for the first time, watched from 22:00 to 06:00, with “x” in the "
                "title → publish privately"
            ),
        ),
        (
            Rule(Then.UNLISTED, "movie", at_least=5, at_most=7, tags=("a", "b"), targets=()),
            (
                "films that Trakt rates from 5 to 7 → publish unlisted with the tags a, b, and "
                "nowhere else"
            ),
        ),
        (
            Rule(at_least=8, tags=("best",), targets=("https://m.example", "b")),
            (
                "everything that Trakt rates 8 or more → publish with the tag best, also to "
                "https://m.example, b"
            ),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "rule",
)
def test_a_rule_reads_as_a_sentence(rule: Rule, said: str) -> None:
    assert words(rule) == said


def column(heading: str, number: int) -> list[str]:
    """The cells of a column of the one table under a heading of the document."""
    section = DOCS.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return [row[number] for row in rows[2:]]


def test_the_document_words_its_examples_as_the_pages_do() -> None:
    assert column("Examples", 1) == [
        words(rule)
        for rule in (
            Rule(SKIP, "episode", genre="reality"),
            Rule(SKIP, work="Love Island"),
            Rule(Then.PRIVATE, hours=(23, 5)),
            Rule(Then.DRAFT, again=True),
            Rule(kind="movie", at_least=8, tags=("best",)),
            Rule(SKIP, "episode"),
        )
    ]


def test_the_document_tells_each_condition_and_all_that_can_be_done() -> None:
    assert column("Conditions", 0) == [
        *("what", "film or show", "genre", "Trakt’s rating", "seen before", "hours"),
        "text in the title",
    ]
    assert column("What is done", 0) == list(DONE.values())


def test_the_document_tells_each_field_in_the_file_of_settings() -> None:
    example = json.loads(DOCS.read_text(encoding="utf-8").split("```json\n")[1].split("```")[0])

    assert to_json(from_json(example)) == example
    assert {name for rule in example["rules"] for name in rule} == set(Rule.__dataclass_fields__)


def test_a_decision_names_its_rule_in_the_words_of_that_time() -> None:
    rules = Rules((Rule(text="nothing"), Rule(SKIP, "episode", genre="reality")))

    said = decide(rules, EPISODE, VIENNA).said

    assert said == "Rule 2: episodes of the genre Reality → skip"


# --- As JSON ---

LINES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=50).filter(
    lambda text: text.isprintable() and text == text.strip() and "," not in text
)
RATINGS = st.none() | st.floats(1, 10)
TAGS = st.lists(LINES, max_size=3, unique=True).map(tuple)
TARGETS = st.none() | TAGS
HOUR = st.integers(0, 23)
RULE = st.builds(
    Rule,
    then=st.sampled_from(Then),
    kind=st.sampled_from([None, "movie", "episode"]),
    work=st.just("") | LINES,
    genre=st.sampled_from(["", *GENRES]),
    at_least=RATINGS,
    at_most=RATINGS,
    again=st.sampled_from([None, True, False]),
    hours=st.none() | st.tuples(HOUR, HOUR).filter(lambda hours: hours[0] != hours[1]),
    text=st.just("") | LINES,
    tags=TAGS,
    targets=TARGETS,
).filter(
    lambda rule: rule.at_least is None or rule.at_most is None or rule.at_least <= rule.at_most
)
RULES = st.builds(Rules, st.lists(RULE, max_size=4).map(tuple), TAGS, TARGETS)
WATCHES = st.sampled_from([FILM, EPISODE, UNTOLD, UNDATED])


@given(RULES)
def test_rules_survive_being_written_and_read(rules: Rules) -> None:
    assert from_json(json.loads(json.dumps(to_json(rules)))) == rules


@given(
    rules=RULES,
    watch=WATCHES,
    again=st.sampled_from([None, True, False]),
    wanted=st.booleans(),
)
def test_any_rules_decide_over_any_watch_and_the_decision_can_be_kept(
    *, rules: Rules, watch: Watch, again: bool | None, wanted: bool
) -> None:
    decision = decide(rules, watch, Facts(UTC, again), wanted=wanted)

    assert decision_from_json(json.loads(json.dumps(decision_to_json(decision)))) == decision
    assert not (wanted and decision.then is SKIP)
    assert set(rules.tags) <= set(decision.tags)


NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(Then),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*Rule.__dataclass_fields__, "version", "rules"]) | st.text(max_size=5),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(NONSENSE | st.dictionaries(st.sampled_from([*Decision.__dataclass_fields__]), NONSENSE))
def test_any_json_is_a_decision_that_can_be_told_or_none(data: object) -> None:
    decision = decision_from_json(data)

    assert decision is None or all(isinstance(one, str) for one in (decision.said, *decision.notes))


@given(NONSENSE | st.lists(NONSENSE).map(lambda rules: {"version": 1, "rules": rules}))
def test_any_json_is_rules_or_refused_with_reasons(data: object) -> None:
    try:
        rules = from_json(data)
    except RulesError as error:
        reasons = error.problems
    else:
        reasons = ()
        assert from_json(to_json(rules)) == rules

    assert all(map(str, reasons))


def test_a_damaged_rule_is_passed_over_and_told_and_the_others_are_kept() -> None:
    whole = {"rules": [{"then": "burn"}, {"then": "skip"}], "tags": "x"}

    found = kept(whole)

    assert found.rules == (Rule(SKIP),)
    assert found.tags == ()
    assert len(found.passed) == 2
    assert decide(found, FILM, VIENNA).notes == found.passed
    assert kept(to_json(found)) == replace(found, passed=())


def test_no_rules_and_those_of_a_first_version_are_read() -> None:
    assert from_json(None) == Rules()
    assert from_json({}) == Rules()
    assert from_json({"rules": [{"then": "skip"}]}) == Rules((Rule(SKIP),))


@pytest.mark.parametrize(
    ("rule", "field", "said"),
    [
        ({}, "then", "Choose one of publish"),
        ({"then": "burn"}, "then", "Choose one of publish"),
        ({"kind": "podcast"}, "kind", "movie, episode"),
        ({"genre": "Ærø!"}, "genre", "Trakt’s genres"),
        ({"at_least": 11}, "at_least", "from 1 to 10"),
        ({"at_most": "high"}, "at_most", "from 1 to 10"),
        ({"at_least": True}, "at_least", "from 1 to 10"),
        ({"at_least": 8, "at_most": 7}, "at_most", "No rating"),
        ({"again": "yes"}, "again", "true, false"),
        ({"hours": [22]}, "hours", "two different ones"),
        ({"hours": [6, 6]}, "hours", "two different ones"),
        ({"hours": [0, 24]}, "hours", "two different ones"),
        ({"text": "two\nlines"}, "text", "one line"),
        ({"work": "x" * 201}, "work", "one line"),
        ({"tags": ["a,b"]}, "tags", "without a comma"),
        ({"tags": "a"}, "tags", "without a comma"),
        ({"targets": [7]}, "targets", "At most"),
        ({"gener": "drama"}, "gener", "does not know"),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_by_rule_and_field(
    rule: dict[str, Any], field: str, said: str
) -> None:
    whole = {"rules": [{"then": "skip"}, {"then": "skip", **rule} if rule else rule]}

    with pytest.raises(RulesError) as caught:
        from_json(whole)

    (problem,) = caught.value.problems
    assert (problem.number, problem.field) == (2, field)
    assert said in problem.said
    assert str(problem).startswith("Rule 2, ")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "no rules"),
        ({"version": 2}, "newer version"),
        ({"version": "1"}, "newer version"),
        ({"rules": [{"then": "skip"}] * 51}, "at most 50"),
        ({"rules": {}}, "at most 50"),
        ({"tags": [" "]}, "At most"),
        ({"rule": []}, "does not know"),
    ],
    ids=lambda value: value if isinstance(value, str) else "data",
)
def test_what_is_wrong_with_all_of_them_is_told(data: object, said: str) -> None:
    with pytest.raises(RulesError, match=said) as caught:
        from_json(data)

    assert caught.value.problems[0].number == 0
