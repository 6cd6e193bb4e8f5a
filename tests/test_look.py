"""Looking at the site before sending again, at sites of every kind, over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from app.demo.catalogue import DUNE, LIES, SECRETS, Work
from app.demo.site import Answer, Dropped, Habits, Held
from app.demo.site_habits import CHALLENGE
from app.indieweb.feed import read_feed
from app.lookup import Entry
from app.outbox import Unsure
from app.store import accounts, found, notices
from app.tables import NoticeRow, PostRow, SiteRow, WatchRow
from app.waits import Waits
from tests.world import Clock, World, running_world

CREATED = Dropped(creates=True)
LOST = Dropped(creates=False)
INDIEKIT = Habits(slug_replaces=True, create_status=202, cursor_paging=True)
# Their lists show our markers, so nobody need be asked.
LISTING = {
    "keeps everything": Habits(),
    "lists without url": Habits(source_lists_urls=False),
    "ignores the slug": Habits(ignores_slug=True),
    "replaces on an equal slug": INDIEKIT,
    "ten a page": Habits(largest_page=10),
    "shows posts late": Habits(shown_after=timedelta(minutes=20)),
    "lists to those who may update": Habits(source_needs_update=True),
}
# Only their pages, or only texts, can be read.
UNLISTED = {
    "no list": Habits(has_no_source=True),
    "only the text": Habits(content_only=True),
    "lists without markers": Habits(kept_properties=("content", "published")),
    "an empty list": Habits(lists_nothing=True),
    "a list for others": Habits(source_needs_update=True, scope_granted="create"),
}


@asynccontextmanager
async def living(folder: Path, clock: Clock, habits: Habits) -> AsyncIterator[World]:
    """A world whose site shows one earlier post of ours."""
    async with running_world(folder, clock, habits) as world:
        await world.ready()
        await watched(world, LIES)
        assert states(await posts(world)) == ["published"]
        yield world


async def watched(world: World, work: Work) -> None:
    world.clock.passes(minutes=5)
    world.trakt.watch(work)
    await world.check_now()


async def later(world: World, **span: float) -> None:
    """Let time pass and all that becomes due meanwhile be done."""
    whole = timedelta(**span)
    end, step = world.clock() + whole, max(whole / 12, timedelta(minutes=5))
    while world.clock() < end:
        world.clock.moment = min(end, world.clock() + step)
        await world.work()


async def posts(world: World) -> list[PostRow]:
    return [post for _, post in await world.watches() if post]


async def newest(world: World) -> PostRow:
    return (await posts(world))[0]


def states(found: list[PostRow]) -> list[str]:
    return [post.state for post in found]


async def site(world: World) -> SiteRow:
    async with world.bridge.database.reading() as session:
        found = await session.get(SiteRow, 1)
    assert found is not None
    return found


async def choose(world: World, choice: str, hours: int = 24) -> None:
    async with world.bridge.database.writing() as session:
        row = await session.get(SiteRow, 1)
        assert row is not None
        row.unsure_choice, row.unsure_hours = choice, hours


async def open_notices(world: World) -> list[NoticeRow]:
    async with world.bridge.database.reading() as session:
        return await notices.open_ones(session, 1)


@pytest.mark.parametrize("kind", [*LISTING, *UNLISTED])
async def test_a_post_that_arrived_is_found_and_not_sent_again(
    tmp_path: Path, clock: Clock, kind: str
) -> None:
    async with living(tmp_path, clock, {**LISTING, **UNLISTED}[kind]) as world:
        world.site.then(CREATED)
        await watched(world, DUNE)
        assert (await newest(world)).state == "unsure"

        await later(world, hours=1)

        assert (await newest(world)).state == "published"
        assert len(world.site.posts) == 2
        if kind != "lists without url":
            assert (await newest(world)).url == world.site.posts[-1].url


async def test_a_post_that_is_answered_with_a_web_page_is_found_and_not_sent_again(
    tmp_path: Path, clock: Clock
) -> None:
    async with running_world(tmp_path, clock, Habits(html_200="created")) as world:
        await world.ready()
        await watched(world, DUNE)
        assert (await newest(world)).state == "unsure"

        await later(world, hours=1)

        assert (await newest(world)).state == "published"
        assert len(world.site.posts) == 1


@pytest.mark.parametrize("kind", LISTING)
async def test_a_post_that_a_list_does_not_show_is_sent_once_more(
    tmp_path: Path, clock: Clock, kind: str
) -> None:
    async with living(tmp_path, clock, LISTING[kind]) as world:
        world.site.then(LOST)
        await watched(world, DUNE)

        await later(world, minutes=25)
        assert (await newest(world)).state == "unsure"
        await later(world, hours=1)

        assert (await newest(world)).state == "published"
        assert len(world.site.posts) == 2
        assert await open_notices(world) == []


@pytest.mark.parametrize("kind", UNLISTED)
async def test_where_absence_cannot_be_proven_the_person_is_asked_once(
    tmp_path: Path, clock: Clock, kind: str
) -> None:
    async with living(tmp_path, clock, UNLISTED[kind]) as world:
        world.site.then(LOST)
        await watched(world, DUNE)

        await later(world, days=3)

        assert (await newest(world)).state == "unsure"
        assert len(world.site.posts) == 1
        (asked,) = await open_notices(world)
        assert "One post was sent" in asked.said
        await world.browser.visit(f"/watches/{(await world.watches())[0][0].id}")
        await world.browser.press("It is not there: send it again")
        await world.work()
        assert (await newest(world)).state == "published"
        assert len(world.site.posts) == 2
        await later(world, minutes=2)
        assert await open_notices(world) == []


async def test_nobody_is_asked_after_a_long_silence_before_the_site_was_looked_at(
    tmp_path: Path, clock: Clock
) -> None:
    async with living(tmp_path, clock, Habits()) as world:
        world.site.then(LOST)
        await watched(world, DUNE)
        world.clock.passes(hours=24 * 3)

        await later(world, minutes=5)

        assert (await newest(world)).state == "unsure"
        assert await open_notices(world) == []
        await later(world, hours=1)
        assert (await newest(world)).state == "published"
        assert len(world.site.posts) == 2


async def test_whoever_has_a_site_that_cannot_be_read_for_long_is_asked_all_the_same(
    tmp_path: Path, clock: Clock
) -> None:
    async with living(tmp_path, clock, Habits()) as world:
        world.site.then(LOST)
        await watched(world, DUNE)
        for _ in range(100):
            world.site.then(Answer(500), at="GET /micropub?q=source")
            world.site.then(Answer(500), at="GET /")

        for _ in range(9):
            await later(world, hours=4)

        (asked,) = await open_notices(world)
        assert "One post was sent" in asked.said


async def test_only_what_no_look_will_settle_is_asked_about(tmp_path: Path, clock: Clock) -> None:
    async with living(tmp_path, clock, Habits(lists_nothing=True)) as world:
        world.site.then(LOST)
        await watched(world, DUNE)
        await later(world, hours=23)
        world.site.then(LOST)
        await watched(world, SECRETS)

        await later(world, hours=2)

        (asked,) = await open_notices(world)
        assert "One post was sent" in asked.said
        await world.browser.visit("/")
        assert "One post was sent" in world.browser.text
        await later(world, days=1)
        (asked,) = await open_notices(world)
        await world.browser.visit("/")
        assert "2 posts were sent" in world.browser.text


async def test_a_person_may_say_that_it_is_there(tmp_path: Path, clock: Clock) -> None:
    async with living(tmp_path, clock, Habits(lists_nothing=True)) as world:
        world.site.then(LOST)
        await watched(world, DUNE)

        await world.browser.visit(f"/watches/{(await world.watches())[0][0].id}")
        await world.browser.press("It is there")

        assert (await newest(world)).state == "published"
        assert "You said that it is there" in world.browser.text


async def test_a_person_may_choose_that_it_is_sent_again_after_some_hours(
    tmp_path: Path, clock: Clock
) -> None:
    async with living(tmp_path, clock, Habits(has_no_source=True)) as world:
        await choose(world, "again", hours=5)
        world.site.then(LOST)
        await watched(world, DUNE)

        await later(world, hours=4, minutes=50)
        assert (await newest(world)).state == "unsure"
        await later(world, minutes=30)

        assert (await newest(world)).state == "published"
        assert len(world.site.posts) == 2


async def test_a_second_lost_answer_waits_for_the_person(world: World) -> None:
    await world.ready()
    await watched(world, LIES)
    world.site.then(LOST)
    await watched(world, DUNE)
    world.site.then(LOST)

    await later(world, days=4)

    post = await newest(world)
    assert (post.state, post.attempts) == ("unsure", 2)
    assert len(world.site.posts) == 1


async def test_a_person_may_choose_to_leave_such_posts_alone(tmp_path: Path, clock: Clock) -> None:
    async with living(tmp_path, clock, Habits(lists_nothing=True)) as world:
        await choose(world, "leave")
        world.site.then(LOST)
        await watched(world, DUNE)

        await later(world, days=3)

        assert (await newest(world)).state == "unsure"
        assert await open_notices(world) == []


async def test_an_earlier_viewing_of_the_film_does_not_pass_for_this_one(world: World) -> None:
    await world.ready()
    await watched(world, DUNE)
    world.site.then(LOST)
    await watched(world, DUNE)

    await later(world, hours=1)

    assert states(await posts(world)) == ["published", "published"]
    assert len(world.site.posts) == 2


async def test_a_list_with_no_other_post_of_ours_proves_no_absence(world: World) -> None:
    await world.ready()
    world.site.then(LOST)
    await watched(world, DUNE)

    await later(world, days=2)

    assert (await newest(world)).state == "unsure"


async def test_a_token_for_drafts_only_proves_no_absence(
    tmp_path: Path, clock: Clock, world_url: str
) -> None:
    habits = Habits(scope_granted="draft update")
    async with running_world(tmp_path, clock, habits, database_url=world_url) as world:
        await world.ready()
        await watched(world, LIES)
        world.site.then(LOST)
        await watched(world, DUNE)

        await later(world, days=2)

        assert (await newest(world)).state == "unsure"


async def test_a_second_post_is_recognised_by_its_place_and_shown(world: World) -> None:
    await world.ready()
    await watched(world, LIES)
    world.site.then(CREATED)
    await watched(world, DUNE)
    first = world.site.posts[-1].url
    await world.browser.visit(f"/watches/{(await world.watches())[0][0].id}")
    await world.browser.press("It is not there: send it again")
    await world.work()
    assert (await newest(world)).url == f"{first}-2"

    await later(world, minutes=10)

    post = await newest(world)
    assert (post.url, post.second_url) == (first, f"{first}-2")


async def test_a_post_whose_place_was_not_told_is_looked_up(world: World) -> None:
    await world.ready()
    world.site.then(Answer(204, creates=True))
    await watched(world, DUNE)
    assert (await newest(world)).url is None

    await later(world, minutes=10)

    assert (await newest(world)).url == world.site.posts[-1].url


async def test_the_watch_s_page_says_what_a_look_showed(world: World) -> None:
    await world.ready()
    await watched(world, LIES)
    world.site.then(LOST)
    await watched(world, DUNE)

    await later(world, minutes=10)

    await world.browser.visit(f"/watches/{(await world.watches())[0][0].id}")
    assert "The bridge looked at your site (its list of posts) and read 1 post" in (
        world.browser.text
    )


async def test_a_site_in_trouble_is_looked_at_again_later(world: World) -> None:
    await world.ready()
    await watched(world, LIES)
    world.site.then(CREATED)
    world.site.then(Answer(503), at="GET /micropub?q=source")
    await watched(world, DUNE)

    await later(world, hours=1)

    assert (await newest(world)).state == "published"


async def test_a_web_page_in_place_of_a_list_is_not_taken_for_the_lack_of_one(
    world: World,
) -> None:
    await world.ready()
    await watched(world, LIES)
    world.site.then(CREATED)
    world.site.then(CHALLENGE, at="GET /micropub?q=source")
    await watched(world, DUNE)

    await later(world, hours=1)

    assert (await newest(world)).state == "published"
    assert (await site(world)).shows == "list"


async def test_a_list_that_was_there_before_is_not_given_up_for_one_answer(world: World) -> None:
    await world.ready()
    await watched(world, LIES)
    await later(world, minutes=5)
    world.site.then(CREATED)
    world.site.then(Answer(400), at="GET /micropub?q=source")
    await watched(world, DUNE)

    await later(world, hours=1)

    assert (await newest(world)).state == "published"
    assert (await site(world)).shows == "list"


async def test_a_key_that_no_longer_reads_stops_the_looking_and_asks_the_person(
    world: World,
) -> None:
    await world.ready()
    await watched(world, LIES)
    world.site.then(CREATED)
    await watched(world, DUNE)
    world.site.revoke_tokens()

    await later(world, hours=1)

    assert (await site(world)).locked is not None
    assert [notice.kind for notice in await open_notices(world)] == ["site"]
    asked = len(world.site.requests)
    await later(world, hours=5)
    assert len(world.site.requests) == asked
    await world.sign_in_again()
    await later(world, hours=1)
    assert (await newest(world)).state == "published"
    assert await open_notices(world) == []


async def test_several_lost_posts_take_one_look(world: World) -> None:
    await world.ready()
    await watched(world, LIES)
    for work in (DUNE, SECRETS):
        world.site.then(CREATED)
        await watched(world, work)
    before = len(world.site.requests)

    await later(world, minutes=10)

    assert states(await posts(world)) == ["published"] * 3
    # The page that holds them, and twice the end after it.
    assert len(world.site.requests) - before <= 3


async def test_a_look_that_is_cut_short_at_the_end_goes_on_at_once(world: World) -> None:
    held = Held(asyncio.Event())
    await world.sign_in()
    world.site.then(held, at="GET /micropub?q=source")
    world.scheduler.waits = Waits(last_words=timedelta())
    await world.scheduler.start_due()
    await held.reached.wait()

    await world.scheduler.finish()
    held.until.set()

    assert (await site(world)).looking_until is None
    await world.work()
    assert (await site(world)).looked_at == world.clock()


async def test_what_is_being_sent_is_not_judged_by_an_older_look(world: World) -> None:
    await world.ready()
    await watched(world, LIES)
    world.site.then(LOST)
    await watched(world, DUNE)

    post = await newest(world)

    assert post.sent_at == world.clock()
    assert post.looks == 0


async def test_a_choice_made_when_all_looks_are_used_up_is_followed(
    tmp_path: Path, clock: Clock
) -> None:
    async with living(tmp_path, clock, Habits(has_no_source=True)) as world:
        world.site.then(LOST)
        await watched(world, DUNE)
        await later(world, days=3)
        assert (await newest(world)).state == "unsure"

        async with world.bridge.database.writing() as session:
            await accounts.set_unsure_choice(session, 1, Unsure.AGAIN, 24, clock())
        await world.work()

        assert (await newest(world)).state == "published"
        assert len(world.site.posts) == 2


COMMENT = (
    '<div class="h-entry"><a class="u-url" href="/1"></a><p class="p-content">Hello</p>'
    '<div class="u-comment h-cite"><a class="u-watch-of"'
    ' href="https://trakt.tv/movies/dune-2021#watch-777">Dune</a></div></div>'
)
FOREIGN = (
    '<div class="h-entry"><a class="u-url" href="https://evil.example/1"></a>'
    '<a class="u-syndication" href="https://trakt.tv/movies/dune-2021#watch-778">x</a></div>'
)
NAMELESS = (
    '<div class="h-entry">'
    '<a class="u-syndication" href="https://trakt.tv/movies/dune-2021#watch-779">x</a></div>'
)


@pytest.mark.parametrize("html", [COMMENT, FOREIGN, NAMELESS], ids=["comment", "foreign", "bare"])
def test_what_others_write_on_a_page_claims_no_watch(html: str) -> None:
    page = read_feed(
        "https://ada.example/",
        httpx2.Response(200, headers={"Content-Type": "text/html"}, text=html),
    )

    assert [entry.marker for entry in page.entries] in ([], [None])


@pytest.mark.parametrize("is_damaged", [False, True], ids=["whole", "damaged"])
async def test_a_post_that_the_site_shows_is_not_sent_whenever_that_became_known(
    world: World, *, is_damaged: bool
) -> None:
    await world.ready()
    world.site.then(Answer(429))
    await watched(world, DUNE)
    ((watch, _),) = await world.watches()
    shown = Entry(url=f"{world.me}posts/1", marker=watch.key, published=watch.watched_at)
    async with world.bridge.database.writing() as session:
        await found.keep(session, 1, [shown], world.clock())
        row = await session.get(WatchRow, watch.id)
        assert row is not None
        row.work = {"kind": "movie"} if is_damaged else row.work

    await later(world, hours=1)

    assert (await newest(world)).url == shown.url
    assert world.site.posts == []
