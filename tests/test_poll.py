"""Reading Trakt: what is asked, what is kept, and what happens on bad days."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update

from app.demo import trakt_door
from app.demo.catalogue import CATALOGUE, DUNE, LIES, SECRETS, SPECIAL
from app.demo.trakt_door import Dropped, Fault, Slow, Status, Truncated
from app.demo.trakt_full import OVERVIEW
from app.demo.trakt_history import BadDays
from app.errors import SourceBusy
from app.grants import Pair
from app.notices import Kind, shortened
from app.poll import is_final, moment
from app.sources.trakt_history import read_item
from app.store import connections, grants, notices, watches
from app.tables import AccountRow, ClaimRow, ConnectionRow, NoticeRow
from app.waits import USUAL, Waits
from app.watch import Stamps
from tests.polling import asked, change, poll, settled
from tests.trakt_contract import errors
from tests.world import Clock, World, running_world


async def disconnect(world: World) -> None:
    await world.browser.visit("/settings")
    await world.browser.press("Disconnect")


async def reconnect(world: World, **typed: str) -> None:
    await world.browser.visit("/")
    await world.browser.press("Connect Trakt again", **typed)
    await world.browser.press("Approve")


async def open_notices(world: World) -> list[NoticeRow]:
    async with world.bridge.database.reading() as session:
        return await notices.open_ones(session, 1)


async def test_an_idle_poll_is_one_request(world: World) -> None:
    await settled(world)

    assert await poll(world) == ["/sync/last_activities"]


async def test_a_changed_history_is_read_from_its_newest_page(world: World) -> None:
    await settled(world)
    world.trakt.watch(DUNE)

    # And the map of what has changed.
    assert await poll(world) == [
        "/sync/last_activities",
        "/sync/history",
        "/sync/watched/movies",
    ]
    assert await world.states() == {"archived": 1, "published": 1}


async def test_every_request_has_the_headers_that_trakt_requires(world: World) -> None:
    await settled(world)

    for seen in world.trakt.requests:
        if seen.host == "api" or seen.path == "/oauth/token":
            assert seen.headers["user-agent"].startswith("OwnYourTrakt/")
            assert seen.headers["content-type"] == "application/json"
        if seen.host == "api":
            assert seen.headers["trakt-api-key"] == "client"
            assert seen.headers["trakt-api-version"] == "2"
            assert seen.headers["authorization"].startswith("Bearer ")


async def test_our_token_requests_follow_trakt_s_contract(world: World) -> None:
    await world.ready()
    world.clock.passes(days=6)
    await world.work()

    bodies = [json.loads(seen.body) for seen in world.trakt.requests if seen.path == "/oauth/token"]

    assert [body["grant_type"] for body in bodies] == ["authorization_code", "refresh_token"]
    for body in bodies:
        assert errors("oauth.token", None, body, part="body") == []


async def test_the_next_poll_comes_after_the_interval_and_a_little_jitter(world: World) -> None:
    await world.ready()

    wait = (await world.connection()).next_poll_at

    assert wait is not None
    assert timedelta(minutes=30) <= wait - world.clock() <= timedelta(minutes=33)


async def test_stamps_of_the_same_minute_are_not_believed(world: World) -> None:
    await world.ready()
    world.clock.passes(minutes=5)
    world.trakt.watch(DUNE)
    await world.check_now()

    # Another play of the very minute in which we looked: the stamp may not move again.
    world.trakt.history.bad_days = BadDays(coarse_stamps=True)
    world.trakt.watch(LIES)

    assert "/sync/history" in await poll(world)
    assert (await world.states())["published"] == 2


async def test_once_a_day_everything_is_compared_whatever_the_stamps_say(world: World) -> None:
    await settled(world)
    await change(world, checked_at=world.clock() - timedelta(hours=24))

    assert await poll(world) == [
        "/sync/last_activities",
        "/sync/history",
        "/sync/watched/movies",
        "/sync/watched/shows",
        "/users/me/stats",
    ]
    assert await poll(world) == ["/sync/last_activities"]


async def test_250_plays_in_one_interval_all_become_posts(world: World) -> None:
    await settled(world)
    start = world.clock()
    world.clock.passes(minutes=29)
    for number in range(260):
        world.trakt.watch(CATALOGUE[2 * (number % 9)], at=start + timedelta(minutes=number % 25))

    await poll(world)

    assert (await world.states())["published"] == 260
    assert len(world.site.posts) == 260


async def test_a_season_marked_at_once_is_as_many_posts_and_no_more(world: World) -> None:
    await settled(world)
    for _ in range(10):
        world.trakt.watch(LIES)

    for _ in range(3):
        await poll(world)

    assert len(world.site.posts) == 10
    assert len({post.properties["mp-slug"][0] for post in world.site.posts}) == 10


async def test_stale_counts_and_short_pages_hide_nothing(world: World) -> None:
    world.trakt.fill(600)
    world.trakt.history.bad_days = BadDays(uncounted=200, shuffled_ties=True, novelties=True)

    await world.ready()

    assert (await world.states())["archived"] == 600


async def test_a_watch_of_the_minute_of_connecting_is_posted(world: World) -> None:
    await world.ready()
    world.trakt.watch(DUNE)

    await poll(world)

    assert await world.states() == {"published": 1}


async def test_a_rewatch_is_another_post_and_says_so(world: World) -> None:
    world.trakt.watch(DUNE, at=world.clock() - timedelta(days=300))
    await world.ready()
    world.trakt.watch(DUNE)

    await poll(world)

    (post,) = world.site.posts
    assert "again on 20 November 2026" in post.properties["content"][0]


async def test_a_special_without_a_title_is_posted_with_what_is_known(world: World) -> None:
    await world.ready()
    world.trakt.watch(SPECIAL)

    await poll(world)

    assert world.site.posts[0].properties["watch-of"][0]["properties"]["season"] == ["0"]


async def test_an_unknown_date_is_kept_shown_and_posted_only_when_asked(world: World) -> None:
    world.trakt.watch(DUNE, at="unknown")
    await world.ready()
    assert await world.states() == {"undated": 1}

    await world.browser.visit("/watches/1")
    assert "does not know when you watched it" in world.browser.text
    await world.browser.press("Post it")
    await world.work()

    assert await world.states() == {"published": 1}
    assert "published" not in world.site.posts[0].properties


async def test_what_cannot_be_read_is_kept_word_for_word_and_shown(world: World) -> None:
    await world.ready()
    item = {"id": 99, "type": "podcast", "watched_at": "2026-11-20T12:01:00.000Z", "x": ["<b>"]}
    world.trakt.add_raw(item)
    world.trakt.watch(DUNE)

    await poll(world)

    assert await world.states() == {"unreadable": 1, "published": 1}
    number = next(row.id for row, _ in await world.watches() if row.standing == "unreadable")
    await world.browser.visit(f"/watches/{number}")
    assert "podcast" in world.browser.text
    await world.browser.press("again")
    assert "still cannot read it" in world.browser.text


async def test_an_item_that_a_newer_version_can_read_is_read_again(world: World) -> None:
    await world.ready()
    play = {
        "watched_at": "2026-11-20T12:01:00.000Z",
        "movie": {"title": "Dune", "ids": {"trakt": 1}},
    }
    world.trakt.add_raw({"id": 99, "type": "podcast", **play})
    await change(world, looked_at=None)
    await poll(world)
    (row, _), *_ = await world.watches()
    async with world.bridge.database.writing() as session:
        # What the next version would make of the same payload.
        session.add(row)
        item = read_item({"id": 99, "type": "movie", **play})
        assert await watches.read_again(session, row, item, world.clock())
    await world.work()

    assert await world.states() == {"published": 1}


async def test_genres_and_the_like_come_with_the_plays_and_their_long_texts_are_not_kept(
    world: World,
) -> None:
    await world.ready()
    world.trakt.watch(DUNE)
    await poll(world)
    (row, _), *_ = await world.watches()

    await world.browser.visit(f"/watches/{row.id}")

    watch = watches.watch_of(row)
    assert watch is not None
    assert watch.about is not None
    assert watch.about.genres == ("adventure", "science-fiction")
    assert "science-fiction" in world.browser.text
    assert OVERVIEW not in world.browser.text
    assert "word for word" not in world.browser.text


async def test_a_watch_dated_in_the_future_waits_and_hides_nothing(world: World) -> None:
    await settled(world)
    # Far enough that the week before it does not reach back to today.
    world.trakt.watch(DUNE, at=world.clock() + timedelta(days=30))
    await poll(world)
    assert await world.states() == {"archived": 1, "held": 1}

    world.trakt.watch(LIES)
    await poll(world)
    assert await world.states() == {"archived": 1, "held": 1, "published": 1}

    await poll(world, days=30)
    assert await world.states() == {"archived": 1, "published": 2}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Status(429, {"Retry-After": "600"}), "busy or out of order"),
        (trakt_door.CLOUDFLARE_429, "Cloudflare"),
        (trakt_door.CLOUDFLARE_403, "Cloudflare"),
        (trakt_door.CLOUDFLARE_504, "Cloudflare"),
        (trakt_door.HTML_200, "Cloudflare"),
        (trakt_door.EMPTY_500, "out of order (500)"),
        (Status(405), "answered 405"),
        (Status(200, {"Content-Type": "application/json"}, b"[]"), "names no watched_at"),
        (Truncated(), "not JSON"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Fault) else None,
)
async def test_a_bad_day_at_trakt_is_told_and_passes_by_itself(
    world: World, fault: Fault, said: str
) -> None:
    await settled(world)
    world.trakt.then(fault)
    world.trakt.watch(DUNE)
    await poll(world)
    assert said in ((await world.connection()).trouble or "")
    assert (await world.connection()).locked is None

    await poll(world, hours=2)

    assert (await world.connection()).trouble is None
    assert (await world.states())["published"] == 1


async def test_retry_after_is_kept_to(world: World) -> None:
    await settled(world)
    world.trakt.then(Status(429, {"Retry-After": "7200"}))
    await poll(world)

    assert await poll(world, minutes=119) == []
    assert await poll(world, minutes=15) == ["/sync/last_activities"]


async def test_a_disabled_app_is_explained_and_asked_for_rarely(world: World) -> None:
    await settled(world)
    world.trakt.disable_app()
    await poll(world)

    await world.browser.visit("/")
    assert "Trakt VIP" in world.browser.text
    assert await poll(world, minutes=59) == []
    assert (await world.connection()).locked is None


async def test_a_refused_app_is_told_once_and_until_trakt_takes_it_again(world: World) -> None:
    await settled(world)
    world.trakt.disable_app()
    await poll(world)
    (told,) = await open_notices(world)
    await poll(world, hours=2)

    assert [one.opened_at for one in await open_notices(world)] == [told.opened_at]
    assert (told.kind, told.subject) == (Kind.CLOSED, "")
    assert shortened(told.said) == told.said

    world.trakt.app.state = "active"
    await poll(world, hours=2)
    assert await open_notices(world) == []


async def test_an_app_that_is_gone_when_a_key_is_renewed_is_told_of_too(world: World) -> None:
    await settled(world)
    world.trakt.delete_app()
    await poll(world, days=100)

    assert [one.kind for one in await open_notices(world)] == [Kind.CLOSED]
    assert await poll(world, minutes=59) == []


@pytest.mark.parametrize("owns", [True, False], ids=["owner", "guest"])
async def test_who_runs_the_bridge_is_led_to_the_refused_app_and_a_guest_to_them(
    world: World, *, owns: bool
) -> None:
    await settled(world)
    if not owns:
        async with world.bridge.database.writing() as session:
            await session.execute(update(ClaimRow).values(me="https://the-owner.example/"))
    world.trakt.disable_app()
    await poll(world)

    await world.browser.visit("/")

    said = world.browser.text
    links = world.browser.document.select("a[href='https://trakt.tv/oauth/applications']")
    assert len(links) == owns
    assert ("One thing needs you" in said) is owns
    assert ("Whoever runs the bridge must see to it" in said) is not owns
    assert "You need not do anything" not in said


async def test_a_person_who_revoked_us_is_asked_to_connect_again_and_misses_nothing(
    world: World,
) -> None:
    await settled(world)
    world.trakt.revoke_everything()
    world.trakt.watch(DUNE)
    await poll(world)
    assert (await world.connection()).locked is not None
    assert await poll(world, days=1) == []

    await reconnect(world)
    await world.work()

    assert (await world.connection()).locked is None
    assert (await world.states())["published"] == 1


async def test_a_locked_trakt_account_stops_the_polls_and_says_so(world: World) -> None:
    await settled(world)
    world.trakt.then(trakt_door.ACCOUNT_LOCKED)

    await poll(world)

    assert "locked or deactivated" in ((await world.connection()).locked or "")


async def test_a_refused_token_is_renewed_once_and_the_poll_goes_on(world: World) -> None:
    await settled(world)
    world.trakt.then(Status(401))
    world.trakt.watch(DUNE)

    asked_for = await poll(world)

    assert asked_for[:3] == ["/sync/last_activities", "/sync/last_activities", "/sync/history"]
    assert (await world.states())["published"] == 1


async def test_the_token_is_renewed_when_a_quarter_of_its_life_is_left(world: World) -> None:
    world.trakt.tokens.lifetime = timedelta(hours=8)
    await world.ready()
    tokens = (await world.connection()).sealed_tokens

    await poll(world, hours=5)
    assert (await world.connection()).sealed_tokens == tokens
    await poll(world, hours=1, minutes=1)

    assert (await world.connection()).sealed_tokens != tokens
    assert (await world.connection()).locked is None


async def test_a_refresh_whose_answer_was_lost_before_trakt_acted_is_mended(world: World) -> None:
    await settled(world)
    world.clock.passes(days=6)
    world.trakt.then(Dropped(), at="/oauth/token")
    await world.work()
    # The old token still serves meanwhile.
    assert (await world.connection()).refreshing_until is not None
    assert (await world.connection()).trouble is None

    await poll(world)

    assert (await world.connection()).refreshing_until is None
    assert (await world.connection()).locked is None


async def test_a_pair_lost_on_its_way_asks_the_person_to_connect_again(world: World) -> None:
    await settled(world)
    world.clock.passes(days=6)
    world.trakt.then(Dropped(committed=True), at="/oauth/token")
    await world.work()

    await poll(world)

    assert (await world.connection()).locked is not None
    refreshes = [
        json.loads(seen.body).get("refresh_token")
        for seen in world.trakt.requests
        if seen.path == "/oauth/token"
    ]
    assert refreshes[-1] == refreshes[-2]
    assert await poll(world, days=1) == []


async def test_of_many_at_once_one_refreshes(world: World) -> None:
    await settled(world)
    world.clock.passes(days=6)
    poller = world.scheduler.poller

    async def token() -> str:
        return await poller.refresher.access_token(ConnectionRow, 1, poller.source)

    tokens = await asyncio.gather(*(token() for _ in range(8)))

    refreshes = [seen for seen in world.trakt.requests if b"refresh_token" in seen.body]
    assert len([seen for seen in refreshes if b'"refresh_token"' in seen.body]) >= 1
    assert len(refreshes) == 1
    assert len(set(tokens)) <= 2


async def test_a_refresh_under_way_is_not_cancelled_with_its_caller(world: World) -> None:
    await settled(world)
    world.clock.passes(days=6)
    slow = Slow()
    world.trakt.then(slow, at="/oauth/token")
    poller = world.scheduler.poller
    caller = asyncio.create_task(poller.refresher.access_token(ConnectionRow, 1, poller.source))
    await slow.arrived.wait()
    before = (await world.connection()).sealed_tokens

    caller.cancel()
    slow.release.set()
    await world.scheduler.finish()

    assert (await world.connection()).sealed_tokens != before
    assert (await world.connection()).refreshing_until is None


async def test_two_turns_never_work_on_one_connection(world: World) -> None:
    await settled(world)
    world.clock.passes(minutes=34)
    now = world.clock()

    async with world.bridge.database.writing() as session:
        first = await connections.claim_polls(session, now, now + USUAL.poll_lease, 10)
    async with world.bridge.database.writing() as session:
        second = await connections.claim_polls(session, now, now + USUAL.poll_lease, 10)

    assert (len(first), len(second)) == (1, 0)


async def test_a_turn_whose_lease_has_run_out_saves_nothing(world: World) -> None:
    await settled(world)
    world.clock.passes(minutes=34)
    now = world.clock()
    async with world.bridge.database.writing() as session:
        (stale,) = await connections.claim_polls(session, now, now + USUAL.poll_lease, 10)
    world.clock.passes(minutes=16)
    await world.work()
    polled_at = (await world.connection()).polled_at
    world.trakt.watch(DUNE)
    world.clock.passes(minutes=1)

    await world.scheduler.poller.poll(stale)

    assert (await world.connection()).polled_at == polled_at
    assert await world.states() == {"archived": 1}


async def test_many_connections_are_polled_at_once_and_not_one_after_another(
    world: World,
) -> None:
    await settled(world)
    slow = [Slow() for _ in range(20)]
    async with world.bridge.database.writing() as session:
        for number in range(len(slow)):
            account = AccountRow(me=f"https://{number}.example/", created_at=world.clock())
            session.add(account)
            await session.flush()
            row = ConnectionRow(
                account_id=account.id or 0,
                source="trakt",
                source_user=str(number),
                source_name="someone",
                start_at=world.clock(),
                next_poll_at=world.clock(),
            )
            token = world.trakt.tokens.issue().access
            grants.put(row, Pair(token, None, world.clock(), None), world.bridge.vault)
            session.add(row)
    world.trakt.then(*slow, at="/sync/last_activities")

    await world.scheduler.start_due()

    # Nobody has been answered yet, and everybody has asked.
    await asyncio.gather(*(one.arrived.wait() for one in slow))
    for one in slow:
        one.release.set()
    await world.work()


async def test_disconnecting_during_a_poll_keeps_nothing_of_it(world: World) -> None:
    await settled(world)
    slow = Slow()
    world.trakt.then(slow)
    world.trakt.watch(DUNE)
    world.clock.passes(minutes=34)
    await world.scheduler.start_due()
    await slow.arrived.wait()

    await disconnect(world)
    slow.release.set()
    await world.work()

    assert await world.states() == {"archived": 1}
    assert (await world.connection()).sealed_tokens is None


async def test_the_archive_reads_each_page_once(world: World) -> None:
    world.trakt.fill(1000)

    await world.ready()

    archive = [seen.query["page"] for seen in world.trakt.requests if "end_at" in seen.query]
    # The last page is full, so one more is asked for: counts alone are not believed.
    assert archive == ["1", "2", "3", "4", "5"]
    assert (await world.states())["archived"] == 1000


async def test_the_archive_goes_on_where_it_stopped(world: World) -> None:
    world.trakt.fill(600)
    await world.sign_in()
    await world.connect()
    # The poll reads it too, and nobody knows which of the two comes first.
    world.trakt.then(Status(504), Status(504), at="/sync/history")
    await world.work()
    await world.browser.visit("/")
    assert world.browser.document.find("progress") is not None

    await poll(world, minutes=5)

    assert (await world.states())["archived"] == 600
    assert (await world.connection()).archive_page is None


async def test_connecting_the_same_user_again_resumes(world: World) -> None:
    await settled(world)
    start = (await world.connection()).start_at
    await disconnect(world)
    world.clock.passes(days=3)
    world.trakt.watch(DUNE, at=world.clock() - timedelta(days=1))

    await reconnect(world)
    await world.work()

    assert (await world.connection()).start_at == start
    assert await world.states() == {"archived": 1, "published": 1}


async def test_starting_afresh_archives_what_was_watched_meanwhile(world: World) -> None:
    await settled(world)
    await disconnect(world)
    world.clock.passes(days=3)
    world.trakt.watch(DUNE, at=world.clock() - timedelta(days=1))

    await reconnect(world, afresh="yes")
    await world.work()

    assert await world.states() == {"archived": 2}


async def test_starting_afresh_posts_nothing_of_the_minute_before_it(world: World) -> None:
    await settled(world)
    await disconnect(world)
    world.trakt.watch(DUNE)

    await reconnect(world, afresh="yes")
    await world.work()

    assert await world.states() == {"archived": 2}


async def test_another_trakt_user_begins_anew(tmp_path: Path, clock: Clock, world_url: str) -> None:
    async with running_world(tmp_path, clock, database_url=world_url) as world:
        await settled(world)
        person = world.trakt.person
        world.trakt.person = type(person)(
            username="bob", timezone="UTC", uuid="00000000-0000-4000-8000-000000000002"
        )
        await disconnect(world)
        world.clock.passes(days=3)
        world.trakt.watch(SECRETS, at=world.clock() - timedelta(days=1))
        await reconnect(world)
        await world.work()

        newest = await world.connection()

        assert newest.source_name == "bob"
        assert "published" not in await world.states()


async def test_check_now_does_not_outweigh_a_wait_that_trakt_asked_for(world: World) -> None:
    await settled(world)
    world.trakt.then(Status(429, {"Retry-After": "3600"}))
    await poll(world)
    so_far = len(asked(world))

    await world.check_now()

    assert "Trakt asked the bridge to wait" in world.browser.text
    assert len(asked(world)) == so_far


async def test_check_now_during_a_poll_is_followed_by_another_poll(world: World) -> None:
    await settled(world)
    slow = Slow()
    world.trakt.then(slow)
    world.clock.passes(minutes=34)
    await world.scheduler.start_due()
    await slow.arrived.wait()
    world.clock.passes(seconds=1)
    await world.browser.visit("/")
    await world.browser.press("Check now")
    so_far = len(asked(world))

    slow.release.set()
    await world.work()

    assert asked(world)[so_far:].count("/sync/last_activities") == 2


async def test_a_pair_that_nobody_wants_any_more_is_not_saved(world: World) -> None:
    await settled(world)
    old, vault, until = await world.connection(), world.bridge.vault, world.clock()
    pair = Pair("new access", "new refresh", world.clock(), None)
    late = Pair("late access", "late refresh", world.clock(), None)
    await change(world, refreshing_until=until)

    async with world.bridge.database.writing() as session:
        row = await session.get(ConnectionRow, 1)
        assert row is not None
        # The person connects again while the old key is being renewed.
        grants.put(row, pair, vault)
    async with world.bridge.database.writing() as session:
        assert not await grants.save(session, ConnectionRow, 1, until, late, vault)
        await grants.lose(session, ConnectionRow, 1, until, "the old key was refused")

    row = await world.connection()
    assert row.sealed_tokens != old.sealed_tokens
    assert grants.pair_of(row, vault) == pair
    assert row.locked is None


async def test_when_cloudflare_blocks_us_nobody_asks(world: World) -> None:
    await settled(world)
    world.trakt.then(trakt_door.CLOUDFLARE_403)
    await poll(world)
    so_far = len(asked(world))

    with pytest.raises(SourceBusy):
        await world.bridge.trakt.stamps("the token of somebody else")

    assert len(asked(world)) == so_far


async def test_a_reconnect_during_a_refresh_keeps_the_new_grant(world: World) -> None:
    await settled(world)
    world.clock.passes(days=6)
    slow = Slow()
    world.trakt.then(slow, at="/oauth/token")
    poller = world.scheduler.poller
    refresh = asyncio.create_task(poller.refresher.access_token(ConnectionRow, 1, poller.source))
    await slow.arrived.wait()
    await disconnect(world)
    await reconnect(world)
    granted = (await world.connection()).sealed_tokens

    slow.release.set()
    await asyncio.wait([refresh])

    assert (await world.connection()).sealed_tokens == granted
    assert (await world.connection()).locked is None
    refresh.exception()


async def test_a_bug_in_a_turn_is_told_and_tried_again(world: World) -> None:
    await settled(world)

    async def broken() -> None:
        raise ZeroDivisionError

    world.clock.passes(minutes=34)
    now = world.clock()
    async with world.bridge.database.writing() as session:
        (turn,) = await connections.claim_polls(session, now, now + USUAL.poll_lease, 1)
    await world.scheduler.guarded(
        "poll", broken(), partial(world.scheduler.poller.note_trouble, turn)
    )

    row = await world.connection()
    assert "bridge itself is at fault" in (row.trouble or "")
    assert row.polling_until is None
    assert row.locked is None


async def test_starting_afresh_before_anything_was_read_leaves_no_hole(world: World) -> None:
    await world.sign_in()
    await world.connect()
    await disconnect(world)
    start = world.clock()
    world.clock.passes(days=60)
    world.trakt.watch(DUNE, at=start + timedelta(days=20))

    # So long a silence has ended the session of the browser.
    await world.sign_in()
    await reconnect(world, afresh="yes")
    await world.work()

    assert await world.states() == {"archived": 1}


async def test_stopping_waits_for_what_is_in_flight(world: World) -> None:
    await settled(world)
    slow = Slow()
    world.trakt.then(slow)
    world.clock.passes(minutes=34)
    clockwork = asyncio.create_task(world.scheduler.run())
    await slow.arrived.wait()

    world.scheduler.stop()
    await clockwork
    slow.release.set()
    await world.scheduler.finish()

    assert (await world.connection()).polling_until is None
    assert (await world.connection()).trouble is None


async def test_a_connection_that_trakt_closed_costs_one_more_request_and_nothing_else(
    world: World,
) -> None:
    await settled(world)
    world.trakt.then(Dropped())
    world.trakt.watch(DUNE)

    await poll(world)

    assert (await world.connection()).failures == 0
    assert len(world.site.posts) == 1


async def test_a_connection_that_breaks_twice_is_told_and_passes_by_itself(world: World) -> None:
    await settled(world)
    world.trakt.then(Dropped(), Dropped())
    world.trakt.watch(DUNE)

    await poll(world)
    assert "broke off" in ((await world.connection()).trouble or "")
    await poll(world, hours=2)

    assert (await world.connection()).trouble is None
    assert len(world.site.posts) == 1


async def test_what_is_cut_short_at_the_end_goes_on_at_once_in_the_next_process(
    world: World,
) -> None:
    await settled(world)
    slow = Slow()
    world.trakt.then(slow)
    world.clock.passes(minutes=34)
    world.scheduler.waits = Waits(last_words=timedelta())
    await world.scheduler.start_due()
    await slow.arrived.wait()

    await world.scheduler.finish()
    slow.release.set()

    found = await world.connection()
    assert found.polling_until is None
    assert found.next_poll_at is not None
    assert found.next_poll_at <= world.clock()
    await world.work()
    assert (await world.connection()).polled_at == world.clock()


async def test_an_archive_page_that_is_cut_short_is_read_at_once_by_the_next_process(
    world: World,
) -> None:
    await world.sign_in()
    await world.connect()
    slow = Slow()
    world.trakt.then(slow, at="/sync/history")
    world.scheduler.waits = Waits(last_words=timedelta())
    await world.scheduler.start_due()
    await slow.arrived.wait()

    await world.scheduler.finish()
    slow.release.set()

    assert (await world.connection()).archive_due_at == world.clock()
    await world.work()
    assert (await world.connection()).archive_page is None


async def test_numbers_that_json_does_not_have_hurt_nobody(world: World) -> None:
    await settled(world)
    page = b'[{"id": 7, "type": "movie", "watched_at": NaN, "x": Infinity}]'
    world.trakt.then(Status(200, {"Content-Type": "application/json"}, page), at="/sync/history")
    await change(world, looked_at=None)
    await poll(world)
    world.trakt.watch(DUNE)

    await poll(world)

    assert (await world.states())["published"] == 1
    assert (await world.connection()).trouble is None


@pytest.mark.parametrize("year", ["0001", "9999"])
async def test_a_date_beyond_all_calendars_is_kept_and_stops_nobody(
    world: World, year: str
) -> None:
    await world.ready()
    item = {
        "id": 99,
        "type": "movie",
        "watched_at": f"{year}-01-01T00:00:00.000Z",
        "movie": {"title": "Dune\ud800", "ids": {"trakt": 1}},
    }
    world.trakt.then(
        Status(200, {"Content-Type": "application/json"}, json.dumps([item]).encode()),
        at="/sync/history",
    )
    await change(world, looked_at=None)
    await poll(world)
    world.trakt.watch(DUNE)
    await poll(world)

    assert await world.states() == {"unreadable": 1, "published": 1}
    for path in ("/", "/watches", "/watches/1", "/watches/2"):
        assert (await world.browser.visit(path)).status_code == 200


async def test_disconnecting_revokes_the_token(world: World) -> None:
    await settled(world)
    await world.browser.visit("/settings")

    await world.browser.press("Disconnect")

    assert world.trakt.requests[-1].path == "/oauth/revoke"
    assert (await world.connection()).sealed_tokens is None


async def test_the_time_zone_of_trakt_is_taken_over(world: World) -> None:
    await world.ready()
    world.trakt.watch(DUNE)

    await poll(world)

    assert world.site.posts[0].properties["published"] == ["2026-11-20T13:00:00+01:00"]


@pytest.mark.parametrize(
    ("movies", "now", "final"),
    [
        ("2026-11-20T12:00:00.000Z", datetime(2026, 11, 20, 12, 2, tzinfo=UTC), True),
        ("2026-11-20T12:00:00.000Z", datetime(2026, 11, 20, 12, 1, 59, tzinfo=UTC), False),
        ("2026-11-20T12:00:00.000Z", None, False),
        ("soon", datetime(2026, 11, 20, 12, 2, tzinfo=UTC), False),
    ],
    ids=["two minutes old", "younger", "no clock", "nonsense"],
)
def test_a_stamp_is_final_when_it_is_two_minutes_old_by_trakt_s_clock(
    movies: str, now: datetime | None, *, final: bool
) -> None:
    assert is_final(Stamps(movies, "2026-11-01T12:00:00.000Z", now)) is final


def test_a_stamp_without_a_zone_is_none() -> None:
    assert moment("2026-11-20T12:00:00") is None
