"""The whole main job, through the pages, as a person without JavaScript would do it."""

import json
from datetime import timedelta

from app.demo.catalogue import DUNE, LIES
from tests.world import World


async def test_a_new_watch_becomes_a_post_on_the_site(world: World) -> None:
    await world.ready()
    world.clock.passes(minutes=5)
    play = world.trakt.watch(DUNE)

    await world.check_now()

    (post,) = world.site.posts
    assert post.properties["watch-of"][0]["properties"]["trakt-watch-id"] == [str(play)]
    await world.browser.visit("/")
    assert "Dune (2021)" in world.browser.text
    assert post.url in world.browser.page.text
    assert await world.states() == {"published": 1}
    assert json.loads(post.body) == {"type": ["h-entry"], "properties": post.properties}


async def test_older_watches_are_archived_and_not_posted(world: World) -> None:
    world.trakt.fill(600)

    await world.ready()

    assert await world.states() == {"archived": 600}
    assert world.site.posts == []
    assert (await world.connection()).archive_page is None


async def test_posts_leave_oldest_first(world: World) -> None:
    await world.ready()
    start = world.clock()
    world.clock.passes(hours=5)
    for hours in (3, 1, 4, 2):
        world.trakt.watch(LIES, at=start + timedelta(hours=hours))

    await world.check_now()

    dates = [post.properties["published"][0] for post in world.site.posts]
    assert dates == sorted(dates)
    assert len(dates) == 4
