"""What was watched: the list, one watch with its timeline, and what its buttons do."""

import math
from collections.abc import Iterable
from datetime import datetime

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import SignInError
from app.notices import Kind
from app.outbox import Action, Standing, State, Why, acted, actions
from app.rules import Decision
from app.sources.trakt_history import read_item
from app.store import connections, kept, notices, posts, rules, watches
from app.store.watches import Listed
from app.tables import EventRow, NoticeRow, PostRow, SightingRow, WatchRow
from app.web.bridge import Bridge, TheBridge
from app.web.pages import number, show
from app.web.session import Person, TheForm, ThePerson
from app.web.why import why

router = APIRouter()

# Beyond this nobody leafs through pages; it also bounds what a made-up number costs.
LAST_PAGE = 100_000


@router.get("/watches")
async def listing(request: Request, bridge: TheBridge, person: ThePerson) -> Response:
    """Show all watches, page by page, searched and filtered."""
    asked = request.query_params
    text = "".join(c for c in asked.get("q", "") if c.isprintable()).strip()[:200]
    state = asked.get("state", "")
    state = state if state in {*State, *Standing, watches.REMOVED} else ""
    async with bridge.database.reading() as reading:
        states = await watches.states(reading, person.id)
        total = sum(states.values())
        if text or state:
            total = await watches.count(reading, person.id, text=text, state=state)
        last = max(1, math.ceil(total / watches.PER_PAGE))
        shown = min(page_number(asked.get("page", "")), last)
        found = await watches.page(reading, person.id, shown, text=text, state=state)
        removed = await watches.count(reading, person.id, state=watches.REMOVED)
    return show(
        request,
        bridge,
        person,
        "watches.html",
        found=found,
        total=total,
        number=shown,
        last=last,
        text=text,
        state=state,
        counts=states,
        removed=removed,
    )


def page_number(text: str) -> int:
    """Return the number of a page; nonsense means the first."""
    return max(1, min(number(text), LAST_PAGE))


@router.get("/watches/{key}")
async def watch(key: str, request: Request, bridge: TheBridge, person: ThePerson) -> Response:
    """Show one watch: where it stands, why, and all that happened to it."""
    async with bridge.database.reading() as reading:
        row, post = await mine(reading, person, key)
        linked = await connections.of_account(reading, person.id)
        forecast = await expected(reading, person, row, post)
        events = await watches.events(reading, row.id or 0)
        sightings = await watches.sightings(reading, row.id or 0)
        asked = await notices.open_ones(reading, person.id)
    is_gated = post is not None and kept.is_behind(person.site, post)
    return show(
        request,
        bridge,
        person,
        "watch.html",
        watch=row,
        post=post,
        story=story(sightings, events),
        actions=possible(row, post),
        reasons=list(
            why(
                row, post, linked[0].start_at if linked else None, person.account.timezone, forecast
            )
        ),
        is_gated=is_gated,
        question=question(post, asked, is_gated=is_gated) if post else None,
    )


async def expected(
    session: AsyncSession, person: Person, row: WatchRow, post: PostRow | None
) -> Decision | None:
    """Return what the rules of today say of a post whose turn has not come, None for others."""
    if post is None or post.body is not None or post.state not in {State.QUEUED, State.HELD}:
        return None
    again = row.id in await watches.earlier(session, [row])
    try:
        return rules.decided(person.account, row, again=again, post=post)
    except ValueError:
        return None


def story(
    sightings: Iterable[SightingRow], events: Iterable[EventRow]
) -> list[SightingRow | EventRow]:
    """Return what sources said and what happened as one timeline, oldest first."""
    lines: list[tuple[datetime, int, SightingRow | EventRow]] = [
        *((row.seen_at, 0, row) for row in sightings),
        *((row.at, 1, row) for row in events),
    ]
    return [row for _, _, row in sorted(lines, key=lambda line: line[:2])]


def possible(row: WatchRow, post: PostRow | None) -> tuple[Action, ...]:
    """Return what the person may decide: what its source no longer shows is not sent again."""
    found = actions(row.standing, post.state if post else None)
    if post is not None and post.why == Why.SAID:
        # A slip of the finger must not cost a watch.
        found = (Action.RETRY,)
    if row.removed_at is None:
        return found
    is_lost = post is not None and post.state == State.UNSURE
    return tuple(one for one in found if one is Action.SKIP or (one is Action.PUBLISH and is_lost))


def question(post: PostRow, asked: Iterable[NoticeRow], *, is_gated: bool) -> int | None:
    """Return the question whose answer a post waits for, None when there is none."""
    for notice in asked:
        is_its_own = post.why == Why.BUNCH and notice.id == post.notice_id
        if is_its_own or (is_gated and notice.kind == Kind.GATE):
            return notice.id
    return None


async def mine(session: AsyncSession, person: Person, key: str) -> Listed:
    """Return one of the person's own watches. Raises SignInError ``not_found``."""
    found = await watches.one(session, person.id, number(key))
    if found is None:
        raise SignInError("not_found")
    return found


@router.post("/watches/{key}/{action}")
async def act(
    key: str, action: str, bridge: TheBridge, person: ThePerson, form: TheForm
) -> Response:
    """Do with a watch what the person decided, if that is still possible."""
    del form
    now = bridge.now()
    async with bridge.database.writing() as writing:
        await posts.hold_sites(writing, [person.id])
        row, post = await mine(writing, person, key)
        if action not in possible(row, post):
            raise SignInError("too_late")
        if row.standing == Standing.UNREADABLE:
            said = await read_again(writing, row, bridge)
        else:
            was_unsure = post is not None and post.state == State.UNSURE
            said = await decided(writing, row, post, Action(action), bridge)
            said = OF_UNSURE.get(said, said) if was_unsure else said
        await watches.tell(writing, row.id or 0, TOLD[said], now)
    bridge.poke()
    return RedirectResponse(f"/watches/{row.id}?said={said}", status_code=303)


TOLD = {
    "retried": "You asked to send it again.",
    "skipped": "You decided not to post it.",
    "publish": "You decided to post it.",
    "there": "You said that it is on your site.",
    "left": "You left it undecided; it was sent, and no clear answer came back.",
    "read": "A newer version of the bridge read it.",
    "still-unreadable": "You asked to read it again; this version still cannot.",
}
# The same buttons mean something else where nobody knows whether a post arrived.
OF_UNSURE = {"publish": "there", "skipped": "left"}
SAID_BY = {Action.RETRY: "retried", Action.SKIP: "skipped", Action.PUBLISH: "publish"}


async def read_again(writing: AsyncSession, row: WatchRow, bridge: Bridge) -> str:
    """Try an unreadable item once more and return what to say of it."""
    seen = await watches.sightings(writing, row.id or 0)
    is_read = await watches.read_again(writing, row, read_item(seen[-1].payload), bridge.now())
    return "read" if is_read else "still-unreadable"


async def decided(
    writing: AsyncSession, row: WatchRow, post: PostRow | None, action: Action, bridge: Bridge
) -> str:
    """Write the person's decision into the post, making one where there is none."""
    if post is None:
        post = watches.post_row(row, acted(None, action, bridge.now()))
        writing.add(post)
        await writing.flush()
        row.post_id, row.standing = post.id, Standing.POSTED
    else:
        posts.write(post, acted(posts.value(post), action, bridge.now()))
    return SAID_BY[action]
