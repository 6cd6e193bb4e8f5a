"""Choosing how posts look, as a person does it who has no JavaScript."""

import json
import re
from datetime import timedelta
from urllib.parse import parse_qs

import pytest
from bs4 import BeautifulSoup

from app.demo.catalogue import DUNE, LIES
from app.rules import Rule, Rules, Then
from app.store import accounts, rules
from app.style import Style, from_json
from app.web.harmless import harmless
from tests.world import World


async def stored(world: World) -> Style:
    async with world.bridge.database.reading() as session:
        found = await accounts.account(session, 1)
    assert found is not None
    return from_json(found[0].style)


def told(world: World) -> list[str]:
    """The contents in the preview."""
    return [" ".join(one.get_text().split()) for one in world.browser.document.select(".told")]


async def test_before_anything_was_watched_examples_are_told_and_called_so(world: World) -> None:
    await world.sign_in()

    await world.browser.visit("/settings")
    await world.browser.visit("/settings/posts")

    film, episode = told(world)
    assert film == "🎬 Watched Dune (2021) https://trakt.tv/movies/dune-2021"
    assert "Severance S01E02 “Half Loop”" in episode
    assert world.browser.text.count("An example: you have watched none yet.") == 2


async def test_the_preview_tells_the_last_film_and_episode_and_saves_nothing(world: World) -> None:
    world.trakt.watch(DUNE, at=world.clock() - timedelta(days=800))
    await world.ready()
    world.clock.passes(minutes=5)
    world.trakt.watch(DUNE)
    world.trakt.watch(LIES)
    await world.check_now()

    await world.browser.visit("/settings/posts")
    own = {"film.content": "Saw {{ title }} {{ repeat }} on {{ date }}"}
    await world.browser.press("Preview", tell_rewatch="on", **own)

    film, episode = told(world)
    again = "for the 2nd time, 2 years later"
    assert re.fullmatch(rf"Saw Dune {again} on \d+ \w+ \d{{4}}", film)
    assert "S01E02" in episode
    assert "The last film you watched." in world.browser.text
    assert "They are not saved yet." in world.browser.text
    assert await stored(world) == Style()
    assert re.search(r"title Dune .* again yes times 2 years 2 ", world.browser.text)
    as_json, as_form = (one.get_text() for one in world.browser.document.select("pre")[:2])
    assert json.loads(as_json)["properties"]["content"] == [film]
    assert parse_qs(as_form)["content"] == [film]


async def test_the_preview_tells_what_the_rules_say_of_it(world: World) -> None:
    world.trakt.watch(DUNE)
    world.clock.passes(minutes=5)
    await world.ready()
    async with world.bridge.database.writing() as session:
        account = await rules.hold(session, 1)
        assert account is not None
        rules.put(account, Rules((Rule(Then.DRAFT, "movie", tags=("cinema",)),)))

    await world.browser.visit("/settings/posts")

    film = world.browser.document.select("pre")[0].get_text()
    assert json.loads(film)["properties"]["post-status"] == ["draft"]
    assert "Rule 1: films → send as a draft with the tag cinema." in world.browser.text
    assert "watch, movie, cinema" in world.browser.text


async def test_what_is_saved_is_how_the_next_post_looks(world: World) -> None:
    await world.ready()

    await world.browser.visit("/settings/posts")
    await world.browser.press("Save", language="de", **{"film.slug": "{{ title }}"})
    assert "Saved. Posts that are sent from now on look like this." in world.browser.text
    world.clock.passes(minutes=5)
    world.trakt.watch(DUNE)
    await world.check_now()

    (post,) = world.site.posts
    assert post.properties["summary"] == ["Gesehen: Dune (2021)"]
    assert re.fullmatch(r"dune-[0-9a-z]+", post.properties["mp-slug"][0])


async def test_what_is_wrong_stands_beside_its_field_and_keeps_what_was_typed(
    world: World,
) -> None:
    await world.sign_in()
    await world.browser.visit("/settings/posts")

    answer = await world.browser.press("Save", **{"film.summary": "{{ titel }}<b>"})

    assert answer.status_code == 400
    field = world.browser.document.select_one("#film-summary")
    assert field is not None
    typed = field.get_text().removeprefix("\n")
    assert (typed, field["aria-invalid"]) == ("{{ titel }}<b>", "true")
    problem = world.browser.document.find(id=str(field["aria-describedby"]).split()[0])
    assert problem is not None
    assert "did you mean “title”?" in problem.get_text()
    assert "Nothing was saved." in world.browser.text
    (way,) = world.browser.document.find_all("a", string="Go to it.")
    assert way["href"] == f"#{problem['id']}"
    assert await stored(world) == Style()


async def test_a_preset_fills_in_the_shape_and_leaves_the_words(world: World) -> None:
    await world.sign_in()
    await world.browser.visit("/settings/posts")

    await world.browser.press(
        "Fill in", preset="micro.blog", content="html", **{"film.slug": "{{ title }}"}
    )

    chosen = [
        str(one["value"]) for one in world.browser.document.select('input[type="radio"][checked]')
    ]
    assert chosen == ["form", "text", "off"]
    assert "dune-1jsilij" in world.browser.text
    selected = world.browser.document.select_one("#preset [selected]")
    assert selected is not None
    assert selected["value"] == "micro.blog"
    assert "As form, which is what is sent" in world.browser.text
    assert await stored(world) == Style()


async def test_the_enter_key_shows_and_changes_nothing(world: World) -> None:
    await world.sign_in()

    await world.browser.visit("/settings/posts")

    first = world.browser.document.select_one("#style button")
    assert first is not None
    assert first["value"] == "preview"


async def test_all_can_be_put_back_as_it_was_at_first(world: World) -> None:
    await world.sign_in()
    await world.browser.visit("/settings/posts")
    await world.browser.press("Save", language="fr", shape="note", tell_note="on")
    assert await stored(world) != Style()

    await world.browser.press("Reset all")
    await world.browser.press("Save")

    assert await stored(world) == Style()


async def test_titles_of_some_shows_are_hidden_whatever_their_writing(world: World) -> None:
    await world.sign_in()
    await world.browser.visit("/settings/posts")

    await world.browser.press("Save", hide_titles_of="  SEVERANCE \r\n\r\nThe Wire")

    assert (await stored(world)).quiet_shows == ("severance", "the wire")
    assert "Half Loop" not in told(world)[1]


@pytest.mark.parametrize(
    ("html", "shown"),
    [
        ("<p>a <b>b</b><br>c</p>", "<p>a <b>b</b><br>c</p>"),
        ('<a href="https://a.b/?x&y" onclick="x">a</a>', "a.b/?x&amp;y"),
        ('<a href="javascript:alert(1)">a</a>', "<a>a</a>"),
        ("<a href='https://[x'>a</a>", "<a>a</a>"),
        ("<script>alert(1)</script><style>*{}</style>ok", "ok"),
        ("<form action=/settings/delete><button>go</button></form>", "go"),
        ('<img src=x onerror=alert(1) alt="<b>">', "[&lt;b&gt;]"),
        ("<!-- <img src=x> -->&lt;script&gt;", "&lt;script&gt;"),
        ("<svg><script>x</script></svg><math><mi>x</mi></math>y", "y"),
        ('<p style="position:fixed" class=card id=main>z</p>', "<p>z</p>"),
    ],
)
def test_html_is_shown_without_what_could_do_harm(html: str, shown: str) -> None:
    seen = str(harmless(html))

    assert shown in seen
    tags = BeautifulSoup(seen, "html.parser").find_all()
    assert {name for tag in tags for name in tag.attrs} <= {"href", "rel"}


async def test_what_is_nested_deeper_than_any_post_breaks_no_page(world: World) -> None:
    await world.sign_in()
    await world.browser.visit("/settings/posts")

    deep = {"film.content": f"{'<b>' * 600}deep down", "content": "html"}
    await world.browser.press("Save", **deep)

    assert world.browser.page.status_code == 200
    assert "deep down" in told(world)[0]
