"""The whole story with a website written by others: django-indieweb, in its own process.

The bridge reaches it through its guarded client, over sockets; only Trakt is simulated.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.demo.catalogue import DOCTOR_WHO, DUNE, LIES, EpisodeOf, Work
from app.hentry import properties_of
from app.store import accounts
from app.style import Shape, Style, to_json
from tests.django_site.client import consent, running
from tests.world import Clock, World, running_world

NAMELESS_SPECIAL = EpisodeOf(DOCTOR_WHO, 0, 5, None, 1148299)


@dataclass(frozen=True)
class Website:
    origin: str

    @property
    def me(self) -> str:
        return f"{self.origin}/"

    async def posts(self, world: World) -> dict[str, dict[str, Any]]:
        """All posts it was ever given, by URL, as its own list shows them."""
        listed = (await world.browser.client.get(f"{self.origin}/posts.json")).json()["posts"]
        return {post["url"]: post["properties"] for post in listed}

    async def source(self, world: World, token: str, url: str = "") -> httpx2.Response:
        """What a Micropub client with this token is told about a post (Micropub §3.7.1)."""
        return await world.browser.client.get(
            f"{self.origin}/indieweb/micropub/",
            params={"q": "source"} | ({"url": url} if url else {}),
            headers={"Authorization": f"Bearer {token}"},
        )


@pytest.fixture
def website(tmp_path: Path) -> Iterator[Website]:
    folder = tmp_path / "website"
    folder.mkdir()
    with running(folder) as origin:
        yield Website(origin)


async def asked(world: World, website: Website) -> str:
    """Type the website's address on our first page; return its consent page's URL."""
    await world.browser.visit("/")
    arrived = await world.browser.press("Sign in", me=website.origin)
    return arrived.history[0].headers["Location"]


async def sign_in(
    world: World, website: Website, decision: str = "approve", scope: str = ""
) -> httpx2.Response:
    """Go the whole way; ``scope`` is what the person lets us have, if not all we ask for."""
    url = httpx2.URL(await asked(world, website))
    url = url.copy_set_param("scope", scope) if scope else url
    return await world.browser.visit(await consent(world.browser.client, str(url), decision))


async def watched(world: World, *works: Work) -> list[dict[str, Any]]:
    """Watch ``works``, an hour between them, and return the posts as our rows hold them."""
    for work in works:
        world.clock.passes(hours=1)
        world.trakt.watch(work)
    world.clock.passes(minutes=5)
    await world.check_now()
    posts = [post for _, post in await world.watches() if post]
    posts = sorted(posts, key=lambda post: str(post.watched_at))[-len(works) :]
    return [{"url": post.url, "state": post.state, **sent(post.body or "")} for post in posts]


def sent(text: str) -> dict[str, Any]:
    """A body as h-entry, in whichever form it is."""
    return {"type": ["h-entry"]} | {"properties": properties_of(text)}


async def our_token(world: World) -> str:
    async with world.bridge.database.reading() as session:
        found = await accounts.account(session, 1)
    tokens = world.bridge.vault.open(found[1].sealed_tokens) if found else None
    return (tokens and tokens["access"]) or ""


def kept(properties: dict[str, Any]) -> dict[str, Any]:
    """What a website should show of what it was sent: all but the commands to itself."""
    return {name: value for name, value in properties.items() if not name.startswith("mp-")}


async def test_what_is_watched_stands_on_the_website_with_all_its_properties(
    world: World, website: Website
) -> None:
    await sign_in(world, website)
    await world.connect()

    sent = await watched(world, DUNE, LIES, NAMELESS_SPECIAL, DUNE)

    listed = await website.posts(world)
    token = await our_token(world)
    assert [post["state"] for post in sent] == ["published"] * 4
    assert len({post["url"] for post in sent}) == 4
    for post in sent:
        url, properties = post["url"], kept(post["properties"])
        read = (await website.source(world, token, url)).json()
        assert kept(listed[url]) == properties
        assert read["properties"] | properties == read["properties"]
        assert post["type"] == read["type"]


async def test_the_posts_say_what_was_watched(world: World, website: Website) -> None:
    await sign_in(world, website)
    await world.connect()

    film, episode, special, again = await watched(world, DUNE, LIES, NAMELESS_SPECIAL, DUNE)

    listed = await website.posts(world)
    assert [listed[post["url"]]["summary"] for post in (film, episode, special, again)] == [
        ["Watched Dune (2021)"],
        ["Watched Dark S01E02 “Lies”"],
        ["Watched Doctor Who S00E05"],
        ["Watched Dune (2021) again"],
    ]
    first, second = (listed[post["url"]]["watch-of"][0]["properties"] for post in (film, again))
    assert first["uid"] == second["uid"]
    assert first["trakt-watch-id"] != second["trakt-watch-id"]
    assert listed[special["url"]]["watch-of"][0]["properties"]["name"] == ["Episode 5"]
    assert listed[film["url"]]["published"] == ["2026-11-20T14:00:00+01:00"]


async def test_the_name_on_the_website_greets_on_the_dashboard(
    world: World, website: Website
) -> None:
    arrived = await sign_in(world, website)

    assert arrived.status_code == 200
    assert "Ada" in world.browser.text
    async with world.bridge.database.reading() as session:
        found = await accounts.account(session, 1)
    assert found is not None
    assert found[0].me == website.me
    assert set(found[1].scope.split()) == {"create", "update", "profile"}


async def test_a_denial_is_a_page_and_leaves_nothing(world: World, website: Website) -> None:
    response = await sign_in(world, website, decision="deny")

    assert response.status_code == 403
    assert "You said no" in world.browser.text
    assert await our_token(world) == ""


async def test_a_key_that_may_not_post_is_explained_and_not_kept(
    world: World, website: Website
) -> None:
    response = await sign_in(world, website, scope="profile")

    assert response.status_code == 403
    assert "may not post" in world.browser.text
    assert await our_token(world) == ""


async def test_a_code_that_was_made_for_another_sign_in_is_worthless(
    world: World, website: Website
) -> None:
    stolen = httpx2.URL(await consent(world.browser.client, await asked(world, website), "approve"))
    own = httpx2.URL(await asked(world, website)).params["state"]

    # The state is right, so it is PKCE that the website stops this with.
    response = await world.browser.visit(str(stolen.copy_set_param("state", own)))

    assert response.status_code == 400
    assert "would not give a key" in world.browser.text
    assert await our_token(world) == ""


async def test_signing_in_again_replaces_the_token_and_posting_goes_on(
    world: World, website: Website
) -> None:
    await sign_in(world, website)
    await world.connect()
    (before,) = await watched(world, DUNE)
    old = await our_token(world)
    world.browser.client.cookies.clear()

    await sign_in(world, website)
    (after,) = await watched(world, LIES)

    new = await our_token(world)
    assert new != old
    assert (await website.source(world, old)).status_code in {401, 403}
    assert (await website.source(world, new)).status_code == 200
    assert {before["state"], after["state"]} == {"published"}
    assert kept((await website.posts(world))[after["url"]]) == kept(after["properties"])


async def test_a_key_that_the_website_took_back_costs_no_watch(
    world: World, website: Website
) -> None:
    await sign_in(world, website)
    await world.connect()
    await world.work()
    await revoke(world, website)
    (waiting,) = await watched(world, DUNE)
    assert (waiting["state"], waiting["url"]) == ("queued", None)

    world.clock.passes(days=1)
    await sign_in(world, website)
    await world.work()

    ((_, post),) = await world.watches()
    assert post is not None
    assert (post.state, post.attempts) == ("published", 2)
    assert kept((await website.posts(world))[str(post.url)]) == kept(waiting["properties"])


async def revoke(world: World, website: Website) -> None:
    """Take all keys back on the website's own page; it has no endpoint to do so for programs."""
    await world.browser.visit(f"{website.origin}/indieweb/tokens/")
    while world.browser.document.select("form button"):
        assert (await world.browser.press("Revoke")).status_code == 200


async def test_posts_leave_for_the_website_oldest_first(world: World, website: Website) -> None:
    await sign_in(world, website)
    await world.connect()
    start = world.clock()
    world.clock.passes(hours=5)
    for hours in (3, 1, 4, 2):
        world.trakt.watch(LIES, at=start + timedelta(hours=hours))
    known = set(await website.posts(world))

    await world.check_now()

    new = {url: post for url, post in (await website.posts(world)).items() if url not in known}
    dates = [post["published"][0] for post in new.values()]
    assert len(dates) == 4
    assert dates == sorted(dates)


# All that there is; a form holds no HTML.
STYLES = [
    *(Style(shape=shape) for shape in Shape),
    *(Style(shape=shape, html=True) for shape in Shape if shape is not Shape.FORM),
]


async def test_each_shape_stands_on_the_website_and_a_lost_database_recognises_it(
    world: World, website: Website, tmp_path: Path, clock: Clock
) -> None:
    await sign_in(world, website)
    await world.connect()
    (tmp_path / "new").mkdir()

    posts = []
    for style in STYLES:
        async with world.bridge.database.writing() as session:
            await accounts.set_style(session, 1, to_json(style))
        posts += await watched(world, DUNE)
        is_form = style.shape is Shape.FORM
        # Of a form this server keeps what it knows by name.
        expected = {k: v for k, v in kept(posts[-1]["properties"]).items() if k != "watch-of"}
        page = await world.browser.visit(posts[-1]["url"])
        assert kept((await website.posts(world))[posts[-1]["url"]]) == (
            expected if is_form else kept(posts[-1]["properties"])
        )
        assert "Dune (2021)</a>" in page.text if style.html else "Dune (2021) " in page.text

    async with running_world(tmp_path / "new", clock) as new:
        for play in world.trakt.plays:
            new.trakt.watch(DUNE, play.watched_at)
        await sign_in(new, website)
        await new.connect()
        await new.work()

        found = {post.url for _, post in await new.watches() if post and post.state == "published"}
    assert found == {post["url"] for post in posts}
    assert len(await website.posts(world)) == len(STYLES)
