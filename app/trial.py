"""A test post: what it holds, who may see it, and how far it has come. Values and decisions only.

It names no watch and leads nowhere at Trakt, so no look at a site takes it for a post of ours.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

from app.abilities import Abilities, Ability, is_micro_blog, word
from app.hentry import FORM, Mf2, content_type, form
from app.lookup import first, instant, many, plain, web_url
from app.style import Shape, Style

# By this its page is known.
SIGN = "This is a test post of OwnYourTrakt"
TEXT = f"{SIGN}, sent because a button was pressed. It can be deleted."
CHANGED = f"{SIGN}, and it was changed once. It can be deleted."
# Who has heard nothing for so long hears nothing any more.
LOST_AFTER = timedelta(minutes=10)
CUT_SHORT = (
    "The bridge was stopped meanwhile, so nobody knows what became of the test post. Look on your "
    "site. If it is there, delete it; then say that it is gone."
)
# Another minute than that in which it comes, to see whether the date is kept.
AGO = timedelta(days=1)


class Stage(StrEnum):
    """How far a test post has come."""

    SENDING = "sending"
    SENT = "sent"
    REFUSED = "refused"
    UNSURE = "unsure"
    DELETING = "deleting"
    GONE = "gone"


class Asks(StrEnum):
    """What a test post asks for, so that only the person sees it."""

    DRAFT = "draft"
    PRIVATE = "private"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Trial:
    """The last test post of a person, as it is since ``at``.

    ``is_public``: whether strangers see it, None when nobody knows. ``exchanges`` are the requests
    with their answers, ``kept`` is what the site told of the post.
    """

    stage: Stage
    at: datetime
    endpoint: str
    body: str
    said: str = ""
    url: str | None = None
    is_public: bool | None = None
    exchanges: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    kept: str | None = field(default=None, repr=False)

    @property
    def may_be_there(self) -> bool:
        """Tell whether the site may hold it."""
        return self.stage not in {Stage.REFUSED, Stage.GONE}

    @property
    def is_moving(self) -> bool:
        """Tell whether something is being done about it now."""
        return self.stage in {Stage.SENDING, Stage.DELETING}

    @property
    def is_form(self) -> bool:
        """Tell whether it was sent as a form."""
        return content_type(self.body) == FORM


def asks(known: Abilities) -> Asks:
    """Return by what a site is asked to hide a test post: whatever it is not known to ignore."""
    if known.can(Ability.DRAFTS) is not False:
        return Asks.DRAFT
    return Asks.PRIVATE if known.can(Ability.VISIBILITY) is not False else Asks.NOTHING


def body_of(known: Abilities, style: Style, at: datetime, *, as_form: bool) -> str:
    """Return the exact text of a test post that is sent ``at`` a time, in the person's zone.

    The h-cite has no address, by which it would be taken for a watch.
    """
    is_html = style.html and not as_form
    hides = asks(known)
    cite = {"type": ["h-cite"], "properties": {"name": ["A film that does not exist"]}}
    asked: Mf2 = {
        "summary": ["Test post of OwnYourTrakt"],
        "content": [{"html": f"<p>{TEXT}</p>"} if is_html else TEXT],
        "watch-of": [] if as_form or style.shape is Shape.NOTE else [cite],
        "mp-slug": [f"ownyourtrakt-test-{at:%Y%m%d%H%M%S}"],
        "published": [(at - AGO).isoformat(timespec="seconds")],
        "post-status": ["draft"] if hides is Asks.DRAFT else [],
        "visibility": ["private"] if hides is Asks.PRIVATE else [],
        # It cross-posts everywhere unless told not to.
        "mp-syndicate-to": [""] if is_micro_blog(known.endpoint) else [],
    }
    told = {name: values for name, values in asked.items() if values}
    entry = {"type": ["h-entry"], "properties": told}
    return form(entry) if as_form else json.dumps(entry, ensure_ascii=False)


def change_of(url: str) -> str:
    """Return the request that changes the text of the test post at ``url``; forms cannot."""
    return json.dumps({"action": "update", "url": url, "replace": {"content": [CHANGED]}})


def deletion_of(trial: Trial) -> str:
    """Return the request that deletes a test post, in the form in which that was sent."""
    asked = {"action": "delete", "url": trial.url or ""}
    return urlencode(asked) if trial.is_form else json.dumps(asked)


def is_changed(kept: Mapping[str, Any]) -> bool:
    """Tell whether a site shows the test post as it was changed."""
    return plain(first(kept.get("content"))) == CHANGED


def seen_by_strangers(hides: Asks) -> dict[Ability, bool]:
    """Return what it shows of a site that everyone sees what was to be hidden."""
    wanted = {Asks.DRAFT: Ability.DRAFTS, Asks.PRIVATE: Ability.VISIBILITY}
    return {wanted[hides]: False} if hides in wanted else {}


def as_of(trial: Trial | None, now: datetime) -> Trial | None:
    """Return a trial as it stands: one that was cut short is unsure."""
    if trial is None or not trial.is_moving or now - trial.at < LOST_AFTER:
        return trial
    return replace(trial, stage=Stage.UNSURE, said=CUT_SHORT)


def to_json(trial: Trial) -> dict[str, Any]:
    """Return a trial as plain data, which `from_json` reads."""
    return {
        **asdict(trial),
        "stage": str(trial.stage),
        "at": trial.at.isoformat(),
        "exchanges": [dict(one) for one in trial.exchanges],
    }


def from_json(data: object) -> Trial | None:
    """Return the trial that `to_json` wrote, None where there is none that can be read."""
    if not isinstance(data, Mapping):
        return None
    stage, at = word(Stage, data.get("stage")), instant(data.get("at"))
    if not stage or not at:
        return None
    url, is_public, kept = data.get("url"), data.get("is_public"), data.get("kept")
    return Trial(
        stage=stage,
        at=at,
        endpoint=str(data.get("endpoint", "")),
        body=str(data.get("body", "")),
        said=str(data.get("said", "")),
        url=web_url(url) if isinstance(url, str) else None,
        is_public=is_public if isinstance(is_public, bool) else None,
        exchanges=tuple(one for one in many(data.get("exchanges")) if isinstance(one, Mapping)),
        kept=kept if isinstance(kept, str) else None,
    )
