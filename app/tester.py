"""Send a test post, see what becomes of it, and take it away again: only a press of a button does.

It is no post of a watch: it has no row among the posts, is not sent again, and nothing follows
from its failing but a sentence for the person.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

import structlog

from app.abilities import Ability, How, Sent, compared, learned
from app.errors import (
    FetchError,
    SiteBusy,
    SiteError,
    SiteLocked,
    SiteMoved,
    SiteRefused,
)
from app.hentry import properties_of
from app.http import MIB, caps
from app.indieweb import micropub
from app.indieweb.config import properties
from app.learn import WITHIN
from app.outbox import Post, State
from app.publish import SHOWN, Exchange, Publisher, Sending, exchange, redacted
from app.store import abilities, trials
from app.style import Style
from app.tables import SiteRow
from app.trial import (
    SIGN,
    Stage,
    Trial,
    asks,
    body_of,
    change_of,
    deletion_of,
    is_changed,
    seen_by_strangers,
)

log = structlog.get_logger()

# What a person can do about each kind of trouble; nothing was written but for the last.
ADVICE: tuple[tuple[type[SiteError], str], ...] = (
    (SiteBusy, "Nothing was sent. Try again in a few minutes."),
    (SiteLocked, "Nothing was written. Sign in again, then send it once more."),
    (
        SiteMoved,
        (
            "Nothing was written. Sign in again, so that the bridge reads anew where your site "
            "takes posts."
        ),
    ),
    (
        SiteRefused,
        "Nothing was written. Its answer, below, may say why; another shape of posts may suit it.",
    ),
    (
        SiteError,
        "Look on your site. If the test post is there, delete it there; then say that it is gone.",
    ),
)
SAID_DELETED = "Your site says that the test post is deleted."
HIDDEN = frozenset({401, 403, 404, 410})


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request: what was said, for the person, and where a new post is."""

    shown: tuple[Exchange, ...] = field(repr=False)
    trouble: SiteError | None
    said: str
    url: str | None


@dataclass(frozen=True, slots=True)
class Tester:
    """Sends the test posts of all accounts of one database."""

    publisher: Publisher

    async def begin(
        self, site: SiteRow, style: Style, at: datetime, *, as_form: bool
    ) -> Trial | None:
        """Return a test post that may leave now, in the person's zone; None if one may be there."""
        body = body_of(abilities.of(site), style, at, as_form=as_form)
        trial = Trial(Stage.SENDING, at, site.micropub, body)
        async with self.publisher.database.writing() as session:
            is_first = await trials.begin(session, site.account_id, trial, at)
        return trial if is_first else None

    async def send(self, site: SiteRow, trial: Trial) -> None:
        """Send a test post and write down what became of it, and what that tells of its site.

        ``site`` is as it was before: the test post before this one tells something, too.
        """
        reply = await self.ask(site, trial, trial.body, "Sent")
        seen: dict[Ability, bool] = {}
        if reply.trouble:
            after = replace(
                trial,
                stage=stage_of(reply.trouble),
                said=f"{reply.said} {advice(reply.trouble)}",
                exchanges=reply.shown,
            )
        else:
            after = replace(trial, stage=Stage.SENT, url=reply.url, exchanges=reply.shown)
            seen = taken_as(after, trials.of(site, self.publisher.now()))
        if reply.url:
            after, found = await self.watched(site, after, reply.url)
            seen |= found
        await self.save(site, trial, after, seen)

    async def delete(self, site: SiteRow, trial: Trial) -> None:
        """Delete a test post again and write down what became of that."""
        reply = await self.ask(site, trial, deletion_of(trial), "Deleted")
        after = replace(trial, stage=Stage.SENT, exchanges=(*trial.exchanges, *reply.shown))
        seen: dict[Ability, bool] = {}
        if reply.trouble is None:
            after = replace(after, stage=Stage.GONE, said=SAID_DELETED, is_public=None)
            seen = {Ability.DELETE: True}
        else:
            after = replace(after, said=f"It was not deleted. {reply.said} {undone(reply.trouble)}")
            if isinstance(reply.trouble, SiteRefused):
                seen = {Ability.DELETE: False}
        await self.save(site, trial, after, seen)

    async def save(
        self, site: SiteRow, before: Trial, after: Trial, seen: Mapping[Ability, bool]
    ) -> None:
        """Write down what became of a test post."""
        now = self.publisher.now()
        async with self.publisher.database.writing() as session:
            await trials.settle(
                session,
                site.account_id,
                before,
                after,
                lambda known: learned(known, seen, How.TEST, now, after.url),
            )
        log.info("tested", account=site.account_id, stage=after.stage)

    async def watched(
        self, site: SiteRow, trial: Trial, url: str
    ) -> tuple[Trial, dict[Ability, bool]]:
        """Look what became of the test post at ``url``, as its author and as a stranger."""
        sent = Sent(properties_of(trial.body), url, is_json=not trial.is_form)
        kept = await self.kept(site, url)
        seen = compared(sent, kept)
        is_public = await self.is_public(url)
        if is_public:
            seen |= seen_by_strangers(asks(abilities.of(site)))
        trial = replace(trial, is_public=is_public)
        if kept is None:
            return trial, seen
        # What no database can hold, or no page can show, is left out.
        text = json.dumps(kept, ensure_ascii=False).replace("\\u0000", "")
        text = text.encode(errors="replace").decode()
        trial = replace(trial, kept=redacted(text, self.publisher.held(site))[:SHOWN])
        if trial.is_form or "update" not in site.scope.split():
            return trial, seen
        reply = await self.ask(site, trial, change_of(url), "Changed")
        trial = replace(trial, exchanges=(*trial.exchanges, *reply.shown))
        if isinstance(reply.trouble, SiteRefused):
            seen[Ability.UPDATE] = False
        elif reply.trouble is None and (changed := await self.kept(site, url)) is not None:
            seen[Ability.UPDATE] = is_changed(changed)
        return trial, seen

    async def kept(self, site: SiteRow, url: str) -> Mapping[str, Any] | None:
        """Return what a site tells its author of a post, None where it does not."""
        query = partial(properties, self.publisher.http, site.micropub, url=url)
        try:
            return await self.publisher.learner.asked(site, query)
        except SiteError:
            return None

    async def is_public(self, url: str) -> bool | None:
        """Tell whether everyone sees a test post; None: nobody knows."""
        try:
            page = await self.publisher.http.get(url, extensions=caps(MIB, WITHIN))
        except FetchError:
            return None
        if page.status_code in HIDDEN:
            return False
        # As bytes: a page may name an encoding that breaks the reading, or takes minutes.
        return True if page.is_success and SIGN.encode() in page.content else None

    async def ask(self, site: SiteRow, trial: Trial, body: str, what: str) -> Reply:
        """Send a request about a test post, called ``what``; no row stands behind it."""
        post = Post(State.SENDING, trial.at)
        attempt = Sending(0, site.account_id, "", trial.endpoint, body, post, site)
        tokens: list[str] = []
        answer, trouble, url = None, None, None
        try:
            answer = await self.publisher.send(attempt, tokens)
            url = micropub.created(answer)
        except SiteError as error:
            trouble = error
        known = [*tokens, *self.publisher.held(site)]
        return Reply(
            shown=({"what": what, **exchange(attempt, answer, known)},) if tokens else (),
            trouble=trouble,
            said=redacted(str(trouble or ""), known),
            url=url and redacted(url, known),
        )


def stage_of(error: SiteError) -> Stage:
    """Return how far a test post came that failed."""
    nothing_written = isinstance(error, SiteBusy | SiteLocked | SiteMoved | SiteRefused)
    return Stage.REFUSED if nothing_written else Stage.UNSURE


def advice(error: SiteError) -> str:
    """Return what a person can do about a test post that failed."""
    return next(said for leaf, said in ADVICE if isinstance(error, leaf))


def undone(error: SiteError) -> str:
    """Return what a person can do about a test post that could not be deleted."""
    if isinstance(error, SiteBusy):
        return "Try again in a few minutes."
    return "Delete it on your site, then say that it is gone."


def taken_as(trial: Trial, before: Trial | None) -> dict[Ability, bool]:
    """Return what it shows of JSON that a test post was taken.

    Whoever takes a form right after refusing JSON takes no JSON.
    """
    if not trial.is_form:
        return {Ability.JSON: True}
    if before is None or before.stage is not Stage.REFUSED or before.is_form:
        return {}
    return {Ability.JSON: False} if any("status" in one for one in before.exchanges) else {}
