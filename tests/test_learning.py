"""Learning what a site can do, at websites of each kind."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.abilities import Abilities, Ability, How, Server
from app.demo.catalogue import DUNE, LIES, SECRETS, Work
from app.demo.site import Answer, Habits
from app.store import abilities, accounts
from tests.test_abilities import INDIEKIT, WORDPRESS
from tests.test_pages import second_person
from tests.world import Clock, World, running_world

A = Ability


@asynccontextmanager
async def a_world(folder: Path, clock: Clock, habits: Habits) -> AsyncIterator[World]:
    async with running_world(folder, clock, habits) as world:
        await world.ready()
        yield world


async def known(world: World, account_id: int = 1) -> Abilities:
    async with world.bridge.database.reading() as session:
        site = await accounts.site_of(session, account_id)
    assert site is not None
    return abilities.of(site)


async def watch(world: World, *works: Work) -> None:
    for work in works:
        world.clock.passes(minutes=5)
        world.trakt.watch(work)
        world.clock.passes(minutes=5)
        await world.check_now()


def asked(world: World, query: str) -> int:
    return sum(seen.query.count(query) for seen in world.site.requests)


async def test_an_endpoint_is_asked_what_it_can_do_after_signing_in(
    tmp_path: Path, clock: Clock
) -> None:
    async with a_world(tmp_path, clock, Habits(config=INDIEKIT)) as world:
        found = await known(world)

        assert asked(world, "q=config") == 1
        assert found.server is Server.INDIEKIT
        assert found.can(A.TARGETS) is True
        assert found.can(A.SLUG) is True


async def test_a_server_that_signs_its_pages_is_recognised_at_the_door(
    tmp_path: Path, clock: Clock
) -> None:
    async with a_world(tmp_path, clock, Habits(generator="WordPress 6.5.5", config={})) as world:
        found = await known(world)

        assert found.server is Server.WORDPRESS
        finding = found.finding(A.NESTED)
        assert finding is not None
        assert (finding.can, finding.how) == (True, How.KIND)


@pytest.mark.parametrize(
    ("habits", "seen"),
    [
        (Habits(), {A.NESTED: True, A.SLUG: True, A.DATE: True, A.SOURCE: True}),
        (
            Habits(kept_properties=("content", "published", "category"), ignores_slug=True),
            {A.NESTED: False, A.SLUG: False, A.DATE: True, A.SOURCE: True},
        ),
        (Habits(content_only=True), {A.NESTED: False, A.SLUG: False, A.DATE: False}),
        (Habits(source_needs_update=True, create_status=202), {A.NESTED: True, A.SLUG: True}),
        (Habits(has_no_source=True), {A.SOURCE: None, A.NESTED: None}),
        (Habits(lists_nothing=True), {A.SOURCE: None, A.NESTED: None}),
        (Habits(html_200="created"), {A.SOURCE: None, A.NESTED: None}),
    ],
    ids=["keeps all", "Known", "microblog.pub", "django", "no source", "no database", "firewall"],
)
async def test_the_first_post_shows_what_is_kept(
    tmp_path: Path, clock: Clock, habits: Habits, seen: dict[Ability, bool | None]
) -> None:
    async with a_world(tmp_path, clock, habits) as world:
        await watch(world, DUNE)

        found = await known(world)
        by_post = {one.ability: one.can for one in found.findings if one.how is How.POST}
        assert {ability: by_post.get(ability) for ability in seen} == seen


async def test_a_site_that_never_tells_of_a_post_is_believed_after_three(
    tmp_path: Path, clock: Clock
) -> None:
    async with a_world(tmp_path, clock, Habits(has_no_source=True, config={})) as world:
        await watch(world, DUNE, LIES, SECRETS, DUNE)

        assert (await known(world)).can(A.SOURCE) is False
        assert asked(world, "url=") == 3


async def test_a_busy_site_is_not_learned_from_and_its_posts_are_as_well_as_any(
    world: World,
) -> None:
    await world.ready()
    world.site.then(Answer(503), at="GET /micropub?q=source&url=")
    await watch(world, DUNE)

    found = await known(world)
    assert found.posts == 0
    assert await world.states() == {"published": 1}


async def test_an_endpoint_is_asked_again_after_a_day_when_it_is_posted_to(world: World) -> None:
    await world.ready()
    await watch(world, DUNE)
    assert asked(world, "q=config") == 1

    world.clock.passes(days=2)
    await watch(world, LIES)

    assert asked(world, "q=config") == 2
    assert (await known(world)).asked_at == world.clock()


async def test_signing_in_again_the_same_day_asks_nothing(world: World) -> None:
    await world.ready()
    await world.sign_in_again()

    assert asked(world, "q=config") == 1


# --- The page ---


async def test_the_findings_are_shown_with_how_they_are_known(world: World) -> None:
    await world.ready()
    await watch(world, DUNE)

    await world.browser.visit("/settings")
    await world.browser.visit("/settings/site")

    rows = [" ".join(row.get_text(" ").split()) for row in world.browser.document.select("tr")]
    told = {row.split(" You say")[0] for row in rows}
    assert any("Keeps what was watched as data" in row and "Yes seen on your site" in row
               for row in told)  # fmt: skip
    assert any("Passes posts on" in row and "No it says so itself" in row for row in told)
    assert any("Keeps drafts" in row and "Not known" in row for row in told)


async def test_a_finding_from_a_post_links_to_that_post(world: World) -> None:
    await world.ready()
    await watch(world, DUNE)
    await world.browser.visit("/settings/site")

    (post,) = world.site.posts
    links = [str(link["href"]) for link in world.browser.document.select("td a")]
    assert set(links) == {post.url}


async def test_what_suits_a_recognised_server_is_suggested_until_posts_look_so(
    tmp_path: Path, clock: Clock
) -> None:
    async with a_world(tmp_path, clock, Habits(config=WORDPRESS)) as world:
        await world.browser.visit("/settings/site")
        assert "Another shape of posts suits WordPress (Post Kinds) better." in world.browser.text

        await world.browser.visit("/settings/posts")
        assert "Your website looks like WordPress (Post Kinds)." in world.browser.text
        await world.browser.press("Fill in")
        await world.browser.press("Save")

        await world.browser.visit("/settings/site")
        assert "Your posts have the shape that suits WordPress" in world.browser.text


async def test_the_person_may_overrule_a_finding_and_take_it_back(world: World) -> None:
    await world.ready()
    await world.browser.visit("/settings/site")
    await world.browser.press("Save what I say", targets="yes", drafts="no")

    found = await known(world)
    assert (found.can(A.TARGETS), found.can(A.DRAFTS)) == (True, False)
    assert "you say so" in world.browser.text

    await world.browser.press("Save what I say", targets="", drafts="no")
    found = await known(world)
    assert (found.can(A.TARGETS), found.can(A.DRAFTS)) == (False, False)


async def test_a_site_is_asked_again_by_a_button(tmp_path: Path, clock: Clock) -> None:
    async with a_world(tmp_path, clock, Habits(config=WORDPRESS)) as world:
        clock.passes(hours=1)
        await world.browser.visit("/settings/site")
        await world.browser.press("Ask my site again")

        assert "Your site has answered" in world.browser.text
        assert "Kind WordPress" in world.browser.text
        assert (await known(world)).asked_at == clock()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(503), "could not be read just now (503)"),
        (
            Answer(401, body='{"error":"invalid_token"}'),
            "sign in again to give the bridge a new key",
        ),
    ],
)
async def test_a_site_that_gives_no_answer_is_told_and_nothing_is_taken_back(
    world: World, answer: Answer, said: str
) -> None:
    await world.ready()
    before = await known(world)
    world.site.then(answer, at="GET /micropub?q=config")

    await world.browser.visit("/settings/site")
    await world.browser.press("Ask my site again")

    assert said in world.browser.text
    assert await known(world) == before


@pytest.mark.parametrize("config", ["<h1>What?</h1>", {}], ids=["a page", "nothing"])
async def test_nonsense_counts_as_no_word(
    tmp_path: Path, clock: Clock, config: dict[str, Any] | str
) -> None:
    async with a_world(tmp_path, clock, Habits(config=config)) as world:
        found = await known(world)

        assert found.asked_at == clock()
        assert [one for one in found.findings if one.how is How.CONFIG] == []


async def test_a_refusal_to_be_asked_counts_as_no_word(world: World) -> None:
    world.site.then(Answer(400), at="GET /micropub?q=config")
    await world.ready()

    assert (await known(world)).asked_at == world.clock()


async def test_one_persons_word_is_not_anothers(world: World) -> None:
    await world.ready()
    bob, client = await second_person(world)
    await bob.visit("/settings/site")
    await bob.press("Save what I say", targets="yes")

    assert (await known(world, 2)).can(A.TARGETS) is True
    assert (await known(world, 1)).can(A.TARGETS) is False
    assert world.me not in bob.text
    await client.aclose()


async def test_a_made_up_word_is_refused_and_changes_nothing(world: World) -> None:
    await world.ready()
    before = await known(world)
    await world.browser.visit("/settings/site")
    await world.browser.press("Save what I say", targets="perhaps")

    assert world.browser.page.status_code == 400
    assert await known(world) == before
