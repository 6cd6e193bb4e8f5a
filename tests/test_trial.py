"""The test post: what it asks for, what becomes of it, what it tells, and that it is no watch."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from app.abilities import Abilities, Ability, How, learned
from app.demo.catalogue import DUNE
from app.demo.site import Answer, Dropped, Habits
from app.lookup import entry_of
from app.store import found, trials
from app.style import Shape, Style
from app.tables import SiteRow
from app.trial import (
    LOST_AFTER,
    SIGN,
    Asks,
    Stage,
    Trial,
    as_of,
    asks,
    body_of,
    deletion_of,
    from_json,
    to_json,
)
from tests.conftest import NOON
from tests.test_abilities import json_values
from tests.test_http import listener, ok
from tests.test_learning import a_world, known, watch
from tests.world import Clock, World

A = Ability
ENDPOINT = "https://ada.example/micropub"
KNOWN = Abilities(ENDPOINT)
SENT = Trial(Stage.SENT, NOON, ENDPOINT, "{}", url="https://ada.example/7", is_public=False)


def with_word(known: Abilities, **said: bool) -> Abilities:
    return learned(known, {A(name): can for name, can in said.items()}, How.POST, NOON)


def sent_with(known: Abilities, style: Style | None = None, *, as_form: bool = False) -> Any:  # noqa: ANN401 - any JSON
    return json.loads(body_of(known, style or Style(), NOON, as_form=as_form))["properties"]


# --- What it asks for ---


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ({}, Asks.DRAFT),
        ({"drafts": True}, Asks.DRAFT),
        ({"drafts": False}, Asks.PRIVATE),
        ({"drafts": False, "visibility": True}, Asks.PRIVATE),
        ({"drafts": False, "visibility": False}, Asks.NOTHING),
    ],
)
def test_a_test_post_asks_to_be_hidden_in_each_way_that_may_work(
    said: dict[str, bool], asked: Asks
) -> None:
    found = with_word(KNOWN, **said)

    assert asks(found) is asked
    post = sent_with(found)
    assert (post.get("post-status"), post.get("visibility")) == (
        ["draft"] if asked is Asks.DRAFT else None,
        ["private"] if asked is Asks.PRIVATE else None,
    )


async def test_what_may_become_visible_is_told_before_anything_is_sent(world: World) -> None:
    await world.sign_in()
    await world.browser.visit("/settings/site")

    assert "everyone can see the test post" in world.browser.text
    assert "A film that does not exist" in world.browser.text
    assert world.site.posts == []


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("html", [True, False])
def test_a_test_post_names_no_watch_and_nothing_at_trakt(shape: Shape, *, html: bool) -> None:
    post = sent_with(KNOWN, Style(shape=shape, html=html))

    assert "trakt.tv" not in json.dumps(post)
    assert not entry_of(post, "https://ada.example/7").may_be_ours
    assert ("watch-of" in post) is (shape is not Shape.NOTE)


def test_micro_blog_is_asked_not_to_pass_a_test_post_on() -> None:
    assert "mp-syndicate-to" not in sent_with(KNOWN)

    body = body_of(Abilities("https://micro.blog/micropub"), Style(), NOON, as_form=True)

    assert body.startswith("h=entry&")
    assert body.endswith("&mp-syndicate-to=")


def test_a_test_post_is_deleted_in_the_form_in_which_it_was_sent() -> None:
    assert json.loads(deletion_of(SENT)) == {"action": "delete", "url": SENT.url}
    assert deletion_of(replace(SENT, body="h=entry")) == (
        "action=delete&url=https%3A%2F%2Fada.example%2F7"
    )


def test_what_was_cut_short_is_unsure_after_a_while() -> None:
    sending = replace(SENT, stage=Stage.SENDING, url=None)

    assert as_of(sending, NOON + LOST_AFTER - timedelta(seconds=1)) == sending
    late = as_of(sending, NOON + LOST_AFTER)
    assert late is not None
    assert (late.stage, "Look on your site" in late.said) == (Stage.UNSURE, True)
    assert as_of(SENT, NOON + LOST_AFTER) == SENT


@settings(max_examples=30)
@given(json_values)
def test_what_another_version_wrote_of_a_test_post_does_no_harm(data: object) -> None:
    written = to_json(SENT)
    assert from_json(written) == SENT
    assert from_json(data) is None or isinstance(data, Mapping)
    for name in set(written) - {"stage", "at"}:
        assert from_json(written | {name: data}) is not None


# --- What becomes of it ---


async def scope(world: World) -> str:
    async with world.bridge.database.reading() as session:
        site = await session.get(SiteRow, 1)
    assert site is not None
    return site.scope


async def trial(world: World) -> Trial | None:
    async with world.bridge.database.reading() as session:
        site = await session.get(SiteRow, 1)
        assert site is not None
        return trials.of(site, world.clock())


async def after_pressing(world: World, button: str = "Send a test post") -> str:
    """Press a button of the test post and return what the page then says of it."""
    await world.browser.visit("/settings/site")
    await world.browser.press(button)
    await world.browser.visit("/settings/site")
    section = world.browser.document.select_one("#test")
    assert section is not None
    return " ".join(section.get_text(" ").split())


async def seen(world: World) -> dict[Ability, bool]:
    return {one.ability: one.can for one in (await known(world)).findings if one.how is How.TEST}


async def test_a_test_post_is_read_back_changed_and_deleted_and_tells_what_the_site_can_do(
    world: World,
) -> None:
    await world.ready()
    said = await after_pressing(world)

    (post,) = world.site.posts
    assert post.properties["post-status"] == ["draft"]
    assert "A stranger who opens that address does not see it." in said
    assert "What was sent, and the answers" in said
    assert await seen(world) == {
        A.JSON: True, A.NESTED: True, A.DATE: True, A.DRAFTS: True, A.SOURCE: True, A.UPDATE: True,
    }  # fmt: skip

    said = await after_pressing(world, "Try to delete it")
    assert "It was not deleted." in said
    assert "Delete it on your site, then say that it is gone." in said
    assert not world.site.posts[0].deleted

    # Otherwise a browser would not follow the form to the website.
    policy = world.browser.page.headers["Content-Security-Policy"]
    assert "form-action 'self' https: http:" in policy
    await world.browser.press("Sign in again, and allow deleting")
    await world.browser.press("Approve")
    assert world.browser.page.url.path == "/settings/site"
    said = await after_pressing(world, "Delete it")
    assert "Your site says that the test post is deleted." in said
    assert world.site.posts[0].deleted
    assert (await seen(world))[A.DELETE] is True
    assert "which your site shows to you alone" in said
    assert "delete" in await scope(world)

    await world.sign_in_again()
    assert "delete" not in await scope(world)


async def test_a_test_post_is_no_watch_and_never_becomes_one(world: World) -> None:
    await world.ready()
    await after_pressing(world)
    await watch(world, DUNE)

    await world.browser.visit("/settings")
    await world.browser.press("Look at my site now")
    await world.work()

    assert await world.states() == {"published": 1}
    assert len(world.site.posts) == 2
    async with world.bridge.database.reading() as session:
        assert await found.count(session, 1) == 1


async def test_a_site_that_shows_what_should_be_hidden_is_told_of_and_asked_otherwise(
    tmp_path: Path, clock: Clock
) -> None:
    async with a_world(tmp_path, clock, Habits(content_only=True)) as world:
        said = await after_pressing(world)

        assert "Everyone can see it." in said
        found = await seen(world)
        assert (found[A.DRAFTS], found[A.NESTED], found[A.DATE]) == (False, False, False)

        said = await after_pressing(world, "It is gone")
        assert "It asks your site to keep it private." in said


async def test_a_site_that_takes_no_json_is_found_out_by_a_form(
    tmp_path: Path, clock: Clock
) -> None:
    async with a_world(tmp_path, clock, Habits(refuses_json=True)) as world:
        said = await after_pressing(world)
        assert "The test post did not get through." in said
        assert A.JSON not in await seen(world)

        said = await after_pressing(world, "Try it as a form")

        assert "Your site took the test post" in said
        assert (await seen(world))[A.JSON] is False
        assert "takes no JSON" in world.browser.text


FAILURES: list[tuple[Answer | Dropped, Stage, str]] = [
    (Answer(503, {"Retry-After": "60"}), Stage.REFUSED, "Try again in a few minutes."),
    (Answer(401), Stage.REFUSED, "Sign in again, then send it once more."),
    (Answer(404), Stage.REFUSED, "reads anew where your site takes posts."),
    (Answer(400, body='{"error":"no"}'), Stage.REFUSED, "may say why"),
    (Dropped(creates=True), Stage.UNSURE, "Look on your site."),
]


async def test_every_failure_says_what_to_do_and_touches_no_post(world: World) -> None:
    await world.ready()
    for answer, stage, advice in FAILURES:
        world.site.then(answer, at="POST /micropub")

        said = await after_pressing(world)

        result = await trial(world)
        assert result is not None
        assert (result.stage, advice in said) == (stage, True), said
        assert ("Sign in again" in said) is (stage is Stage.REFUSED)
    async with world.bridge.database.reading() as session:
        site = await session.get(SiteRow, 1)
    assert site is not None
    assert (site.locked, site.failures, site.resume_at) == (None, 0, None)


async def test_pressing_twice_sends_one_test_post(world: World) -> None:
    await world.ready()
    await world.browser.visit("/settings/site")
    page = world.browser.page

    await world.browser.press("Send a test post")
    world.browser.page = page
    await world.browser.press("Send a test post")

    assert "A test post may be on your site already." in world.browser.text
    assert len(world.site.posts) == 1


async def test_a_key_that_a_site_echoes_is_nowhere_in_what_is_shown(world: World) -> None:
    await world.ready()
    await after_pressing(world)
    key = world.site.posts[0].headers["authorization"].removeprefix("Bearer ")
    await after_pressing(world, "It is gone")
    world.site.then(Answer(400, body=f'{{"error":"{key}"}}'), at="POST /micropub")

    await after_pressing(world)

    assert "[our key]" in world.browser.text
    assert key not in world.browser.page.text


@pytest.mark.parametrize("charset", ["zlib", "punycode", "undefined"])
async def test_the_page_of_a_test_post_is_read_whatever_it_says_it_is_written_in(
    world: World, charset: str
) -> None:
    page = ok(f"<p>{SIGN}</p>".encode(), f"Content-Type: text/html; charset={charset}")

    async with listener(page) as (port, _):
        assert await world.bridge.tester.is_public(f"http://127.0.0.1:{port}/") is True


async def test_the_key_of_a_site_deletes_at_no_other_endpoint_than_its_own(world: World) -> None:
    await world.ready()
    await after_pressing(world)
    async with world.bridge.database.writing() as session:
        site = await session.get(SiteRow, 1)
        assert site is not None
        site.micropub = f"{site.micropub}/moved"

    async with world.bridge.database.writing() as session:
        assert await trials.begin_deleting(session, 1, world.clock()) is None
