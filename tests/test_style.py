import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import pytest

from app.hentry import (
    FORM,
    JSON,
    Mf2,
    Note,
    Poster,
    Rewatch,
    Telling,
    body,
    content_type,
    hentry,
    marker,
    properties_of,
    short_id,
)
from app.languages import SPEECH, Language, day
from app.lookup import Entry, Told, digest, entry_of, match, plain
from app.presets import PRESETS, suggested
from app.style import Posters, Shape, Style, StyleRefused, Templates, from_json, to_json
from app.watch import Watch
from tests.works import DUNE, EVENING, a_watch, an_episode

VIENNA = Telling(ZoneInfo("Europe/Vienna"))
FULL = Style(
    shape=Shape.URL,
    html=True,
    language=Language.GERMAN,
    film=Templates("Film: {{ title }}", "<p>{{ summary }}</p>", "{{ title }}"),
    episode=Templates(slug="{{ show }} {{ code }}"),
    hides_titles=True,
    quiet_shows=("dark", "the wire"),
    tells_rewatch=True,
    tells_rating=True,
    tells_note=True,
    posters=Posters.LINK,
)
EVERYTHING = replace(
    VIENNA,
    again=True,
    style=Style(tells_rewatch=True, tells_rating=True, tells_note=True),
    rewatch=Rewatch(3, 5),
    rating=7,
    note=Note("So much sand."),
)


def styled(watch: Watch | None = None, telling: Telling = VIENNA, **style: Any) -> Mf2:  # noqa: ANN401 - any field of a style
    told = replace(telling, style=replace(telling.style, **style))
    found: Mf2 = hentry(watch or a_watch(), told)["properties"]
    return found


@pytest.mark.parametrize("style", [Style(), FULL], ids=["as at first", "all chosen"])
def test_a_style_survives_the_database_and_a_file_unchanged(style: Style) -> None:
    assert from_json(json.loads(json.dumps(to_json(style)))) == style


@pytest.mark.parametrize("data", [None, {}, {"version": 1}, {"version": 1, "shape": "nested"}])
def test_what_an_older_version_did_not_know_is_as_at_first(data: object) -> None:
    assert from_json(data) == Style()


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        ([], "version", "an object"),
        ({"version": 2}, "version", "newer"),
        ({"version": "1"}, "version", "whole number"),
        ({"version": True}, "version", "whole number"),
        ({"shape": "round"}, "shape", "nested, url, note, form"),
        ({"shape": ["url"]}, "shape", "nested, url, note, form"),
        ({"content": 1}, "content", "text, html"),
        ({"language": "tlh"}, "language", "en, de, nl, fr, es"),
        ({"film": "Watched"}, "film", "an object"),
        ({"film": {"summary": 1}}, "film.summary", "a text"),
        ({"film": {"summary": "{{ titel }}"}}, "film.summary", "did you mean “title”"),
        ({"episode": {"content": "{% for x in y %}{% endfor %}"}}, "episode.content", "{% for %}"),
        ({"hide_titles": 1}, "hide_titles", "true or false"),
        ({"hide_titles_of": "Dark"}, "hide_titles_of", "a list"),
        ({"hide_titles_of": ["x" * 201]}, "hide_titles_of", "at most 200 characters"),
        ({"posters": True}, "posters", "off, upload, link"),
        ({"shape": "form", "content": "html"}, "content", "plain text"),
    ],
)
def test_what_is_wrong_with_a_style_is_said_of_its_field(
    data: object, name: str, said: str
) -> None:
    with pytest.raises(StyleRefused) as refused:
        from_json(data)

    assert list(refused.value.problems) == [name]
    assert said in refused.value.problems[name]


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(StyleRefused, match="newer") as refused:
        from_json({"version": 9, "shape": "round", "film": {"slug": "{{"}, "tell_note": "no"})

    assert set(refused.value.problems) == {"version", "shape", "film.slug", "tell_note"}


@pytest.mark.parametrize(
    ("shape", "said"),
    [(Shape.URL, ["https://trakt.tv/movies/dune-2021"]), (Shape.NOTE, None)],
)
def test_a_shape_says_what_was_watched_in_its_own_way(shape: Shape, said: object) -> None:
    assert styled(shape=shape).get("watch-of") == said


def test_a_form_holds_texts_only_and_the_address_stands_for_what_was_watched() -> None:
    text, own_slug = body(a_watch(), replace(VIENNA, style=Style(shape=Shape.FORM)))

    assert own_slug == "watch-1jsilij"
    assert content_type(text) == FORM
    assert parse_qsl(text) == [
        ("h", "entry"),
        ("summary", "Watched Dune (2021)"),
        ("content", "🎬 Watched Dune (2021) https://trakt.tv/movies/dune-2021"),
        ("category[]", "watch"),
        ("category[]", "movie"),
        ("watch-of", "https://trakt.tv/movies/dune-2021"),
        ("syndication", "https://trakt.tv/movies/dune-2021#watch-3373536619"),
        ("mp-slug", "watch-1jsilij"),
        ("published", "2026-11-20T21:14:00+01:00"),
    ]


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("html", [False, True], ids=["text", "html"])
def test_a_watch_without_a_date_is_told_like_any_other_but_for_the_day(
    language: Language, *, html: bool
) -> None:
    dated = styled(a_watch(at=EVENING), EVERYTHING, language=language, html=html)
    undated = styled(a_watch(at=None), EVERYTHING, language=language, html=html)

    told, bare = (json.dumps(one["content"], ensure_ascii=False) for one in (dated, undated))
    on_that_day = SPEECH[language].on_date.replace("{{ date }}", day(EVENING, language))
    assert on_that_day in told
    assert bare == told.replace(on_that_day, "")
    assert set(dated) - set(undated) == {"published"}


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("html", [False, True], ids=["text", "html"])
def test_a_stored_body_knows_its_own_form_and_gives_back_what_it_says(
    shape: Shape, *, html: bool
) -> None:
    style = Style(shape=shape, html=html and shape is not Shape.FORM)
    telling = replace(VIENNA, style=style, targets=())

    text, own_slug = body(a_watch(), telling)

    assert content_type(text) == (FORM if shape is Shape.FORM else JSON)
    assert properties_of(text) == hentry(a_watch(), telling)["properties"]
    assert properties_of(text)["mp-slug"] == [own_slug]


# What servers keep of a post: all of it, no nested object, no syndication, the text alone.
KEPT = {
    "everything": {"watch-of", "syndication", "content", "published", "summary"},
    "no watch-of": {"syndication", "content", "published"},
    "no syndication": {"watch-of", "content", "published"},
    "the text alone": {"content", "published"},
}


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("html", [False, True], ids=["text", "html"])
@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("shape", Shape)
def test_each_shape_is_recognised_by_what_a_server_keeps_of_it(
    shape: Shape, language: Language, kept: str, *, html: bool
) -> None:
    style = Style(shape=shape, html=html and shape is not Shape.FORM, language=language)
    telling = replace(VIENNA, again=True, style=style)

    def on_site(watch: Watch) -> Entry:
        properties = properties_of(body(watch, telling)[0])
        return entry_of({k: v for k, v in properties.items() if k in KEPT[kept]}, "https://a.b/c")

    watch = a_watch()
    text = plain(properties_of(body(watch, telling)[0])["content"][0]) or ""
    told = Told(
        watch.key,
        "https://trakt.tv/movies/dune-2021",
        EVENING,
        frozenset({digest(text)}),
    )
    rewatch = a_watch(at=datetime(2026, 11, 21, 20, 14, tzinfo=UTC), key="3373536620")

    assert match(told, [on_site(rewatch), on_site(watch)]) == on_site(watch)
    assert match(told, [on_site(rewatch)]) is None
    assert on_site(watch).may_be_ours


@pytest.mark.parametrize("shape", Shape)
def test_the_marker_is_sent_whatever_the_shape_and_the_wording(shape: Shape) -> None:
    bare = Templates("Seen", "Seen", "seen")

    post = styled(shape=shape, film=bare)

    assert post["syndication"] == [marker(a_watch())]
    assert post["mp-slug"] == [f"seen-{short_id(a_watch())}"]


def test_all_that_others_know_of_a_watch_is_told() -> None:
    telling = replace(
        EVERYTHING,
        tags=("scifi", "watch"),
        targets=("https://mastodon.example/@ada",),
        status="draft",
        visibility="unlisted",
        poster=Poster("https://watch.example/posters/1.jpg", "Poster of Dune"),
    )

    post = styled(telling=telling, posters=Posters.LINK)

    assert post["summary"] == ["Watched Dune (2021) again, for the 3rd time, 5 years later"]
    (content,) = post["content"]
    assert content == (
        f"🎬 {post['summary'][0]} on 20 November 2026 · 7/10 "
        "https://trakt.tv/movies/dune-2021\n\nSo much sand."
    )
    assert post["category"] == ["watch", "movie", "scifi"]
    assert (post["rating"], post["best"], post["rewatch"]) == (["3.5"], ["5"], ["true"])
    assert post["mp-syndicate-to"] == ["https://mastodon.example/@ada"]
    assert (post["post-status"], post["visibility"]) == (["draft"], ["unlisted"])
    cite = post["watch-of"][0]["properties"]
    assert cite["featured"] == ["https://watch.example/posters/1.jpg"]
    assert cite["photo"] == [
        {"value": "https://watch.example/posters/1.jpg", "alt": "Poster of Dune"}
    ]
    assert not {"photo", "featured"} & set(post)


def test_what_the_style_does_not_tell_is_not_told() -> None:
    silent = replace(EVERYTHING, style=Style(film=Templates(content="{{ rating }}{{ note }}.")))

    post = styled(telling=silent)

    assert post["content"] == ["."]
    assert not {"rating", "best", "rewatch"} & set(post)


@pytest.mark.parametrize(
    ("style", "hidden"),
    [
        ({"hides_titles": True}, True),
        ({"quiet_shows": ("dark",)}, True),
        ({"quiet_shows": ("118145",)}, True),
        ({"quiet_shows": ("the wire",)}, False),
        ({}, False),
    ],
    ids=["all", "by title", "by number", "another show", "none"],
)
@pytest.mark.parametrize("shape", Shape)
def test_a_title_that_gives_something_away_is_nowhere_in_the_post(
    style: dict[str, Any], shape: Shape, *, hidden: bool
) -> None:
    own = Templates("{{ caption }} {{ title }}", "{{ caption }} {{ title }}", "{{ title }}")

    text = body(
        a_watch(an_episode()), replace(VIENNA, style=Style(shape=shape, episode=own, **style))
    )[0]

    assert ("Lies" in text) is not hidden
    assert "S01E02" in text


def test_a_note_with_spoilers_is_folded_away_and_never_in_plain_text() -> None:
    telling = replace(EVERYTHING, note=Note("He <b>dies</b>.\nTwice.", spoiler=True))

    assert "dies" not in json.dumps(styled(telling=telling))
    (content,) = styled(telling=telling, html=True)["content"]
    assert content["html"].endswith(
        "<details><summary>My note (spoilers)</summary>"
        "<p>He &lt;b&gt;dies&lt;/b&gt;.<br>Twice.</p></details>"
    )


def test_a_poster_is_in_the_content_where_no_h_cite_can_hold_it() -> None:
    telling = replace(VIENNA, poster=Poster("https://watch.example/p/1.jpg", 'Poster of "Dune"'))

    linked: dict[str, Any] = {"html": True, "posters": Posters.LINK}
    (content,) = styled(telling=telling, shape=Shape.URL, **linked)["content"]

    assert (
        '<img src="https://watch.example/p/1.jpg" alt="Poster of &#34;Dune&#34;">'
        in content["html"]
    )
    assert "<img" not in styled(telling=telling, **linked)["content"][0]["html"]
    assert "watch.example" not in repr(styled(telling=telling, shape=Shape.URL, html=True))


def test_a_content_is_never_empty() -> None:
    nothing = Templates("{% if again %}x{% endif %}", "{% if again %}x{% endif %}", "—")

    post = styled(film=nothing)

    assert post == hentry(a_watch(), VIENNA)["properties"]


CITE = hentry(a_watch(), VIENNA)["properties"]["watch-of"]
TEXT = "🎬 Watched Dune (2021) https://trakt.tv/movies/dune-2021"
HTML = {
    "html": '<p>🎬 Watched <a href="https://trakt.tv/movies/dune-2021">Dune (2021)</a></p>',
}


def expected(content: object, **more: object) -> dict[str, object]:
    return {
        "summary": ["Watched Dune (2021)"],
        "content": [content],
        "category": ["watch", "movie"],
        "syndication": ["https://trakt.tv/movies/dune-2021#watch-3373536619"],
        "mp-slug": ["watch-1jsilij"],
        "published": ["2026-11-20T21:14:00+01:00"],
        **more,
    }


@pytest.mark.parametrize(
    ("name", "properties"),
    [
        ("wordpress", expected(HTML, **{"watch-of": CITE})),
        ("indiekit", expected(HTML, **{"watch-of": CITE})),
        ("known", expected(HTML, **{"watch-of": CITE})),
        ("drupal", expected(TEXT, **{"watch-of": CITE})),
        ("microblog.pub", expected(TEXT)),
    ],
)
def test_a_preset_sends_exactly_what_suits_its_server(
    name: str, properties: dict[str, object]
) -> None:
    telling = replace(VIENNA, style=PRESETS[name].applied(Style()))

    text, _ = body(a_watch(), telling)

    assert content_type(text) == JSON
    assert json.loads(text) == {"type": ["h-entry"], "properties": properties}


def test_micro_blog_gets_a_form_that_asks_for_no_cross_post() -> None:
    telling = replace(VIENNA, style=PRESETS["micro.blog"].applied(Style()), targets=())

    text, _ = body(a_watch(), telling)

    assert text == (
        "h=entry&summary=Watched+Dune+%282021%29&content=%F0%9F%8E%AC+Watched+Dune+%282021%29+"
        "https%3A%2F%2Ftrakt.tv%2Fmovies%2Fdune-2021&category%5B%5D=watch&category%5B%5D=movie&"
        "watch-of=https%3A%2F%2Ftrakt.tv%2Fmovies%2Fdune-2021&"
        "syndication=https%3A%2F%2Ftrakt.tv%2Fmovies%2Fdune-2021%23watch-3373536619&"
        "mp-slug=watch-1jsilij&published=2026-11-20T21%3A14%3A00%2B01%3A00&mp-syndicate-to="
    )


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_changes_the_shape_and_never_the_words(preset: Any) -> None:  # noqa: ANN401 - a preset
    style = preset.applied(replace(FULL, shape=Shape.NESTED))

    assert from_json(to_json(style)) == style
    assert replace(style, shape=FULL.shape, html=FULL.html) == FULL


def test_a_server_that_was_recognised_gets_its_preset_suggested() -> None:
    assert suggested("wordpress") is PRESETS["wordpress"]
    assert suggested("something else") is None


def test_no_preset_sends_a_name_a_photo_or_a_uid_beside_the_h_cite() -> None:
    for preset in PRESETS.values():
        post = hentry(a_watch(DUNE), replace(EVERYTHING, style=preset.applied(EVERYTHING.style)))
        assert not {"name", "photo", "uid", "author"} & set(post["properties"])
