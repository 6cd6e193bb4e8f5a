"""From values to pages: the templates, and the words in which they show states and times."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from app import __version__
from app.errors import SignInError
from app.hentry import zone
from app.outbox import Standing, State
from app.tables import PostRow, SiteRow, WatchRow
from app.web import admission
from app.web.bridge import Bridge, the_bridge
from app.web.problems import Problem, problem
from app.web.session import SignedOut, Visitor, give_cookie, the_person, the_visitor

HERE = Path(__file__).parent
# The forms that lead, by redirects, to other websites. What others say stands escaped on a page.
LEAVING = re.compile(r'<form [^>]*action="(?:/signin|/trakt/connect)"')

# state → (label, tone, what it means)
STATES: dict[str, tuple[str, str, str]] = {
    State.HELD: ("held", "wait", "It waits for its time, or for your answer."),
    State.QUEUED: ("queued", "wait", "It will be sent to your site."),
    State.SENDING: ("sending", "wait", "It is being sent to your site."),
    State.PUBLISHED: ("published", "good", "It is on your site."),
    State.REFUSED: ("refused", "bad", "Your site did not accept it; you decide what to do."),
    State.UNSURE: (
        "unsure",
        "bad",
        (
            "It was sent, but no clear answer came back. It is never sent again blindly: the "
            "bridge looks for it on your site, and you can say what you see there."
        ),
    ),
    State.SKIPPED: ("skipped", "calm", "It is not posted."),
    Standing.ARCHIVED: (
        "archived",
        "calm",
        (
            "It is kept here and not posted: it is older than the moment from which on you post, "
            "or you decided so."
        ),
    ),
    Standing.UNDATED: (
        "no date",
        "wait",
        "Trakt does not know when you watched it, so it is not posted by itself.",
    ),
    Standing.UNREADABLE: (
        "unreadable",
        "bad",
        "Trakt sent something that this version cannot read. It is kept word for word.",
    ),
}

# What a redirect may ask the next page to say.
SAID = {
    "sign-in-first": "You are not signed in here, or not any more. Sign in to go on.",
    "signed-out": "You are signed out. The bridge goes on working.",
    "signed-out-everywhere": "All browsers are signed out, this one too. The bridge works on.",
    "browser-signed-out": "That browser is signed out.",
    "connected": "Trakt is connected. From now on, each new watch becomes a post on your site.",
    "reconnected": "Trakt is connected again, and goes on where it stopped.",
    "disconnected": "Trakt is disconnected. What was read stays; connecting again resumes.",
    "checking": "Trakt is being checked. New watches show up here within seconds.",
    "asked-to-wait": "Trakt asked the bridge to wait; it looks again as soon as it may.",
    "nothing-to-check": "There is nothing to check: connect Trakt first.",
    "deleted": (
        "Your account and everything about it are deleted here. Your site and Trakt are being told "
        "to forget the bridge’s keys; where one does not answer, remove the bridge there from the "
        "apps that may act for you. Your site keeps its posts."
    ),
    "saved": "Saved.",
    "style-saved": "Saved. Posts that are sent from now on look like this.",
    "imported": "Imported. All that the file names is now as it says.",
    "rules-changed": (
        "Nothing was saved: these rules have just changed, in another window perhaps. Look at them "
        "and decide anew."
    ),
    "rules-full": "Nothing was saved: there is no room for more rules. Delete one first.",
    "retried": "It is queued again.",
    "skipped": "It will not be posted.",
    "publish": "It is queued to be posted.",
    "there": "Noted: it is on your site.",
    "left": "It stays as it is.",
    "still-unreadable": "This version still cannot read it. It is kept.",
    "comparing": "Everything is being compared with Trakt. That can take a few minutes.",
    "looking": "The bridge looks at your site now. What it finds shows up here.",
    "site-asked-to-wait": "Your site asked the bridge to wait; it looks as soon as it may.",
    "site-locked": "Your site does not let the bridge in. Sign in again first.",
    "going-on": "Posting goes on.",
    "settled": "That is settled already.",
    "bunch-post": "They are queued to be posted, the oldest first.",
    "bunch-keep": "They stay here and are not posted.",
    "bunch-choose": "Those that you ticked are queued to be posted; the others are not posted.",
    "bunch-none": (
        "None is ticked, so nothing is decided yet. Tick those that you want on your site, or "
        "press “Keep all unposted”."
    ),
    "gate-there": "Good: they count as posted, and none of them is sent.",
    "gate-send": "They are queued to be posted, the oldest first.",
    "start-then": "What you watched since then is posted too, the oldest first.",
    "start-now": "What you watched before you connected Trakt stays unposted.",
    "asked": "Your site has answered. This is what is known of it now.",
    "test-sent": "The test post is on its way.",
    "test-there": "A test post may be on your site already. Delete it first.",
    "test-deleting": "The test post is being deleted.",
    "test-none": "There is no test post that the bridge can delete.",
    "test-gone": "The test post counts as gone.",
    "absent-gone": "The bridge asks Trakt for each of them once more, and then takes them as gone.",
}


def state_of(watch: WatchRow, post: PostRow | None) -> str:
    """Return the one word for where a watch stands."""
    return post.state if post else watch.standing


def ago(when: datetime | None, now: datetime) -> str:
    """Return a time as one says it: ``3 minutes ago``, ``in 25 minutes``, ``never``."""
    if when is None:
        return "never"
    wait = when - now
    if abs(wait) < timedelta(seconds=45):
        return "just now" if wait <= timedelta() else "in a moment"
    said = amount(abs(wait))
    return f"{said} ago" if wait < timedelta() else f"in {said}"


def amount(span: timedelta) -> str:
    """Return a duration in a unit of which there are a few: 85 minutes, 30 hours, 2 days."""
    for unit, seconds, least in (("day", 86_400, 1.5), ("hour", 3_600, 1.5), ("minute", 60, 0)):
        number = max(1, round(span.total_seconds() / seconds))
        if span.total_seconds() >= least * seconds:
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return "1 minute"


def local(when: datetime | None, zone_name: str) -> str:
    """Return a time in the person's zone: ``20 Nov 2026, 21:14``."""
    if when is None:
        return "unknown date"
    there = when.astimezone(zone(zone_name) or UTC)
    return f"{there.day} {there:%b %Y, %H:%M}"


def day(when: datetime, zone_name: str) -> str:
    """Return the day in the person's zone: ``20 Nov 2026``."""
    return local(when, zone_name).partition(",")[0]


def sentence(text: str) -> str:
    """Return a text with a full stop at its end."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def compared(found: Mapping[str, Any]) -> str:
    """Return what a comparison with Trakt has found, see `app.poll`: ``3 new, 1 gone``."""
    told = [
        f"{found[name]:,} {words}"
        for name, words in (
            ("added", "new"),
            ("removed", "gone"),
            ("moved", "with another date or title"),
            ("missing", "missing, to be asked for once more"),
        )
        if found.get(name)
    ]
    return ", ".join(told) or "no difference"


def is_looking(site: SiteRow, now: datetime) -> bool:
    """Tell whether a site is being looked at, or will be at once."""
    if site.locked:
        return False
    if site.looking_until is not None and site.looking_until > now:
        return True
    is_due = site.look_due_at is not None and site.look_due_at <= now
    return is_due and (site.resume_at is None or site.resume_at <= now)


def web_link(url: object) -> str | None:
    """Return ``url`` if it may become a link: http(s) only, never ``javascript:``."""
    try:
        is_link = isinstance(url, str) and urlsplit(url).scheme in {"http", "https"}
    except ValueError:
        return None
    return str(url) if is_link else None


def host(url: str) -> str:
    """Return the host of ``url``, for people."""
    return urlsplit(url).netloc


def bare(url: str) -> str:
    """Return ``url`` as people write it: ``example.com/you``."""
    return url.removeprefix("https://").removeprefix("http://").rstrip("/")


def linked(text: str) -> Markup:
    """Return a text of our own with its addresses as links; never for what others wrote."""
    parts = re.split(r"(https://[^\s<>]*[^\s<>.,:;)])", text)
    link = Markup('<a href="{0}">{0}</a>')
    return Markup().join(link.format(p) if i % 2 else escape(p) for i, p in enumerate(parts))


def pretty(value: object) -> str:
    """Return JSON, as text or as data, over several lines; other text stays as it is."""
    try:
        data = json.loads(value) if isinstance(value, str) else value
        text = json.dumps(data, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = str(value)
    # A lone surrogate is legal in JSON, and no page can hold it.
    return text.encode("utf-8", "replace").decode()


def by_region(zones: Iterable[str]) -> dict[str, list[str]]:
    """Return time zones grouped by their first part, e.g. ``Europe``; those without come last."""
    regions: dict[str, list[str]] = {}
    for name in sorted(zones, key=lambda name: ("/" not in name, name)):
        region, slash, _ = name.partition("/")
        regions.setdefault(region if slash else "Other", []).append(name)
    return regions


ENVIRONMENT = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters.update(
    ago=ago,
    amount=amount,
    bare=bare,
    by_region=by_region,
    compared=compared,
    day=day,
    host=host,
    linked=linked,
    local=local,
    pretty=pretty,
    sentence=sentence,
    web_link=web_link,
)
ENVIRONMENT.globals.update(
    is_looking=is_looking, states=STATES, state_of=state_of, version=__version__
)


def render(
    request: Request,
    template: str,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,  # noqa: ANN401 - what the template asks for
) -> HTMLResponse:
    """Return a page, with the policy that its forms need."""
    bridge = the_bridge(request)
    page = ENVIRONMENT.get_template(template).render(
        {
            "now": bridge.now(),
            "settings": bridge.settings,
            "said": SAID.get(request.query_params.get("said", "")),
            "person": None,
            "csrf": "",
            **values,
        }
    )
    leaves = bool(LEAVING.search(page))
    policy = {"Content-Security-Policy": content_security_policy(leaves=leaves)}
    return HTMLResponse(page, status_code=status, headers={**policy, **(headers or {})})


def content_security_policy(*, leaves: bool) -> str:
    """Return what a page may load and where its forms may lead; ``leaves``: to other websites.

    Browsers check each redirect after a form too, and nobody knows beforehand over which hosts
    a website's sign-in leads; so where a form leaves, any website is allowed.
    """
    forms = "'self' https: http:" if leaves else "'self'"
    return (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        f"connect-src 'self'; form-action {forms}; base-uri 'none'; frame-ancestors 'none'"
    )


async def landing(
    request: Request,
    bridge: Bridge,
    visitor: Visitor,
    *,
    me: str | None = None,
    error: SignInError | None = None,
) -> Response:
    """Return the first page, with what went wrong beside the field."""
    async with bridge.database.reading() as session:
        needs_code = await admission.needs_code(session, bridge.settings)
    told = problem(error) if error else None
    response = render(
        request,
        "landing.html",
        told.status if told else 200,
        problem=told,
        me=bridge.settings.demo_site if me is None else me,
        needs_code=needs_code,
        csrf=bridge.vault.form_token(visitor.cookie),
    )
    if visitor.is_new:
        give_cookie(response, bridge, visitor.cookie)
    return response


async def trouble_page(request: Request, told: Problem) -> Response:
    """Return the page that says what happened and what to do, at home for who is signed in."""
    bridge = the_bridge(request)
    visitor = await the_visitor(request, bridge)
    try:
        person = await the_person(visitor, bridge)
    except SignedOut:
        return plain_trouble_page(request, told)
    csrf = bridge.vault.form_token(visitor.cookie)
    return render(request, "problem.html", told.status, problem=told, person=person, csrf=csrf)


def plain_trouble_page(
    request: Request, told: Problem, headers: Mapping[str, str] | None = None
) -> Response:
    """Return that page without asking the database who is there."""
    return render(request, "problem.html", told.status, headers, problem=told)


def too_many(request: Request, wait: timedelta) -> Response:
    """Return the page that says when to come again (RFC 9110 §10.2.3)."""
    seconds = max(1, math.ceil(wait.total_seconds()))
    again = f"You can go on in {seconds} second{'' if seconds == 1 else 's'}."
    told = problem(SignInError("too_many", again))
    return plain_trouble_page(request, told, {"Retry-After": str(seconds)})
