"""Putting posts on the site, on good days and bad; the outbox over real sockets."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from app.demo.catalogue import DUNE, LIES, SECRETS, Work
from app.demo.site import Answer, Dropped, Habits, Held
from app.demo.site_habits import OneOff
from app.hentry import properties_of
from app.publish import SHOWN, Sending, is_about, redacted, telling
from app.store import watches
from app.store.posts import Due
from app.style import Shape, Style, Templates, to_json
from app.tables import AccountRow, PostRow, SiteRow, WatchRow
from app.vault import Vault
from app.waits import USUAL
from tests.conftest import NOON
from tests.world import SECRET_KEY, Clock, World, running_world


async def watched(world: World, **later: float) -> None:
    """Watch a film and let the bridge notice."""
    world.clock.passes(**(later or {"minutes": 5}))
    world.trakt.watch(DUNE)
    await world.check_now()


async def noticed(world: World, *works: Work) -> None:
    """Watch something and let the bridge notice, but not yet send it."""
    world.clock.passes(minutes=5)
    for work in works:
        world.trakt.watch(work)
    await world.browser.visit("/")
    await world.browser.press("Check now")
    await world.scheduler.start_due()
    await asyncio.wait(world.scheduler.polls)


async def being_sent(world: World, *works: Work) -> Held:
    """Watch something and let the site hold its answer to the first post."""
    held = Held(asyncio.Event())
    world.site.then(held)
    await noticed(world, *works)
    await world.scheduler.start_due()
    await held.reached.wait()
    return held


async def state(world: World) -> str:
    ((_, post),) = await world.watches()
    assert post is not None
    return post.state


async def site(world: World) -> SiteRow:
    async with world.bridge.database.reading() as session:
        found = await session.get(SiteRow, 1)
    assert found is not None
    return found


def creates(world: World) -> list[bytes]:
    """The bodies of all create requests that reached the site."""
    return [
        seen.body
        for seen in world.site.requests
        if (seen.method, seen.path) == ("POST", "/micropub")
    ]


async def test_the_request_is_what_micropub_wants(world: World) -> None:
    await world.ready()

    await watched(world)

    (seen,) = [seen for seen in world.site.requests if seen.body and seen.path == "/micropub"]
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["accept"] == "application/json"
    assert seen.headers["authorization"].startswith("Bearer ")
    assert "access_token" not in json.loads(seen.body)
    assert "cookie" not in seen.headers


@pytest.mark.parametrize(
    ("answer", "becomes", "posts"),
    [
        (Answer(201, {"Location": "/posts/x"}, creates=True), "published", 1),
        (Answer(202, {"Location": "/posts/x"}, creates=True), "published", 1),
        (Answer(204, creates=True), "published", 1),
        (Answer(201, {}, "{}", creates=True), "published", 1),
        (Answer(400, {}, '{"error": "invalid_request"}'), "refused", 0),
        (Answer(422), "refused", 0),
        (Answer(200, {"Content-Type": "text/html"}, "<p>Log in", creates=True), "unsure", 1),
        (Answer(500), "unsure", 0),
        (Answer(500, creates=True), "unsure", 1),
        (Answer(503), "unsure", 0),
        (Answer(408), "unsure", 0),
        (Dropped(), "unsure", 0),
        (Dropped(creates=True), "unsure", 1),
        (Answer(429), "queued", 0),
        (Answer(503, {"Retry-After": "60"}), "queued", 0),
    ],
    ids=lambda value: str(value) if isinstance(value, OneOff) else None,
)
async def test_each_answer_leads_where_the_table_says(
    world: World, answer: OneOff, becomes: str, posts: int
) -> None:
    await world.ready()
    world.site.then(answer)

    await watched(world)

    assert await state(world) == becomes
    assert len(world.site.posts) == posts


async def test_every_attempt_sends_the_same_bytes(world: World) -> None:
    await world.ready()
    world.site.then(Answer(429))
    await watched(world)
    await world.browser.visit("/settings")
    await world.browser.press("Save", timezone="Asia/Tokyo")

    world.clock.passes(minutes=10)
    await world.work()

    first, second = creates(world)
    assert first == second
    assert await state(world) == "published"


async def test_a_change_of_style_touches_only_posts_that_were_not_sent_yet(world: World) -> None:
    await world.ready()
    world.site.then(Answer(429))
    await watched(world)
    async with world.bridge.database.writing() as session:
        account = await session.get(AccountRow, 1)
        assert account is not None
        account.style = to_json(Style(shape=Shape.FORM, film=Templates(content="Seen {{ title }}")))

    world.clock.passes(minutes=10)
    await world.work()
    await watched(world)

    first, second, later = creates(world)
    assert first == second
    assert properties_of(later.decode())["content"] == ["Seen Dune"]
    shown = [post.properties["content"] for post in world.site.posts]
    assert shown == [properties_of(first.decode())["content"], ["Seen Dune"]]
    assert await world.states() == {"published": 2}


async def test_a_busy_site_is_left_alone_as_long_as_it_asked(world: World) -> None:
    await world.ready()
    world.site.then(Answer(503, {"Retry-After": "3600"}))
    await watched(world)
    world.trakt.watch(LIES)
    world.clock.passes(minutes=59)
    await world.check_now()
    assert len(creates(world)) == 1

    # A little later than asked, as others may have been asked the same.
    world.clock.passes(minutes=8)
    await world.work()

    assert await world.states() == {"published": 2}


async def test_a_site_that_is_down_gets_its_posts_later_and_once(world: World) -> None:
    await world.ready()
    async with world.bridge.database.writing() as session:
        row = await session.get(SiteRow, 1)
        assert row is not None
        there, row.micropub = row.micropub, "http://127.0.0.1:9/micropub"
    await watched(world)
    assert await state(world) == "queued"
    assert "could not be reached" in ((await site(world)).trouble or "")

    async with world.bridge.database.writing() as session:
        row = await session.get(SiteRow, 1)
        assert row is not None
        row.micropub = there
    world.clock.passes(minutes=10)
    await world.work()

    assert await state(world) == "published"
    assert (await site(world)).trouble is None
    assert len(world.site.posts) == 1


@pytest.mark.parametrize(
    "answer",
    [Answer(401, {}, '{"error": "invalid_token"}'), Answer(403, {}, '{"error": "forbidden"}')],
    ids=["401", "403"],
)
async def test_a_dead_key_stops_the_site_and_asks_the_person(world: World, answer: Answer) -> None:
    await world.ready()
    world.site.then(answer)
    await watched(world)
    world.trakt.watch(LIES)
    await world.check_now()

    assert len(creates(world)) == 1
    assert "sign in again" in ((await site(world)).locked or "")
    assert await world.states() == {"queued": 2}


async def test_a_missing_scope_is_named(world: World) -> None:
    await world.ready()
    world.site.then(Answer(403, {}, '{"error": "insufficient_scope", "scope": "create"}'))

    await watched(world)

    assert "insufficient_scope" in ((await site(world)).locked or "")


async def test_a_token_that_can_be_renewed_is_and_the_post_goes_out(
    tmp_path: Path, clock: Clock, world_url: str
) -> None:
    habits = Habits(with_refresh_token=True, expires_in=timedelta(days=14))
    async with running_world(tmp_path, clock, habits, database_url=world_url) as world:
        await world.ready()
        world.site.then(Answer(401, {}, '{"error": "invalid_token"}'))

        await watched(world)

        assert await state(world) == "published"
        assert [seen.path for seen in world.site.requests].count("/token") == 2


async def test_a_site_s_token_is_renewed_before_it_runs_out(
    tmp_path: Path, clock: Clock, world_url: str
) -> None:
    habits = Habits(with_refresh_token=True, expires_in=timedelta(hours=1))
    async with running_world(tmp_path, clock, habits, database_url=world_url) as world:
        await world.ready()

        await watched(world, hours=2)
        await watched_again(world)

        assert await world.states() == {"published": 2}


async def watched_again(world: World) -> None:
    world.clock.passes(hours=2)
    world.trakt.watch(SECRETS)
    await world.check_now()


async def test_a_lying_expiry_without_a_refresh_token_keeps_nobody_from_posting(
    tmp_path: Path, clock: Clock, world_url: str
) -> None:
    async with running_world(
        tmp_path, clock, Habits(expires_in=timedelta(days=90)), database_url=world_url
    ) as world:
        await world.ready()
        async with world.bridge.database.writing() as session:
            row = await session.get(SiteRow, 1)
            assert row is not None
            row.expires_at = world.clock()

        await watched(world)

        assert await state(world) == "published"


async def test_an_endpoint_that_moved_is_found_and_the_post_goes_out(world: World) -> None:
    await world.ready()
    async with world.bridge.database.writing() as session:
        row = await session.get(SiteRow, 1)
        assert row is not None
        row.micropub = f"{world.me}where-it-was"

    await watched(world)

    assert await state(world) == "published"
    assert (await site(world)).micropub == f"{world.me}micropub"


@pytest.mark.parametrize(
    "answer",
    [Answer(404), Answer(301, {"Location": "/elsewhere"})],
    ids=["gone", "redirected"],
)
async def test_an_endpoint_that_is_still_there_and_says_no_is_told_to_the_person(
    world: World, answer: Answer
) -> None:
    await world.ready()
    world.site.then(answer)

    await watched(world)

    assert await state(world) == "refused"
    assert len(creates(world)) == 1


async def test_one_bad_item_does_not_block_the_rest(world: World) -> None:
    await world.ready()
    world.site.then(Answer(400, {}, '{"error": "invalid_request"}'))
    world.clock.passes(minutes=5)
    for work in (DUNE, LIES, SECRETS):
        world.trakt.watch(work)

    await world.check_now()

    assert await world.states() == {"refused": 1, "published": 2}


@pytest.mark.parametrize("damage", [None, {"kind": "movie"}], ids=["unread", "damaged"])
async def test_a_watch_that_cannot_be_told_is_refused_and_the_next_one_goes_on(
    world: World, damage: dict[str, str] | None
) -> None:
    await world.ready()
    await noticed(world, DUNE, LIES)
    async with world.bridge.database.writing() as session:
        row = await session.get(WatchRow, 1)
        assert row is not None
        row.work = damage

    await world.work()

    assert await world.states() == {"refused": 1, "published": 1}
    await world.browser.visit("/watches/1")
    assert "cannot be told" in world.browser.text


async def test_one_site_is_sent_to_one_post_at_a_time(world: World) -> None:
    await world.ready()
    held = await being_sent(world, DUNE, LIES)

    assert await world.states() == {"sending": 1, "queued": 1}
    held.until.set()
    await world.work()
    assert await world.states() == {"published": 2}


async def test_pages_answer_while_a_site_is_slow(world: World) -> None:
    await world.ready()
    held = await being_sent(world, DUNE)

    for path in ("/", "/watches", "/settings", "/watches/1"):
        assert (await world.browser.visit(path)).status_code == 200
    assert await state(world) == "sending"

    held.until.set()
    await world.work()


async def test_a_worker_that_died_while_sending_leaves_the_post_unsure(world: World) -> None:
    await world.ready()
    await noticed(world, DUNE)
    assert len(await world.scheduler.publisher.claim()) == 1

    world.clock.passes(seconds=USUAL.send_deadline.total_seconds())
    assert await world.scheduler.publisher.claim() == []
    assert await state(world) == "sending"
    world.clock.passes(seconds=(USUAL.sending_lease - USUAL.send_deadline).total_seconds())
    await world.scheduler.publisher.claim()

    assert await state(world) == "unsure"


async def test_an_answer_that_comes_after_the_lease_is_believed_all_the_same(
    world: World,
) -> None:
    late = await given_up(world)

    await world.scheduler.publisher.deliver(late)

    assert await state(world) == "published"


async def test_an_answer_to_an_earlier_attempt_changes_nothing(world: World) -> None:
    late = await given_up(world)
    await world.browser.visit("/watches/1")
    await world.browser.press("again")
    world.site.then(Answer(400))
    await world.work()
    assert await state(world) == "refused"

    await world.scheduler.publisher.deliver(late)

    assert await state(world) == "refused"


async def given_up(world: World) -> Sending:
    """An attempt that took so long that its post counts as unsure."""
    await world.ready()
    await noticed(world, DUNE)
    (attempt,) = await world.scheduler.publisher.claim()
    assert isinstance(attempt, Sending)
    world.clock.passes(seconds=USUAL.sending_lease.total_seconds())
    await world.scheduler.publisher.claim()
    assert await state(world) == "unsure"
    return attempt


async def test_a_refusal_of_an_old_token_does_not_lock_a_new_one(world: World) -> None:
    await world.ready()
    held = await being_sent(world, DUNE)
    before = await site(world)

    await world.sign_in_again()
    assert not is_about(await site(world), before, "the old token", world.bridge.vault)
    assert not is_about(await site(world), before, None, world.bridge.vault)
    held.until.set()
    await world.work()
    assert await state(world) == "published"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(201, {"Location": "/x", "Content-Type": "text/html; charset=undefined"}, "x"),
        Answer(201, {"Location": "/x", "Date": "Fri, 31 Dec 9999 23:59:59 -0100"}),
        Answer(201, {"Location": "/x", "Content-Type": "text/html; charset=utf-16"}, "\0x"),
    ],
    ids=["charset", "date", "zero"],
)
async def test_a_strange_answer_never_hides_that_the_post_is_out(
    world: World, answer: Answer
) -> None:
    await world.ready()
    world.site.then(replace(answer, creates=True))

    await watched(world)

    assert await state(world) == "published"


@pytest.mark.parametrize("body", ['{"error": "\\ud800"}', '{"error": "a\\u0000b"}'])
async def test_a_strange_error_is_shown_without_harm(world: World, body: str) -> None:
    await world.ready()
    world.site.then(Answer(400, {"Content-Type": "application/json"}, body))

    await watched(world)

    assert await state(world) == "refused"
    assert (await world.browser.visit("/watches/1")).status_code == 200


async def test_a_token_is_taken_out_however_it_is_written() -> None:
    shown = redacted("a/b a%2Fb a\\/b", ["a/b"])

    assert shown == "[our key] [our key] [our key]"


@pytest.mark.parametrize(
    ("answer", "button", "becomes"),
    [
        (Answer(400), "again", "published"),
        (Answer(400), "Leave", "skipped"),
        (Answer(500), "again", "published"),
        (Answer(500, creates=True), "Leave", "skipped"),
        (Answer(500, creates=True), "It is there", "published"),
    ],
    ids=["refused: again", "refused: leave", "unsure: again", "unsure: leave", "unsure: there"],
)
async def test_a_person_decides_about_a_post_that_failed(
    world: World, answer: Answer, button: str, becomes: str
) -> None:
    await world.ready()
    world.site.then(answer)
    await watched(world)
    ((row, _),) = await world.watches()

    await world.browser.visit(f"/watches/{row.id}")
    await world.browser.press(button)
    await world.work()

    assert await state(world) == becomes
    assert "You " in world.browser.text


async def test_a_decision_that_comes_too_late_changes_nothing(world: World) -> None:
    await world.ready()
    world.site.then(Answer(400))
    await watched(world)
    await world.browser.visit("/watches/1")
    stale = await world.browser.client.get(str(world.browser.page.url))
    await world.browser.press("again")
    await world.work()
    world.browser.page = stale

    await world.browser.press("Leave")

    assert world.browser.page.status_code == 409
    assert await state(world) == "published"


async def test_the_page_of_a_watch_shows_request_and_answer_and_no_token(world: World) -> None:
    await world.ready()
    vault = Vault([SECRET_KEY])
    tokens = vault.open((await site(world)).sealed_tokens)
    assert tokens is not None
    token = tokens["access"] or ""
    echo = f"<script>alert('{token}')</script>" + "x" * 10_000
    cookie = {"Content-Type": "text/plain", "Retry-After": "5", "Set-Cookie": f"t={token}"}
    world.site.then(Answer(400, cookie, echo))

    await watched(world)

    async with world.bridge.database.reading() as session:
        events = await watches.events(session, 1)
    shown = events[-1].exchange
    assert shown is not None
    assert (shown["method"], shown["status"]) == ("POST", 400)
    assert shown["url"].endswith("/micropub")
    assert set(shown["headers"]) == {"Content-Type", "Retry-After"}
    assert len(shown["text"]) == SHOWN
    assert token not in json.dumps(shown)
    page = (await world.browser.visit("/watches/1")).text
    assert token not in page
    assert "<script>alert" not in page
    assert "Authorization" not in page


@pytest.mark.parametrize(
    ("endpoint", "silent"),
    [
        ("https://micro.blog/micropub", True),
        ("https://eu.micro.blog/micropub", True),
        ("https://notmicro.blog/micropub", False),
        ("https://ada.example/micro.blog", False),
    ],
)
def test_only_micro_blog_is_told_not_to_cross_post(endpoint: str, *, silent: bool) -> None:
    due = Due(
        row=PostRow(account_id=1, state="queued", due_at=NOON),
        watch=WatchRow(account_id=1, standing="posted", title="", source="trakt", key="1"),
        site=SiteRow(account_id=1, micropub=endpoint, authorization_endpoint="", token_endpoint=""),
        account=AccountRow(me="https://ada.example/", created_at=NOON),
    )

    assert telling(due).targets == (() if silent else None)
