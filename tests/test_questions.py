"""What the bridge asks and what has stopped: raised by the engine, answered on the pages."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bs4 import Tag

from app.demo.catalogue import DARK, DUNE, LIES, SPECIAL
from app.demo.site import Answer, Habits
from app.notices import Kind
from app.store import notices
from app.tables import ConnectionRow, NoticeRow, SiteRow
from app.web.needs import needs
from tests.conftest import NOON
from tests.polling import poll, settled
from tests.test_adopt import restored, theirs
from tests.test_bunches import of
from tests.test_diff import films
from tests.test_look import LOST, later, living, newest, open_notices, site, watched
from tests.test_pages import second_person
from tests.test_pause import five_refused
from tests.world import BRIDGE, Clock, World, running_world

DAY = timedelta(days=1)


async def asked(world: World) -> list[str]:
    """What stands on top of the dashboard, each thing with its buttons."""
    await world.browser.visit("/")
    return [words(need) for need in world.browser.document.select("#needs li")]


def words(tag: Tag) -> str:
    return " ".join(tag.get_text(" ").split())


def summary(world: World) -> str:
    found = world.browser.document.select_one("#summary")
    assert found is not None
    return words(found)


async def follow(world: World, link: str) -> None:
    """Follow the first link with these words."""
    for one in world.browser.document.select("main a[href]"):
        if link in words(one):
            await world.browser.visit(str(one["href"]))
            return
    raise AssertionError(f"no link {link!r}: {world.browser.text[:500]}")


async def a_bunch(world: World, number: int = 34) -> None:
    await settled(world)
    for episode in of(DARK, number):
        world.trakt.watch(episode)
    await poll(world)


# --- Many plays of one show at once ---


async def test_a_bunch_is_posted_by_one_button(world: World) -> None:
    await a_bunch(world)
    (need,) = await asked(world)
    assert "34 plays of Dark became known at once" in need
    assert summary(world) == "One thing needs you. Nothing is lost meanwhile."

    await world.browser.press("Post all")
    await world.work()

    assert "queued to be posted" in world.browser.text
    assert len(world.site.posts) == 34
    assert await asked(world) == []


async def test_a_bunch_is_kept_unposted_by_one_button(world: World) -> None:
    await a_bunch(world)
    await asked(world)

    await world.browser.press("Keep all unposted")
    await world.work()

    assert world.site.posts == []
    assert await world.states() == {"archived": 1, "skipped": 34}
    assert await asked(world) == []


async def test_of_a_bunch_only_what_is_ticked_is_posted(world: World) -> None:
    await a_bunch(world)
    await asked(world)
    await follow(world, "Choose")
    boxes = world.browser.document.select('input[name="watch"][checked]')
    assert len(boxes) == 34

    await world.browser.press("Post the ticked ones", watch=str(boxes[4]["value"]))
    await world.work()

    (post,) = world.site.posts
    assert "S01E05" in str(post.properties["content"])
    assert await world.states() == {"archived": 1, "skipped": 33, "published": 1}


async def test_whoever_wants_few_of_many_begins_without_any_tick(world: World) -> None:
    await a_bunch(world)
    await asked(world)
    await follow(world, "Choose")
    await follow(world, "Take all ticks away")
    assert len(world.browser.document.select('input[name="watch"]')) == 34
    assert world.browser.document.select('input[name="watch"][checked]') == []

    await follow(world, "Tick all")

    assert len(world.browser.document.select('input[name="watch"][checked]')) == 34


async def test_without_a_single_tick_nothing_is_settled(world: World) -> None:
    await a_bunch(world)
    await asked(world)
    await follow(world, "Choose")

    await send(world, f"{world.browser.page.url.path}/choose")
    await world.work()

    assert "None is ticked" in world.browser.text
    assert len(world.browser.document.select('input[name="watch"]')) == 34
    assert await world.states() == {"archived": 1, "held": 34}


async def test_a_page_full_of_ticks_is_not_too_many(world: World) -> None:
    await a_bunch(world)
    await asked(world)
    await follow(world, "Choose")
    ticks = [str(number) for number in range(1, 4001)]

    await send(world, f"{world.browser.page.url.path}/choose", watch=ticks)
    await world.work()

    assert world.browser.page.status_code == 200
    assert len(world.site.posts) == 34


async def test_an_episode_that_waits_for_an_answer_leads_to_the_question(world: World) -> None:
    await a_bunch(world)

    await world.browser.visit(f"/watches/{(await world.watches())[0][0].id}")
    assert "waits for your answer" in world.browser.text
    await follow(world, "Answer for all of them at once")

    assert "34 plays of Dark" in world.browser.text


async def send(world: World, path: str, **fields: object) -> None:
    """Send a form of the page that is open, with other fields than a browser would."""
    csrf = world.browser.document.find("input", attrs={"name": "csrf"})
    assert csrf is not None
    client = world.browser.client
    data = {"csrf": str(csrf["value"]), **fields}
    world.browser.page = await client.post(BRIDGE + path, data=data, follow_redirects=True)


# --- Questions in general ---


async def test_a_second_press_says_that_it_is_settled(world: World) -> None:
    await a_bunch(world)
    await asked(world)
    page = world.browser.page

    await world.browser.press("Keep all unposted")
    world.browser.page = page
    await world.browser.press("Post all")
    await world.work()

    assert "settled already" in world.browser.text
    assert world.site.posts == []


async def test_a_question_that_is_over_leads_to_the_dashboard(world: World) -> None:
    await a_bunch(world)
    await asked(world)
    await world.browser.press("Keep all unposted")

    await world.browser.visit("/questions/1")

    assert world.browser.page.url.path == "/"


async def test_an_answer_that_no_question_knows_is_no_page(world: World) -> None:
    await a_bunch(world)
    await asked(world)
    page = world.browser.page

    for path in ("/questions/1/shrug", "/questions/1/there", "/questions/99/post"):
        world.browser.page = page
        await send(world, path)
        assert world.browser.page.status_code == 404

    assert await world.states() == {"archived": 1, "held": 34}


async def test_nothing_is_answered_or_begun_by_looking(world: World) -> None:
    await a_bunch(world)

    for path in ("/questions/1/post", "/site/look", "/site/go-on", "/watches/1/look", "/check"):
        assert (await world.browser.visit(path)).status_code in {404, 405}

    assert await world.states() == {"archived": 1, "held": 34}
    assert (await site(world)).look_due_at is None


async def test_a_form_without_its_token_answers_nothing(world: World) -> None:
    await a_bunch(world)
    for path in ("/questions/1/post", "/site/look", "/site/go-on", "/site/unsure", "/check"):
        response = await world.browser.client.post(BRIDGE + path)
        assert response.status_code == 400
    assert await world.states() == {"archived": 1, "held": 34}


async def test_one_account_never_sees_or_answers_another_s_question(world: World) -> None:
    await a_bunch(world)
    bob, client = await second_person(world)
    await bob.visit("/")
    assert "Dark" not in bob.text
    csrf = bob.document.find("input", attrs={"name": "csrf"})
    assert csrf is not None

    assert (await bob.visit("/questions/1")).status_code == 404
    for path in ("/questions/1/post", "/questions/1/choose", "/watches/1/look"):
        response = await client.post(BRIDGE + path, data={"csrf": str(csrf["value"])})
        assert response.status_code == 404
    await client.post(f"{BRIDGE}/site/look", data={"csrf": str(csrf["value"])})
    assert await world.states() == {"archived": 1, "held": 34}
    assert (await site(world)).look_due_at is None
    await client.aclose()


# --- A database that may be an old copy ---


async def behind_a_gate(world: World) -> None:
    """Two watches wait: DUNE is on the site, SPECIAL is not."""
    world.trakt.watch(SPECIAL, world.clock() - timedelta(hours=3))
    await world.work()
    await later(world, hours=3)


async def test_what_the_site_cannot_tell_is_asked_and_sent(tmp_path: Path, clock: Clock) -> None:
    async with restored(tmp_path, clock, Habits(content_only=True)) as world:
        await behind_a_gate(world)
        (need,) = await asked(world)
        assert "One post waits" in need
        assert "asks you something" in world.browser.text

        await follow(world, "See what waits")
        assert "The Christmas Invasion" in world.browser.text
        assert "Dune" not in world.browser.text
        await follow(world, "The Christmas Invasion")
        assert "may be on your site already" in world.browser.text
        await follow(world, "say whether it is there")
        await world.browser.press("Send them")
        await world.work()

        assert len(world.site.posts) == 3
        assert await asked(world) == []


async def test_what_is_there_already_is_not_sent(tmp_path: Path, clock: Clock) -> None:
    habits = Habits(lists_nothing=True, feed_page_size=1, shown_after=timedelta(days=9))
    async with restored(tmp_path, clock, habits) as world:
        await later(world, hours=3)
        await asked(world)

        await world.browser.press("They are there already")
        await world.work()

        assert len(world.site.posts) == 2
        assert await world.states() == {"published": 2}
        assert await asked(world) == []


async def test_while_the_gate_is_shut_the_dashboard_says_what_it_waits_for(
    tmp_path: Path, clock: Clock
) -> None:
    async with restored(tmp_path, clock) as world:
        for _ in range(2):
            world.site.then(Answer(503), at="GET /micropub?q=source")
        await world.work()

        assert await asked(world) == []
        assert "was away for a while" in summary(world)
        assert "waits until your site has been looked at" in world.browser.text


# --- A lost database ---


@pytest.mark.parametrize(("button", "posts"), [("Start from then", 2), ("Start from now", 1)])
async def test_posting_starts_where_the_site_leaves_off_if_the_person_says_so(
    world: World, button: str, posts: int
) -> None:
    last = world.trakt.watch(DUNE, world.clock() - 2 * DAY)
    world.site.publish_before(theirs(world, DUNE, world.clock() - 2 * DAY, last))
    world.trakt.watch(SPECIAL, world.clock() - DAY)
    await world.sign_in()
    await world.work()
    assert await asked(world) == []
    assert "the bridge asks whether to go on from the newest of them" in world.browser.text
    await world.connect()
    await world.work()
    (need,) = await asked(world)
    assert "Your site already shows 1 post" in need

    await world.browser.press(button)
    await world.work()

    assert len(world.site.posts) == posts
    assert await asked(world) == []


# --- Many plays that Trakt no longer shows ---


async def gone(world: World) -> None:
    old = films(30)
    world.trakt.fill(30, old)
    await settled(world)
    world.trakt.history.remove_all({*old})
    await poll(world)


async def removed(world: World) -> int:
    return sum(row.removed_at is not None for row, _ in await world.watches())


async def test_many_plays_are_gone_when_the_person_says_so(world: World) -> None:
    await gone(world)
    (need,) = await asked(world)
    assert "no longer shows 30 plays" in need

    await world.browser.press("They are gone indeed")
    await poll(world, seconds=1)
    await poll(world, hours=1, minutes=1)

    assert await removed(world) == 30
    assert await asked(world) == []
    await world.browser.visit("/watches?state=removed")
    assert "30 watches" in world.browser.text
    assert len(world.browser.document.select(".watches li")) == 30


async def test_looking_again_changes_nothing_while_they_are_still_not_shown(world: World) -> None:
    await gone(world)
    await asked(world)
    before = len(world.trakt.requests)

    await world.browser.press("Look again")
    await world.work()

    assert len(world.trakt.requests) > before
    assert await removed(world) == 0
    assert len(await asked(world)) == 1


# --- What has stopped ---


async def test_a_paused_site_goes_on_by_a_button(world: World) -> None:
    await five_refused(world)
    await watched(world, LIES)
    (need,) = await asked(world)
    assert "5 posts in a row went wrong" in need
    assert "paused" in world.browser.text
    await follow(world, "See the refused (5)")
    assert len(world.browser.document.select(".watches li")) == 5

    await world.browser.visit("/")
    await world.browser.press("Go on")
    await world.work()

    assert (await newest(world)).state == "published"
    assert await asked(world) == []
    await send(world, "/site/go-on")
    assert "settled already" in world.browser.text


async def test_a_site_and_a_trakt_that_want_new_keys_are_told_once_each_and_mended(
    world: World,
) -> None:
    await world.ready()
    world.site.revoke_tokens()
    await watched(world, DUNE)
    world.trakt.revoke_everything()
    await world.check_now()

    trakt, website = await asked(world)
    assert "Trakt wants you to connect again" in trakt
    assert "wants you to sign in again" in website
    assert summary(world) == "2 things need you. Nothing is lost meanwhile."
    why = (await site(world)).locked
    assert why is not None
    assert world.browser.text.count(why) == 1

    await world.browser.press("Connect Trakt again")
    await world.browser.press("Approve")
    await world.browser.press("Sign in again")
    await world.browser.press("Approve")
    await world.work()

    assert await asked(world) == []
    assert len(world.site.posts) == 1


# --- Posts of which nobody can tell ---


async def test_lost_answers_are_asked_about_and_over_with_the_last_answer(
    tmp_path: Path, clock: Clock
) -> None:
    async with living(tmp_path, clock, Habits(lists_nothing=True)) as world:
        world.site.then(LOST)
        await watched(world, DUNE)
        assert await asked(world) == []
        assert "A post got no clear answer" in summary(world)
        await later(world, days=2)

        (need,) = await asked(world)
        assert "One post was sent" in need
        await follow(world, "See it")
        await follow(world, "Dune")
        await world.browser.press("Leave it undecided")

        assert await asked(world) == []
        await later(world, days=2)
        assert len(world.site.posts) == 1


async def test_look_now_looks_at_once(world: World) -> None:
    await world.ready()
    await watched(world, LIES)
    world.site.then(LOST)
    await watched(world, DUNE)
    await world.browser.visit(f"/watches/{(await world.watches())[0][0].id}")
    assert "looks on your site in 2 minutes" in world.browser.text
    before = len(world.site.requests)

    await world.browser.press("Look now")
    assert "looking on your site now" in world.browser.text
    await world.work()

    assert len(world.site.requests) > before
    await world.browser.visit(world.browser.page.url.path)
    assert "This post was not among them" in world.browser.text
    assert "looks on your site in 2 minutes" in world.browser.text


async def test_a_locked_site_is_not_looked_at(world: World) -> None:
    await world.ready()
    await world.browser.visit("/settings")
    async with world.bridge.database.writing() as session:
        row = await session.get(SiteRow, 1)
        assert row is not None
        row.locked = "It says no."

    await world.browser.press("Look at my site now")

    assert "Sign in again first" in world.browser.text
    assert "Look at my site now" not in world.browser.text


async def test_a_site_that_asked_to_wait_is_looked_at_after_that(world: World) -> None:
    await world.ready()
    async with world.bridge.database.writing() as session:
        row = await session.get(SiteRow, 1)
        assert row is not None
        row.resume_at = world.clock() + timedelta(hours=1)
    await world.browser.visit("/settings")

    await world.browser.press("Look at my site now")

    assert "asked the bridge to wait" in world.browser.text
    assert "right now" not in world.browser.text


# --- Settings ---


async def test_the_person_looks_at_the_site_and_is_told_what_was_found(world: World) -> None:
    await world.ready()
    await watched(world, DUNE)
    await world.browser.visit("/settings")

    await world.browser.press("Look at my site now")
    assert "right now" in world.browser.text
    await world.work()
    await world.browser.visit("/settings")

    for said in ("just now", "it lists its posts", "1 post of what you watched", "read 1 post"):
        assert said in world.browser.text


async def test_what_was_posted_after_the_last_look_is_said_not_to_be_counted(world: World) -> None:
    await world.ready()
    for film in (DUNE, LIES):
        await watched(world, film)

    await world.browser.visit("/settings")

    assert len(world.site.posts) == 2
    assert "1 post of what you watched, by all looks so far" in world.browser.text
    assert "posted since the last one is not counted" in world.browser.text


async def test_what_becomes_of_lost_posts_is_chosen(world: World) -> None:
    await world.ready()
    await world.browser.visit("/settings")
    await world.browser.press("Save this choice", choice="again", hours="6")

    assert "Saved" in world.browser.text
    found = await site(world)
    assert (found.unsure_choice, found.unsure_hours) == ("again", 6)
    await world.browser.press("Save this choice", choice="leave", hours="never mind")
    found = await site(world)
    assert (found.unsure_choice, found.unsure_hours) == ("leave", 6)


@pytest.mark.parametrize("hours", ["0", "721", "-1", "1.5", "", "x", "\uff19"])
async def test_a_wrong_number_of_hours_is_explained_beside_its_field(
    world: World, hours: str
) -> None:
    await world.ready()
    await world.browser.visit("/settings")

    await world.browser.press("Save this choice", choice="again", hours=hours)

    assert world.browser.page.status_code == 400
    assert "whole number of hours from 1 to 720" in world.browser.text
    assert world.browser.document.select('#hours[aria-invalid="true"]')
    assert (await site(world)).unsure_choice == "ask"
    # Reloading leads back to the form.
    await world.browser.visit("/site/unsure")
    assert world.browser.page.url.path == "/settings"


async def test_a_choice_that_is_none_of_the_three_is_refused(world: World) -> None:
    await world.ready()
    await world.browser.visit("/settings")

    await world.browser.press("Save this choice", choice="whatever", hours="3")

    assert world.browser.page.status_code == 400
    assert (await site(world)).unsure_choice == "ask"


# --- Trakt ---


async def test_everything_is_compared_by_a_button_and_the_result_is_told(world: World) -> None:
    await settled(world)
    world.trakt.watch(DUNE, world.clock() - 300 * DAY)
    await world.browser.visit("/")

    await world.browser.press("Check everything")
    assert "being compared" in world.browser.text
    await world.work()
    await world.browser.visit("/")

    assert "just now: 1 new" in world.browser.text
    assert "Trakt counts 1 plays of films and 1 of episodes, the bridge 1 and 1." in (
        world.browser.text
    )


async def test_without_trakt_there_is_nothing_to_compare(world: World) -> None:
    await world.sign_in()

    await send(world, "/check")

    assert "connect Trakt first" in world.browser.text


# --- A watch's page ---


async def test_a_removed_watch_says_since_when_and_leaves_its_post_alone(world: World) -> None:
    await settled(world)
    play = world.trakt.watch(DUNE)
    await poll(world)
    world.trakt.history.remove([play])
    await poll(world)
    key = (await world.watches())[0][0].id
    await world.browser.visit(f"/watches/{key}")
    assert "The bridge asks once more before it believes that" in world.browser.text
    await poll(world, hours=1, minutes=1)

    await world.browser.visit(f"/watches/{key}")

    assert "Trakt no longer shows this since" in world.browser.text
    assert "The post on your site is left alone" in world.browser.text
    assert "no longer shows it like this since" in world.browser.text
    assert len(world.site.posts) == 1
    await world.browser.visit("/watches")
    assert len(world.browser.document.select(".watches li")) == 2
    assert "gone from Trakt" in world.browser.text


async def test_what_was_removed_before_it_was_posted_cannot_be_posted(world: World) -> None:
    await a_bunch(world, 31)
    plays = [row.key for row, _ in await world.watches()][:1]
    world.trakt.history.remove([int(key) for key in plays])
    await poll(world)
    await poll(world, hours=1, minutes=1)
    key = (await world.watches())[0][0].id

    await world.browser.visit(f"/watches/{key}")
    assert "was not posted, because Trakt no longer shows it" in world.browser.text
    assert "Post it after all" not in world.browser.text
    await send(world, f"/watches/{key}/publish")

    assert world.browser.page.status_code == 409


async def test_a_corrected_date_shows_both_that_trakt_told(world: World) -> None:
    await settled(world)
    play = world.trakt.watch(DUNE)
    await poll(world)
    world.trakt.history.remove([play])
    world.trakt.watch(DUNE, world.clock() - timedelta(hours=5))
    await poll(world)

    await world.browser.visit(f"/watches/{(await world.watches())[0][0].id}")

    lines = [words(line) for line in world.browser.document.select(".timeline > li")]
    assert sum("Trakt told the bridge about it" in line for line in lines) == 2
    assert any("Trakt now dates it" in line for line in lines)
    assert "no longer shows it like this since" in lines[0]


async def test_a_post_that_is_there_twice_is_shown_with_both_places(world: World) -> None:
    await world.ready()
    await watched(world, DUNE)
    async with world.bridge.database.writing() as session:
        row = await session.merge(await newest(world))
        row.second_url = f"{row.url}-2"

    await world.browser.visit("/watches/1")

    assert "Your site shows it twice" in world.browser.text
    assert world.browser.document.select(f'#standing a[href="{row.url}-2"]')


# --- What needs the person, as a decision ---


def a_notice(kind: Kind, key: int = 1) -> NoticeRow:
    return NoticeRow(id=key, account_id=1, kind=kind, said=f"Said of {kind}.", opened_at=NOON)


def a_site(**values: Any) -> SiteRow:  # noqa: ANN401 - any column
    rest: dict[str, Any] = dict.fromkeys(
        ("micropub", "authorization_endpoint", "token_endpoint"), ""
    )
    return SiteRow(account_id=1, **rest, **values)


def a_connection(**values: Any) -> ConnectionRow:  # noqa: ANN401 - any column
    about: dict[str, Any] = {
        "account_id": 1,
        "source": "trakt",
        "source_user": "7",
        "source_name": "ada",
    }
    return ConnectionRow(**about, start_at=NOON, **values)


ALL = [a_notice(kind, key) for key, kind in enumerate(Kind, 1)]


def test_a_notice_that_lags_behind_is_not_shown() -> None:
    assert [need.kind for need in needs(a_site(), None, 0, ALL)] == [Kind.BUNCH]


def test_what_is_so_is_shown_though_its_notice_is_missing() -> None:
    ill = a_site(locked="no", paused="5")
    linked = a_connection(sealed_tokens="sealed", locked="dead")

    shown = [need.kind for need in needs(ill, linked, 0, [])]

    assert shown == [Kind.TRAKT, Kind.SITE, Kind.PAUSED]


def test_who_runs_the_bridge_needs_to_see_to_an_app_that_trakt_refuses() -> None:
    refused = [a_notice(Kind.CLOSED)]

    assert [need.kind for need in needs(a_site(), None, 0, refused, owns=True)] == [Kind.CLOSED]
    assert needs(a_site(), None, 0, refused) == []


def test_what_has_stopped_comes_before_what_is_asked() -> None:
    ill = a_site(paused="5", gate_at=NOON)
    linked = a_connection(sealed_tokens="sealed")

    shown = needs(ill, linked, 2, ALL)

    assert [need.kind for need in shown] == [
        Kind.PAUSED,
        Kind.GATE,
        Kind.START,
        Kind.BUNCH,
        Kind.ABSENT,
        Kind.UNSURE,
    ]
    assert "2 posts were sent" in shown[-1].said


def test_a_kind_that_only_a_newer_version_knows_is_left_to_it() -> None:
    other = a_notice(Kind.BUNCH)
    other.kind = "new"

    assert needs(a_site(), None, 0, [other]) == []


async def test_somebody_else_s_notice_is_nobody_s(world: World) -> None:
    await a_bunch(world)
    (notice,) = await open_notices(world)

    async with world.bridge.database.reading() as session:
        assert await notices.seen(session, 1, notice.id or 0) is not None
        assert await notices.seen(session, 2, notice.id or 0) is None


async def test_a_site_that_is_read_page_by_page_tells_how_far_it_is(
    tmp_path: Path, clock: Clock, world_url: str
) -> None:
    async with running_world(
        tmp_path, clock, Habits(largest_page=10), database_url=world_url
    ) as world:
        for day in range(35):
            at = clock() - day * DAY
            world.site.publish_before({"content": ["Hi"], "published": [at.isoformat()]})
        world.site.then(Answer(503), at="GET /micropub?q=source&limit=100&offset=20")
        await world.sign_in()
        await world.work()
        clock.passes(minutes=2)

        await world.browser.visit("/")

        assert "read 20 posts so far" in world.browser.text


async def test_a_word_that_was_a_slip_can_be_taken_back(world: World) -> None:
    await world.ready()
    world.site.then(LOST)
    await watched(world, DUNE)
    await world.browser.visit(f"/watches/{(await world.watches())[0][0].id}")
    await world.browser.press("It is there")
    assert "You said that it is on your site" in world.browser.text

    await world.browser.press("I was wrong")
    await world.work()

    ((_, post),) = await world.watches()
    assert post is not None
    assert (post.state, len(world.site.posts)) == ("published", 1)
    assert post.url == world.site.posts[0].url


async def test_an_empty_site_is_not_told_that_it_cannot_be_read(world: World) -> None:
    await world.sign_in()
    await world.work()

    await world.browser.visit("/settings")

    assert "it shows no posts yet" in world.browser.text
    assert "cannot be read" not in world.browser.text
    await world.connect()
    await watched(world, DUNE)
    world.clock.passes(minutes=3)
    await world.work()
    await world.browser.visit("/settings")
    assert "it lists its posts" in world.browser.text
