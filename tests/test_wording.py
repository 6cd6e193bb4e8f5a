import re
import unicodedata
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.hentry import Telling, facts_of
from app.languages import SPEECH, Language, caption, day, english_ordinal, repeat
from app.style import MOST_SHOWS
from app.watch import Ids, Movie, Show
from app.wording import (
    DEEPEST,
    FILTERS,
    LONGEST,
    LONGEST_NOTE,
    LONGEST_SLUG,
    LONGEST_VALUE,
    MOST_BYTES,
    MOST_PARTS,
    SAMPLES,
    VARIABLES,
    Count,
    NotAllowed,
    check,
    default_content,
    default_summary,
    rendered,
    slugged,
)
from tests.works import DUNE, a_watch, an_episode

DOCS = Path(__file__).parents[1] / "docs" / "wording.md"
FILM, EPISODE, *_ = SAMPLES


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Seen: {{ title }}", "Seen: Dune"),
        ("{{ title|upper|truncate(3) }}", "DU…"),
        ("{{ title ~ '/' ~ year }}", "Dune/2021"),
        ("{% if year > 2000 and not again %}new{% else %}old{% endif %}", "new"),
        ("{{ 'film' if kind == 'movie' else 'tv' }}", "film"),
        ("{% if 'Du' in title %}{# a remark #}yes{% endif %}", "yes"),
        ("{{ rating|default('?') }}{{ rating }}", "?"),
        ("{{ season|pad }}{{ title|replace('u', 'oo')|lower|capitalize|trim }}", "00Doone"),
        ("a\n{{ title }}\n", "a\nDune\n"),
    ],
)
def test_a_template_tells_what_is_known(source: str, text: str) -> None:
    check(source)

    assert rendered(source, FILM) == text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{% for c in title %}x{% endfor %}", "Line 1: {% for %} cannot be used."),
        ("\n\n{% set x = 1 %}", "Line 3: {% set %} cannot be used."),
        ("{% set x %}a{% endset %}", "{% set %} cannot be used."),
        ("{% macro m() %}{% endmacro %}", "{% macro %} cannot be used."),
        ("{% call f() %}{% endcall %}", "{% call %} cannot be used."),
        ("{% filter upper %}x{% endfilter %}", "{% filter %} cannot be used."),
        ("{% include 'x' %}", "{% include %} cannot be used."),
        ("{% import 'x' as y %}", "{% import %} cannot be used."),
        ("{% from 'x' import y %}", "{% from %} cannot be used."),
        ("{% extends 'x' %}", "{% extends %} cannot be used."),
        ("{% block x %}{% endblock %}", "{% block %} cannot be used."),
        ("{% with x = 1 %}{% endwith %}", "{% with %} cannot be used."),
        ("{% autoescape false %}x{% endautoescape %}", "cannot be used."),
        ("{{ title * 9 }}", "“*” cannot be used."),
        ("{{ 9 ** 9 }}", "“**” cannot be used."),
        ("{{ '%99999s' % title }}", "“%” cannot be used."),
        ("{{ title + title }}", "“+” cannot be used."),
        ("{{ 1 / 0 }}", "“/” cannot be used."),
        ("{{ range(9) }}", "Calling something with ( ) cannot be used."),
        ("{{ range }}", "there is no variable “range”"),
        ("{{ self }}", "there is no variable “self”"),
        ("{{ title.__class__ }}", "A dot after a variable cannot be used."),
        ("{{ title['upper'] }}", "[ ] after a variable cannot be used."),
        ("{{ title[:3] }}", "[ ] after a variable cannot be used."),
        ("{{ [title] }}", "A list cannot be used."),
        ("{{ {1: 2} }}", "A { : } cannot be used."),
        ("{{ title is defined }}", "“is” cannot be used."),
        ("{{ title|truncate(number=3) }}", "A filter’s option by name cannot be used."),
        ("{{ title|truncate(*title) }}", "“*” cannot be used."),
        ("{{ title|center(99999) }}", "there is no filter “center”"),
        ("{{ title|format }}", "there is no filter “format”"),
        ("{{ title|indent(999) }}", "there is no filter “indent”"),
        ("{{ title|safe }}", "there is no filter “safe”"),
        ("{{ titel }}", "there is no variable “titel”; did you mean “title”?"),
        ("{{ title|uper }}", "there is no filter “uper”; did you mean “upper”?"),
        ("Hello {{ title", "Line 1: it cannot be read"),
        ("{% if again %}x", "Line 1: it cannot be read"),
        ("{{ title|pad(99999) }}", "between 0 and 10000"),
        ("{{ title|replace('', 'x') }}", "needs a text that it shall replace"),
        ("{{ title > 3 }}", "cannot be filled in"),
        ("{{ title|truncate('x') }}", "between 0 and 10000"),
        ("{{ title|upper(1, 2) }}", "cannot be filled in"),
        ("x" * (LONGEST + 1), "2,001 characters; 2,000 are the most"),
        ("{{id}}" * 320, "too complicated"),
        ("{{ " + "(" * 900 + "title" + ")" * 900 + " }}", "too"),
        ("{% if again %}" * 60 + "{% endif %}" * 60, "too"),
        ("{{ " + "not " * 400 + "again }}", "too"),
        ("{{ 'a'" + "|replace('a', 'aaaaaaaaaaaaaaaa')" * 9 + " }}", "more than 10 kB"),
        ("{{ title|pad(9999) }}{{ title|pad(9999) }}", "more than 10 kB"),
        ("{{ title|pad(9999) ~ title|pad(9999) }}", "more than 10 kB"),
    ],
)
def test_what_is_no_variable_filter_or_if_is_refused_with_a_way_out(source: str, said: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        check(source)

    assert said in str(refused.value)
    assert str(refused.value).endswith((".", "?", ")", "upper.", "weekday, year."))


ATTACKS = ["{{ ", " }}", "{% if ", " %}", "{% endif %}", "|replace('a','aa')", " ~ ", "title", "*9"]
PARTS = st.lists(
    st.sampled_from([*ATTACKS, *VARIABLES, *(f"|{name}" for name in FILTERS), "(", ")", "9999"]),
    max_size=60,
).map("".join)


@given(source=st.text(max_size=300) | PARTS, html=st.booleans())
@settings(max_examples=300, deadline=None)
@example(source="{{ note|replace('s', note)|replace('s', note) }}", html=False)
@example(source="{{ 99999999999999999999999999999999 }}", html=False)
@example(source="\ud800{{ title }}", html=True)
@example(source=r"{{ '\ud800\x00\x1b' }}", html=False)
def test_any_text_is_refused_in_a_sentence_or_makes_a_text_of_bounded_size(
    source: str, *, html: bool
) -> None:
    try:
        check(source, html=html)
    except NotAllowed:
        return
    worst = replace(EPISODE, note="s" * 99_999, title="a" * 99_999, again=True)
    try:
        text = rendered(source, worst, html=html)
    except NotAllowed:
        return
    # Strictly: a database takes no half characters, and PostgreSQL no zero.
    assert len(text.encode()) <= MOST_BYTES
    assert not [c for c in text if c not in "\n\t" and unicodedata.category(c) == "Cc"]


def test_what_others_wrote_is_escaped_in_html_and_never_read_as_a_template() -> None:
    hostile = replace(FILM, title="<script>{{ 7 * 7 }}</script>\"'", url='"onclick="x')

    text = rendered('<a href="{{ url }}">{{ title|upper }}</a>', hostile, html=True)

    assert "<script" not in text.lower()
    assert '"onclick' not in text
    assert "{{ 7 * 7 }}" in text


def test_a_long_note_is_cut_and_still_told() -> None:
    text = rendered(default_content(Language.ENGLISH, html=False), replace(FILM, note="é" * 9999))

    assert text.count("é") == LONGEST_NOTE


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("html", [False, True], ids=["text", "html"])
def test_the_default_wording_can_tell_of_any_watch_and_holds_the_link(
    language: Language, *, html: bool
) -> None:
    check(default_summary(language))
    source = default_content(language, html=html)
    check(source, html=html)

    assert FILM.url in rendered(source, FILM, html=html)
    again = replace(FILM, again=True)
    assert FILM.date in rendered(source, again, html=html)
    assert FILM.date not in rendered(source, FILM, html=html)
    assert rendered(source, replace(again, date=""), html=html)


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "en",
            "Watched Dark S01E02 “Lies” again, for the 3rd time, 1 year later on 1 March 2026",
        ),
        ("de", "Wieder gesehen: Dark S01E02 „Lies“, zum 3. Mal, nach 1 Jahr am 1. März 2026"),
        ("nl", "Opnieuw gekeken: Dark S01E02 ‘Lies’, voor de 3e keer, na 1 jaar op 1 maart 2026"),
        ("fr", "Revu : Dark S01E02 « Lies », pour la 3e fois, 1 an après le 1er mars 2026"),
        (
            "es",
            "Visto de nuevo: Dark S01E02 «Lies», por 3.ª vez, 1 año después el 1 de marzo de 2026",
        ),
    ],
)
def test_each_language_tells_a_rewatch_in_its_own_way(language: str, said: str) -> None:
    chosen = Language(language)
    facts = replace(
        EPISODE,
        again=True,
        caption=caption(an_episode(), chosen),
        repeat=repeat(3, 1, chosen),
        date=day(date(2026, 3, 1), chosen),
    )
    facts = replace(facts, summary=rendered(default_summary(chosen), facts))

    text = rendered(default_content(chosen, html=False), facts)

    assert text.replace("\N{NO-BREAK SPACE}", " ") == f"🎬 {said} {EPISODE.url}"


@pytest.mark.parametrize("language", Language)
def test_each_language_has_all_its_months_and_days(language: Language) -> None:
    speech = SPEECH[language]

    assert len(set(speech.months)) == 12
    assert len(set(speech.weekdays)) == 7
    assert caption(Movie(None, 2021, Ids()), language) == f"{speech.untitled_film} (2021)"
    nameless = replace(an_episode(None), show=Show(None, None, Ids()))
    assert caption(nameless, language) == f"{speech.untitled_show} S01E02"


def test_english_counts_as_the_english_do() -> None:
    counted = [english_ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 22, 103, 111)]

    assert counted == [
        *("1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "103rd", "111th"),
    ]


def test_no_time_is_told_that_nobody_knows() -> None:
    facts = facts_of(a_watch(at=None), None, Telling(UTC, again=True))

    assert rendered("{{ date }}{{ time }}{{ weekday }}{{ iso_date }}", facts) == ""
    content = default_content(Language.ENGLISH, html=False)
    assert " on " not in rendered(content, replace(facts, summary="Watched Dune"))


def test_what_is_known_of_a_watch_reaches_the_template() -> None:
    when = datetime(2026, 11, 20, 21, 14, tzinfo=UTC)
    facts = facts_of(a_watch(DUNE, at=when), when, Telling(UTC))

    said = rendered("{{ weekday }} {{ date }} {{ time }} {{ iso_date }} {{ tmdb }} {{ id }}", facts)

    assert said == "Friday 20 November 2026 21:14 2026-11-20 438631 1jsilij"


def test_an_unknown_number_is_written_as_nothing() -> None:
    assert rendered("[{{ year }}]{{ year > 2000 }}", replace(FILM, year=Count(0))) == "[]False"


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Amélie (2001)", "amelie-2001"),
        ("../../etc/passwd?x#y", "etc-passwd-x-y"),
        ("千と千尋の神隠し", ""),
        ("x" * 99, "x" * 60),
    ],
)
def test_a_slug_holds_only_what_an_address_can(text: str, slug: str) -> None:
    assert slugged(text) == slug


def section(heading: str) -> str:
    """A section of docs/wording.md."""
    return DOCS.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]


def table(heading: str) -> list[str]:
    """The names in the first column of a table of docs/wording.md."""
    return re.findall(r"^\| `([a-z_]+)", section(heading), re.MULTILINE)


def test_the_documentation_names_every_variable_and_every_filter() -> None:
    assert table("Variables") == list(VARIABLES)
    assert table("Filters") == sorted(FILTERS)


def test_every_example_in_the_documentation_can_be_saved() -> None:
    text = DOCS.read_text(encoding="utf-8")
    examples = re.findall(r"^```jinja\n(.*?)^```", text, re.MULTILINE | re.DOTALL)

    assert examples
    for source in examples:
        check(source, html="<" in source)


def test_what_the_documentation_says_is_refused_is_refused_and_what_instead_is_not() -> None:
    (*_, listed) = section("What cannot be used").partition("\n- ")
    refused, meant = 0, 0
    for line in listed.splitlines():
        wrong, _, instead = line.partition(";")
        for source in re.findall(r"`([^`]+)`", wrong):
            with pytest.raises(NotAllowed):
                check(source)
            refused += 1
        for source in re.findall(r"`([^`]+)`", instead):
            check(source)
            meant += 1

    assert (refused, meant) == (21, 7)


def test_the_documentation_names_every_limit() -> None:
    numbers = re.findall(r"^\| ([\d,]+) \|", section("Limits"), re.MULTILINE)

    assert [int(number.replace(",", "")) for number in numbers] == [
        *(LONGEST, MOST_PARTS, DEEPEST, MOST_BYTES, LONGEST_VALUE, LONGEST_NOTE, LONGEST_SLUG),
        MOST_SHOWS,
    ]


@pytest.mark.parametrize("language", Language)
def test_the_documentation_shows_how_each_language_tells_a_watch(language: Language) -> None:
    again = replace(FILM, again=True, repeat=repeat(3, 5, language))
    first, later = (rendered(default_summary(language), facts) for facts in (FILM, again))

    line = f"| {SPEECH[language].name} | {first} | {later} |"
    assert line.replace("\xa0", " ") in section("In each language").replace("\xa0", " ")
