"""Each page, drawn from made-up rows: well-formed, safe, and usable by everyone."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import html5lib
import pytest
from bs4 import BeautifulSoup, Tag

from app.abilities import Abilities, Ability, Finding, How, Server, Target, learned, met, overruled
from app.errors import SignInError
from app.hentry import Telling, body, hentry
from app.notices import Kind
from app.outbox import Action, Standing, State, Why, actions
from app.presets import PRESETS
from app.rules import Then
from app.settings import Settings
from app.style import Shape, Style, Templates, to_json
from app.tables import (
    AccountRow,
    ConnectionRow,
    EventRow,
    NoticeRow,
    PostRow,
    SessionRow,
    SightingRow,
    SiteRow,
    WatchRow,
)
from app.trial import Asks, Stage, Trial, body_of
from app.web.abilities import HOW, WORDS
from app.web.needs import Need
from app.web.pages import Choice
from app.web.problems import PROBLEMS, problem
from app.web.rules import HOURS, KINDS, THEN, TIMES, WOULD_HAVE, Hindsight, Typed
from app.web.style import Preview, readable, usual
from app.web.views import ENVIRONMENT, SAID, STATES, by_region, compared, linked, pretty, web_link
from app.wording import LONGEST
from tests.works import a_watch, an_episode

Values = dict[str, Any]
Page = tuple[str, Values]

NOW = datetime(2026, 11, 21, 19, 30, tzinfo=UTC)
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}"
TRAP = "javascript:alert(3)"

SETTINGS = Settings(
    _env_file=None,  # type: ignore[call-arg] # pydantic-settings takes it, its plugin is not used
    base_url="https://watch.example",
    secret_key=("0123456789abcdef0123456789abcdef",),
    trakt_client_id="an-app",
)
NO_APP = SETTINGS.model_copy(update={"trakt_client_id": ""})
DEMO = SETTINGS.model_copy(update={"demo_site": "http://site.localhost:8002/"})

ACCOUNT: Values = {
    "id": 1,
    "me": "https://ada.example/",
    "name": "Ada",
    "timezone": "Europe/Vienna",
    "created_at": NOW,
}
SITE: Values = {
    "account_id": 1,
    "micropub": "https://posts.ada.example/micropub",
    "authorization_endpoint": "https://ada.example/auth",
    "token_endpoint": "https://ada.example/token",
    "scope": "create update",
}
LINK: Values = {
    "id": 1,
    "account_id": 1,
    "source": "trakt",
    "source_user": "7",
    "source_name": "ada_watches",
    "sealed_tokens": "sealed",
    "start_at": NOW - timedelta(days=3),
    "polled_at": NOW - timedelta(minutes=4),
    "next_poll_at": NOW + timedelta(minutes=26),
}
WATCH: Values = {
    "id": 5,
    "account_id": 1,
    "standing": Standing.POSTED,
    "title": "Dune (2021)",
    "source": "trakt",
    "key": "3373536619",
    "watched_at": NOW - timedelta(hours=2),
    "work": {"kind": "movie"},
}
POST: Values = {"id": 9, "account_id": 1, "due_at": NOW, "attempts": 1}
EXCHANGE: Values = {
    "method": "POST",
    "url": "https://posts.ada.example/micropub",
    "body": '{"type":["h-entry"],"properties":{"content":["Watched Dune (2021)"]}}',
    "status": 201,
    "headers": {"location": "https://ada.example/2026/dune"},
    "text": "",
}
TITLES = ["Dune (2021)", "Dark S01E02 “Lies”", "Paprika (2006)", "Severance S02E07 “Chikhai Bardo”"]


def person(name: str = "Ada", me: str = "https://ada.example/", **site: object) -> SimpleNamespace:
    account = AccountRow(**(ACCOUNT | {"name": name, "me": me}))
    return SimpleNamespace(account=account, site=SiteRow(**(SITE | site)))


def connection(**changes: object) -> ConnectionRow:
    return ConnectionRow(**(LINK | changes))


def pair(state: str, number: int = 0, **post: object) -> tuple[WatchRow, PostRow | None]:
    """Return a watch that stands at ``state``, of a post or of itself."""
    title = TITLES[number % len(TITLES)]
    about: Values = WATCH | {
        "id": number + 1,
        "title": title,
        "work": {"kind": "episode" if "S0" in title else "movie"},
        "watched_at": NOW - timedelta(hours=5 * number + 2),
    }
    if state in set(State):
        return WatchRow(**about), PostRow(**(POST | {"state": state} | post))
    if state != Standing.ARCHIVED:
        about |= {"watched_at": None}
    if state == Standing.UNREADABLE:
        about |= {"work": None, "title": "Something that could not be read"}
    return WatchRow(**(about | {"standing": state})), None


def every_state() -> list[tuple[WatchRow, PostRow | None]]:
    rows = [pair(state, number) for number, state in enumerate(STATES)]
    return [(watch, post and published(post)) for watch, post in rows]


def published(post: PostRow) -> PostRow:
    if post.state == State.PUBLISHED:
        post.url, post.published_at = "https://ada.example/2026/dune", NOW
    return post


def base(**values: object) -> Values:
    """Return what `render` and `show` give every page."""
    common: Values = {
        "now": NOW,
        "settings": SETTINGS,
        "said": None,
        "person": person(),
        "csrf": "form-token",
        "zone": "Europe/Vienna",
        "knows_zone": True,
    }
    return common | values


def dashboard(**values: object) -> Page:
    rows = every_state()
    full: Values = {
        "connection": connection(),
        "latest": rows,
        "states": {**dict.fromkeys(map(str, STATES), 1), "archived": 12_345},
        "read": 12_354,
        "lacks": None,
        "needs": [],
        "asks_later": False,
        "is_busy": False,
        "silence": None,
        "stretched": None,
        "loss": None,
        "has_lost_addresses": False,
        "is_refused": False,
        "owns": False,
    }
    return "dashboard.html", base(**(full | values))


def calm(**values: object) -> Page:
    rows = [pair(State.PUBLISHED, n, url="https://ada.example/2026/dune") for n in range(4)]
    few: Values = {"latest": rows, "states": {"published": 4, "archived": 812}}
    return dashboard(**(few | values))


def empty(**values: object) -> Page:
    none: Values = {"connection": None, "latest": [], "states": {}, "read": 0}
    return dashboard(**(none | values))


def landing(**values: object) -> Page:
    full: Values = {"person": None, "problem": None, "me": "", "needs_code": False}
    return "landing.html", base(**(full | values))


def watches(**values: object) -> Page:
    full: Values = {
        "found": every_state(),
        "total": 120,
        "number": 2,
        "last": 3,
        "text": "du & ne",
        "state": "",
        "counts": {"published": 100, "archived": 20},
        "removed": 0,
    }
    return "watches.html", base(**(full | values))


def watch(state: str, **values: object) -> Page:
    row, post = pair(state)
    post = post and published(post)
    asked: Values = {key: EXCHANGE[key] for key in ("method", "url", "body")}
    full: Values = {
        "watch": row,
        "post": post,
        "story": [SIGHTING, *happened(asked)],
        "is_gated": False,
        "question": None,
        "reasons": ["You post what you watched from 18 Nov 2026, 20:30 on.", "No rule applies."],
        "actions": actions(row.standing, post.state if post else None),
    }
    return "watch.html", base(**(full | values))


SIGHTING = SightingRow(
    connection_id=1,
    watch_id=1,
    key="3373536619",
    seen_at=NOW,
    payload={"id": 3373536619, "movie": {"title": "Dune"}},
)


def happened(asked: Values) -> list[EventRow]:
    return [
        EventRow(watch_id=1, at=NOW, said="Unsure: no answer came.", exchange=asked),
        EventRow(watch_id=1, at=NOW, said="The site published the post.", exchange=EXCHANGE),
        EventRow(watch_id=1, at=NOW, said="You decided not to post it."),
    ]


def question(kind: Kind) -> Page:
    notice = NoticeRow(id=3, account_id=1, kind=kind, said=f"Said of {kind}.", opened_at=NOW)
    listed = [pair(State.HELD, number) for number in range(3)]
    return "question.html", base(notice=notice, listed=listed, ticked=True)


def browser(digest: str, said: str = "Firefox on Linux") -> SessionRow:
    since = NOW - timedelta(days=40)
    return SessionRow(
        digest=digest, account_id=1, expires_at=NOW, signed_in_at=since, seen_at=NOW, browser=said
    )


def rules(**values: object) -> Page:
    full: Values = {
        "rules": [
            ("a1", "films → skip", False),
            ("b2", "everything → publish", True),
            ("c3", "films → skip", False),
        ],
        "passed": (),
        "has_room": True,
        "most": 50,
        "tags": "seen",
        "has_targets": False,
        "chosen": (),
        "offered": [],
        "wrong": {},
    }
    return "rules.html", base(**(full | values))


def rule(**values: object) -> Page:
    full: Values = {
        "key": "",
        "typed": Typed(),
        "kinds": KINDS,
        "times": TIMES,
        "genres": [("drama", "Drama")],
        "hours": HOURS,
        "thens": THEN,
        "impossible": {Then.DRAFT},
        "done": WOULD_HAVE,
        "offered": [],
        "wrong": {},
        "hindsight": None,
    }
    return "rule.html", base(**(full | values))


TARGETS = [("https://mastodon.example/@ada", "Mastodon"), ("b", "Bluesky")]
WRONG = dict.fromkeys(("then", "kind", "work", "genre", "at_least", "hours", "tags"), "Not so.")
NAMED = (pair(State.PUBLISHED)[0], pair(State.PUBLISHED, 1)[0])
HINDSIGHT = Hindsight("films → skip", Then.SKIP, 2, 500, NAMED, earlier=3, unknown=7)
IN_VAIN = Hindsight("films → draft", Then.DRAFT, 0, 1, (), earlier=0, unknown=0)


def settings(**values: object) -> Page:
    full: Values = {
        "connection": connection(),
        "zones": sorted(available_timezones()),
        "problem": None,
        "unsure": False,
        "choice": Choice("ask", "24"),
        "held": 214,
        "browsers": [browser("this"), browser("other", "Safari on an iPhone")],
        "this_browser": "this",
        "owns": True,
    }
    return "settings.html", base(**(full | values))


def style_page(style: Style | None = None, *, problem: str = "", **values: object) -> Page:
    chosen = style or Style()
    telling = Telling(UTC, style=chosen)
    previews = [
        Preview("Dune (2021)", is_example=True, problem="It cannot be filled in."),
        Preview(
            HOSTILE,
            is_example=False,
            ruled=HOSTILE,
            text=readable({"html": f"<p>{HOSTILE}<a href='{TRAP}'>x</a></p>"}),
            properties=hentry(a_watch(an_episode(HOSTILE), at=None), telling)["properties"],
            sent=body(a_watch(an_episode(HOSTILE)), telling)[0],
            is_form=chosen.shape is Shape.FORM,
            other=None if chosen.html else "h=entry",
            known={"title": HOSTILE, "again": True, "rating": ""},
        ),
    ]
    full: Values = {
        "style": to_json(chosen),
        "problems": {"film.summary": problem} if problem else {},
        "unsaved": None,
        "previews": [] if problem else previews,
        "presets": PRESETS.values(),
        "suggested": PRESETS["wordpress"],
        "preset": "wordpress",
        "languages": {"en": "English", "de": "Deutsch"},
        "usual": usual(chosen),
        "longest": LONGEST,
    }
    return "style.html", base(**(full | values))


def sent_now() -> str:
    return body_of(Abilities(HOSTILE), Style(), NOW, as_form=False)


HIDDEN = Finding(Ability.DRAFTS, can=True, how=How.KIND, at=NOW)


def a_trial(stage: Stage, **changes: Any) -> Trial:  # noqa: ANN401 - any field of a trial
    sent = {"what": HOSTILE, "method": "POST", "url": TRAP, "body": HOSTILE}
    answered = {**sent, "status": 400, "headers": {"Location": HOSTILE}, "text": HOSTILE}
    trial = Trial(
        stage,
        NOW,
        "https://posts.ada.example/micropub",
        sent_now(),
        said=HOSTILE,
        url="https://ada.example/7",
        is_public=True,
        exchanges=(sent, answered),
        kept=HOSTILE,
    )
    return replace(trial, **changes)


def findings(**values: object) -> Page:
    known = learned(
        met(Abilities(), "https://posts.ada.example/micropub", Server.WORDPRESS, NOW),
        {Ability.TARGETS: True},
        How.CONFIG,
        NOW,
    )
    known = overruled(known, {Ability.UPDATE: False}, NOW)
    full: Values = {
        "known": replace(known, targets=(Target("a", "Mastodon"), Target("b", "Bluesky"))),
        "server": "WordPress",
        "preset": PRESETS["wordpress"],
        "style": Style(),
        "words": WORDS,
        "how": HOW,
        "takes_json": False,
        "problem": None,
        "trial": None,
        "next_body": sent_now(),
        "hides": Asks.DRAFT,
        "hidden": None,
        "may_delete": False,
    }
    return "abilities.html", base(**(full | values))


NEEDS = [Need(kind, f"Said of {kind}", number) for number, kind in enumerate(Kind)]
CHECK: Values = {
    "added": 2,
    "removed": 1,
    "moved": 0,
    "missing": 1_200,
    "trakt": {"movies": 1_204, "episodes": 9},
    "ours": {"movies": 1_203, "episodes": 9},
    "goes_on": False,
}
LOCKED = "https://posts.ada.example/micropub answered 401: it no longer accepts our key."
GONE = WatchRow(**(WATCH | {"id": 1, "removed_at": NOW - timedelta(days=2)}))
RETOLD = [
    SightingRow(
        connection_id=1, watch_id=1, key="1", seen_at=NOW, payload={}, missing_at=NOW, gone_at=NOW
    ),
    EventRow(watch_id=1, at=NOW, said="Trakt now dates it 1 May 2026 10:00 UTC."),
    SightingRow(
        connection_id=1,
        watch_id=1,
        key="2",
        seen_at=NOW,
        payload={},
        missing_at=NOW - timedelta(hours=1),
        confirm_at=NOW + timedelta(hours=1),
    ),
]


def post_of(state: str, **changes: object) -> PostRow:
    return PostRow(**(POST | {"state": state} | changes))


PAGES: dict[str, Page] = {
    "landing": landing(),
    "landing-demo": landing(settings=DEMO, me=DEMO.demo_site, said=SAID["signed-out"]),
    "landing-wrong": landing(me="ada", problem=problem(SignInError("missing_micropub", "Seen."))),
    "landing-code": landing(needs_code=True, problem=problem(SignInError("wrong_code"))),
    "first": empty(),
    "no-app": empty(settings=NO_APP),
    "connected": empty(connection=connection(), said=SAID["connected"]),
    "again": calm(connection=connection(sealed_tokens=None)),
    "calm": calm(),
    "lacks": calm(lacks="Your site allowed drafts only.", person=person(name="")),
    "needs": calm(needs=NEEDS, states={"unsure": 2, "refused": 5}),
    **{f"needs-{need.kind}": calm(needs=[need], states={"unsure": 1}) for need in NEEDS},
    "compared": calm(connection=connection(checked_at=NOW, check_found=CHECK)),
    "compared-partly": calm(
        connection=connection(checked_at=NOW, check_found={"goes_on": True, "trakt": None})
    ),
    "looking": calm(person=person(look_due_at=NOW, look_progress={"read": 1_140})),
    "gated": calm(person=person(gate_at=NOW), states={"queued": 2}),
    "paused": calm(person=person(paused="5 went wrong."), states={"queued": 2}, needs=NEEDS[2:3]),
    "lost": calm(states={"unsure": 1}),
    "asks-later": empty(asks_later=True),
    "busy": dashboard(
        is_busy=True,
        connection=connection(
            polling_until=NOW + timedelta(minutes=1), archive_page=13, archive_total=48_000
        ),
    ),
    "archive-begins": empty(connection=connection(archive_page=1), is_busy=True),
    "trouble": dashboard(
        connection=connection(trouble="Trakt did not answer."),
        person=person(trouble="It asks us to slow down.", resume_at=NOW + timedelta(minutes=4)),
        knows_zone=False,
        zone="Mars/Olympus",
    ),
    "app-refused": dashboard(connection=connection(trouble="Trakt says no."), is_refused=True),
    "app-refused-to-its-owner": dashboard(
        connection=connection(trouble="Trakt says no."),
        is_refused=True,
        owns=True,
        needs=[Need(Kind.CLOSED, "Trakt refuses the app of this bridge.")],
    ),
    "locked": dashboard(
        connection=connection(locked="Trakt no longer accepts the key it gave us."),
        person=person(locked=LOCKED, trouble=LOCKED),
        needs=[Need(Kind.TRAKT, "It says no"), Need(Kind.SITE, LOCKED)],
    ),
    "watches": watches(),
    "watches-one": watches(found=[pair(State.UNSURE)], total=1, number=1, last=1, state="unsure"),
    "watches-none": watches(found=[], total=0, number=1, last=1),
    "watches-empty": watches(found=[], total=0, number=1, last=1, text="", counts={}),
    **{f"watch-{state}": watch(state) for state in STATES},
    "watch-bare": watch(State.QUEUED, story=[], person=person(locked=LOCKED)),
    "watch-paused": watch(State.QUEUED, person=person(paused="5 went wrong.")),
    "watch-gated": watch(State.QUEUED, is_gated=True, question=3, person=person(gate_at=NOW)),
    "watch-bunch": watch(
        State.HELD, post=post_of("held", why=Why.BUNCH, trouble="Many plays."), question=3
    ),
    "watch-future": watch(State.HELD, post=post_of("held", trouble="Dated 3 May 2031.")),
    "watch-ruled-out": watch(
        State.SKIPPED, post=post_of("skipped", attempts=0, why=Why.RULE, trouble="Rule 1")
    ),
    "watch-removed": watch(
        State.SKIPPED, watch=GONE, actions=(), post=post_of("skipped", why=Why.REMOVED)
    ),
    "watch-removed-but-posted": watch(State.PUBLISHED, watch=GONE, story=RETOLD),
    "watch-twice": watch(
        State.PUBLISHED,
        post=post_of("published", url="https://ada.example/a", second_url="https://ada.example/b"),
    ),
    "watch-sought": watch(State.UNSURE, person=person(look_due_at=NOW)),
    "watch-sought-later": watch(
        State.UNSURE,
        person=person(look_due_at=NOW + timedelta(minutes=30), unsure_choice="again"),
    ),
    "question-bunch": question(Kind.BUNCH),
    "question-gate": question(Kind.GATE),
    "watch-later": watch(State.QUEUED, post=post_of("queued", due_at=NOW + timedelta(1))),
    "settings": settings(),
    "settings-zone": settings(knows_zone=False, zone="Mars/Olympus", problem="Choose a zone."),
    "settings-own-zone": settings(zone="europe/vienna", connection=None),
    "settings-left": settings(connection=connection(sealed_tokens=None)),
    "settings-unsure": settings(unsure=True),
    "settings-hours": settings(choice=Choice("again", "many", "Type a whole number.")),
    "settings-looked": settings(
        person=person(
            looked_at=NOW - timedelta(hours=3), shows="list", look_said="It read 140 posts."
        )
    ),
    "settings-looking": settings(person=person(look_due_at=NOW), held=1),
    "settings-locked": settings(person=person(locked=LOCKED)),
    "settings-trakt-locked": settings(connection=connection(locked=LOCKED)),
    "style": style_page(),
    "style-own": style_page(
        Style(
            shape=Shape.FORM,
            film=Templates(summary=HOSTILE.replace("{{ 7 * 7 }}", "{{ title }}")),
            hides_titles=True,
            quiet_shows=("dark", HOSTILE.casefold()),
        ),
        unsaved="preview",
    ),
    "style-html": style_page(Style(html=True), unsaved="reset"),
    "style-wrong": style_page(problem=f"Line 1: {HOSTILE}"),
    "file": ("file.html", base(text="", problems={}, name="settings.json")),
    "file-wrong": (
        "file.html",
        base(
            text=HOSTILE, problems={HOSTILE: HOSTILE, "": "It is not JSON."}, name="settings.json"
        ),
    ),
    "findings": findings(),
    "findings-none": findings(known=Abilities("https://ada.example/m"), server=None, preset=None),
    "findings-fit": findings(style=Style(html=True)),
    "test-post-private": findings(hides=Asks.PRIVATE, hidden=HIDDEN, trial=a_trial(Stage.GONE)),
    "test-post-open": findings(hides=Asks.NOTHING),
    "test-post-kept": findings(hidden=replace(HIDDEN, how=How.POST)),
    "test-post-sending": findings(trial=a_trial(Stage.SENDING, said="", exchanges=())),
    "test-post-deleting": findings(trial=a_trial(Stage.DELETING)),
    "test-post-sent": findings(trial=a_trial(Stage.SENT, url=TRAP, is_public=None)),
    "test-post-hidden": findings(trial=a_trial(Stage.SENT, is_public=False), may_delete=True),
    "test-post-nowhere": findings(trial=a_trial(Stage.SENT, url=None, said="")),
    "test-post-refused": findings(trial=a_trial(Stage.REFUSED)),
    "test-post-unsure": findings(trial=a_trial(Stage.UNSURE)),
    "findings-trouble": findings(problem="Your site did not answer"),
    "rules": rules(),
    "rules-none": rules(rules=[]),
    "rules-damaged": rules(passed=("One of your rules cannot be read.", "Another one.")),
    "rules-full": rules(has_room=False),
    "rules-targets": rules(offered=TARGETS, has_targets=True, chosen=("b",)),
    "rules-wrong": rules(wrong={"tags": "Not so.", "targets": "Not so."}, offered=TARGETS),
    "rule": rule(),
    "rule-wrong": rule(key="a1", wrong=WRONG, typed=Typed(text="x", begin="22", end="6")),
    "rule-tried": rule(hindsight=HINDSIGHT, offered=TARGETS, typed=Typed(has_targets="yes")),
    "rule-tried-on-nothing": rule(hindsight=replace(IN_VAIN, of=0)),
    "rule-tried-in-vain": rule(hindsight=IN_VAIN),
    "problem": ("problem.html", base(person=None, problem=problem(SignInError("trakt_closed")))),
    "id": ("id.html", base(person=None, csrf="")),
}


def drawn(name: str) -> str:
    template, values = PAGES[name]
    return ENVIRONMENT.get_template(template).render(values)


def seen(page: str) -> BeautifulSoup:
    return BeautifulSoup(page, "html5lib")


def text_of(soup: Tag) -> str:
    return " ".join(soup.get_text(" ").split())


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_html_without_a_single_parse_error(name: str) -> None:
    html5lib.HTMLParser(strict=True).parse(drawn(name))


@pytest.mark.parametrize("name", PAGES)
def test_nothing_on_a_page_needs_more_than_the_policy_allows(name: str) -> None:
    soup = seen(drawn(name))
    assert not soup.find_all("style")
    assert not soup.find_all(style=True)
    scripts = {"/static/live.js", "/static/preview.js", "/static/file.js"}
    assert all(script["src"] in scripts for script in soup.find_all("script"))
    assert not any(name.startswith("on") for tag in soup.find_all() for name in tag.attrs)
    own = ("/static/", f"{SETTINGS.base_url}/static/")
    assert all(str(image["src"]).startswith(own) for image in soup.find_all("img"))


@pytest.mark.parametrize("name", PAGES)
def test_every_form_that_changes_something_carries_the_token(name: str) -> None:
    for form in seen(drawn(name)).select('form[method="post"]'):
        field = form.select_one('input[type="hidden"][name="csrf"]')
        assert field is not None
        assert field["value"] == "form-token"


@pytest.mark.parametrize("name", PAGES)
def test_every_field_has_a_label_and_every_description_exists(name: str) -> None:
    soup = seen(drawn(name))
    for field in soup.select('input:not([type="hidden"]), select, progress'):
        assert field.find_parent("label") or soup.select_one(f'label[for="{field["id"]}"]')
    for tag in soup.select("[aria-describedby], [aria-labelledby]"):
        named = f"{tag.get('aria-describedby', '')} {tag.get('aria-labelledby', '')}"
        assert all(soup.find(id=one) for one in named.split())


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_one_heading_a_title_and_no_id_twice(name: str) -> None:
    soup = seen(drawn(name))
    assert len(soup.find_all("h1")) == 1
    assert soup.title is not None
    assert "OwnYourTrakt" in soup.title.get_text()
    ids = [tag["id"] for tag in soup.select("[id]")]
    assert len(ids) == len(set(ids))
    assert all(button.get_text(strip=True) for button in soup.find_all("button"))


@pytest.mark.parametrize("name", PAGES)
def test_live_regions_can_be_found_again(name: str) -> None:
    assert all(tag.get("id") for tag in seen(drawn(name)).select("[data-live]"))


def test_what_a_test_post_shows_turns_up_while_a_choice_that_is_not_saved_stays() -> None:
    soup = seen(ENVIRONMENT.get_template("abilities.html").render(findings()[1]))
    assert len(soup.select("td.known[data-live]")) == len(Ability)
    assert not soup.select("[data-live] select")


def hostile_pages() -> Iterator[str]:
    """Draw pages in which everything that others can write is hostile."""
    row = WatchRow(**(WATCH | {"title": HOSTILE}))
    post = post_of("published", url=TRAP, second_url=TRAP, trouble=HOSTILE)
    told = replace(problem(SignInError(HOSTILE, HOSTILE)), title=HOSTILE)
    shown = {**EXCHANGE, "url": TRAP, "headers": {"location": TRAP}, "text": HOSTILE}
    cursed: Values = {
        "person": person(name=HOSTILE, me=TRAP, locked=HOSTILE, trouble=HOSTILE),
        "connection": connection(source_name=HOSTILE, locked=HOSTILE),
        "zone": HOSTILE,
        "knows_zone": False,
        "problem": told,
        "said": HOSTILE,
    }
    event = EventRow(watch_id=1, at=NOW, said=HOSTILE, exchange={**shown, "body": HOSTILE})
    sighting = SightingRow(
        connection_id=1, watch_id=1, key="1", seen_at=NOW, payload=[HOSTILE], trouble=HOSTILE
    )
    cursed_needs = [Need(kind, HOSTILE, 1) for kind in Kind]
    asked = NoticeRow(id=1, account_id=1, kind=Kind.BUNCH, said=HOSTILE, opened_at=NOW)
    for template, values in (
        landing(me=HOSTILE, needs_code=True),
        dashboard(latest=[(row, post)], states={HOSTILE: 1}, lacks=HOSTILE, needs=cursed_needs),
        watches(found=[(row, post)], text=HOSTILE, state=HOSTILE),
        watch(State.PUBLISHED, watch=row, post=post, story=[event, sighting]),
        ("question.html", base(notice=asked, listed=[(row, post)], ticked=False)),
        settings(browsers=[browser(HOSTILE, HOSTILE)]),
        settings(),
        findings(known=Abilities(HOSTILE, targets=(Target(HOSTILE, HOSTILE),)), server=HOSTILE),
        rules(
            rules=[(HOSTILE, HOSTILE, False)],
            passed=(HOSTILE,),
            offered=[(HOSTILE, HOSTILE)],
            tags=HOSTILE,
        ),
        rule(
            typed=Typed(text=HOSTILE, genre=HOSTILE),
            genres=[(HOSTILE, HOSTILE)],
            hindsight=Hindsight(HOSTILE, Then.SKIP, 1, 1, (row,), earlier=0, unknown=0),
        ),
        PAGES["problem"],
    ):
        signed_out = {"person": None} if values["person"] is None else {}
        says = template in {"settings.html", "abilities.html"}
        plain = {"problem": HOSTILE} if says else {}
        yield ENVIRONMENT.get_template(template).render({**values, **cursed, **signed_out, **plain})


def test_what_others_write_stays_text() -> None:
    for page in hostile_pages():
        html5lib.HTMLParser(strict=True).parse(page)
        soup = seen(page)
        assert "<script>alert" not in page
        assert "alert(1)" in soup.get_text()
        assert not soup.select("[onerror]")
        assert "{{ 7 * 7 }}" in page


def test_only_web_addresses_become_links() -> None:
    for page in hostile_pages():
        for tag in seen(page).select("[href], [src], [action]"):
            target = str(tag.get("href") or tag.get("src") or tag.get("action"))
            assert urlsplit(target).scheme in {"", "http", "https"}
    assert web_link("https://ada.example/") == "https://ada.example/"
    assert [web_link(bad) for bad in (TRAP, "data:,x", "http://[", "/path", None)] == [None] * 5


@pytest.mark.parametrize("code", [*PROBLEMS, "server_said_so"])
def test_every_problem_has_a_page_with_a_way_out(code: str) -> None:
    told = problem(SignInError(code, "Only this case knows."))
    page = ENVIRONMENT.get_template("problem.html").render(base(person=None, problem=told))
    html5lib.HTMLParser(strict=True).parse(page)
    main = seen(page).main
    assert main is not None
    assert told.title in text_of(main)
    assert "Only this case knows." in text_of(main)
    assert main.select_one('a[href="/"]') is not None


def test_addresses_in_our_advice_are_links_and_the_rest_is_text() -> None:
    shown = linked("See <b> https://a.example/x. Or (https://b.example).")
    assert shown == (
        'See &lt;b&gt; <a href="https://a.example/x">https://a.example/x</a>. '
        'Or (<a href="https://b.example">https://b.example</a>).'
    )


def test_a_wrong_website_is_marked_at_its_field() -> None:
    soup = seen(drawn("landing-wrong"))
    field = soup.select_one("#me")
    assert field is not None
    assert field["aria-invalid"] == "true"
    assert field["value"] == "ada"
    assert "problem" in str(field["aria-describedby"]).split()
    assert soup.select_one('[role="alert"] a[href="https://indieweb.org/Micropub/Servers"]')


def test_a_wrong_setup_code_is_marked_at_its_own_field() -> None:
    soup = seen(drawn("landing-code"))
    assert soup.select_one('#code[aria-invalid="true"]')
    assert not soup.select_one("#me[aria-invalid]")


def test_the_demo_says_that_the_website_is_filled_in() -> None:
    soup = seen(drawn("landing-demo"))
    assert soup.select_one(f'#me[value="{DEMO.demo_site}"]')
    assert "This is the demo: your simulated website is already filled in." in text_of(soup)


@pytest.mark.parametrize("name", ["first", "no-app"])
def test_who_sets_up_trakt_is_told_of_vip_and_of_the_exact_address(name: str) -> None:
    soup = seen(drawn(name))
    assert "Trakt VIP" in text_of(soup)
    assert soup.select_one('a[href="https://trakt.tv/oauth/applications"]')
    copy = soup.select_one("code.copy")
    assert copy is not None
    assert copy.get_text() == "https://watch.example/trakt/callback"
    assert bool(soup.select_one('form[action="/trakt/connect"]')) is (name == "first")


def test_only_who_comes_back_may_choose_to_start_afresh() -> None:
    box = 'form[action="/trakt/connect"] input[type="checkbox"][name="afresh"][value="yes"]'
    assert seen(drawn("again")).select_one(box)
    assert not seen(drawn("first")).select_one(box)
    assert not seen(drawn("locked")).select_one(box)


def test_a_locked_site_offers_to_sign_in_again_as_the_same_person() -> None:
    form = seen(drawn("locked")).select_one('form[action="/signin"]')
    assert form is not None
    field = form.select_one('input[name="me"]')
    assert field is not None
    assert field["value"] == "https://ada.example/"


@pytest.mark.parametrize(
    ("name", "section"), [("settings-locked", "site"), ("settings-trakt-locked", "trakt")]
)
def test_the_settings_lead_from_what_is_locked_to_the_dashboard(name: str, section: str) -> None:
    for drawn_name, is_told in (("settings", False), (name, True)):
        card = seen(drawn(drawn_name)).select_one(f'section[aria-labelledby="{section}"]')
        assert card is not None
        assert ("not asked at the moment" in text_of(card)) is is_told
        assert bool(card.select_one('a[href="/"]')) is is_told
        assert "become posts" not in text_of(card) or not is_told


def test_what_is_locked_is_not_polled() -> None:
    assert seen(drawn("calm")).select_one('form[action="/poll"]')
    assert not seen(drawn("locked")).select_one('form[action="/poll"]')


def test_a_busy_dashboard_reloads_itself_without_javascript_and_comes_to_rest() -> None:
    page = drawn("busy")
    assert '<noscript><meta http-equiv="refresh" content="4; url=/"></noscript>' in page
    assert seen(page).select_one("body[data-busy]")
    assert "http-equiv" not in drawn("calm")
    assert not seen(drawn("calm")).select_one("body[data-busy]")


def test_only_a_watch_that_is_on_its_way_is_looked_at_often() -> None:
    busy = {name for name in PAGES if seen(drawn(name)).select_one("body[data-busy]")}
    assert {name for name in busy if name.startswith("watch-")} == {
        "watch-queued",
        "watch-sending",
        "watch-sought",
    }


def test_the_archive_shows_how_far_it_is() -> None:
    bar = seen(drawn("busy")).select_one("progress")
    assert bar is not None
    assert (bar["value"], bar["max"]) == ("12354", "48000")


def test_leafing_keeps_the_search() -> None:
    _, values = watches(state="published")
    soup = seen(ENVIRONMENT.get_template("watches.html").render(values))
    for rel, page in (("prev", 1), ("next", 3)):
        link = soup.select_one(f'a[rel="{rel}"]')
        assert link is not None
        assert link["href"] == f"/watches?q=du%20%26%20ne&state=published&page={page}"
    chosen = soup.select_one("#state option[selected]")
    assert chosen is not None
    assert chosen["value"] == "published"


@pytest.mark.parametrize("state", STATES)
def test_a_watch_offers_what_can_be_done_and_nothing_else(state: str) -> None:
    soup = seen(drawn(f"watch-{state}"))
    offered = [str(form["action"]) for form in soup.select('main form[method="post"]')]
    is_post = state in set(State)
    possible = actions(Standing.POSTED if is_post else state, state if is_post else None)
    looks = ["look"] if state == State.UNSURE else []
    assert offered == [f"/watches/1/{action}" for action in (*looks, *possible)]


def test_a_lost_answer_is_asked_about_in_words_that_cannot_be_mistaken() -> None:
    soup = seen(drawn("watch-unsure"))
    said = {
        str(form["action"]).rpartition("/")[2]: text_of(form)
        for form in soup.select('main form[method="post"]')
    }
    assert said == {
        Action.PUBLISH: "It is there",
        Action.RETRY: "It is not there: send it again",
        Action.SKIP: "Leave it undecided",
        "look": "Look now",
    }
    for form in soup.select(".answers form"):
        button = form.select_one("button")
        assert button is not None
        does = soup.find(id=str(button["aria-describedby"]))
        assert does is not None
        assert text_of(does).endswith(".")


def test_a_request_without_an_answer_says_so() -> None:
    shown = text_of(seen(drawn("watch-published")))
    assert "none came back" in shown
    assert "Answer 201" in shown


def test_json_is_shown_over_lines_and_other_text_as_it_is() -> None:
    assert pretty('{"a":[1]}') == '{\n  "a": [\n    1\n  ]\n}'
    assert pretty("<p>no</p>") == "<p>no</p>"
    assert pretty({"ü": None}) == '{\n  "ü": null\n}'
    assert pretty("[" * 4096) == "[" * 4096


def test_time_zones_are_grouped_and_those_without_a_region_come_last() -> None:
    grouped = by_region(["UTC", "Europe/Vienna", "Asia/Tokyo", "Europe/Bern"])
    assert list(grouped) == ["Asia", "Europe", "Other"]
    assert grouped["Europe"] == ["Europe/Bern", "Europe/Vienna"]


def test_an_unknown_time_zone_must_be_chosen_and_a_known_one_is_selected() -> None:
    unknown = seen(drawn("settings-zone")).select_one("#timezone option")
    assert unknown is not None
    assert unknown["value"] == ""
    known = seen(drawn("settings")).select("#timezone option[selected]")
    assert [option["value"] for option in known] == ["Europe/Vienna"]


def test_websites_find_our_name_picture_and_redirect_address() -> None:
    soup = seen(drawn("id"))
    assert text_of(soup.select_one("title") or soup) == "OwnYourTrakt"
    assert soup.select_one('link[rel="redirect_uri"][href="https://watch.example/callback"]')
    app = soup.select_one(".h-app")
    assert app is not None
    assert app.select_one('.p-name.u-url[href="https://watch.example/"]')
    assert app.select_one('img.u-logo[src="https://watch.example/static/logo.png"]')


@pytest.mark.parametrize("kind", Kind)
def test_what_needs_the_person_is_said_once_and_first_with_a_way_out(kind: Kind) -> None:
    soup = seen(drawn(f"needs-{kind}"))
    (need,) = soup.select("#needs li")
    assert f"Said of {kind}" in text_of(need) or kind is Kind.UNSURE
    assert need.select("button, a.button")
    assert text_of(soup).count(f"Said of {kind}") == 1
    assert "One thing needs you" in text_of(soup.select_one("#summary") or soup)
    assert soup.select("#needs ~ #flow")


def test_what_is_locked_is_told_in_one_place_only() -> None:
    soup = seen(drawn("locked"))
    assert text_of(soup).count(LOCKED) == 1
    for path in ("/trakt/connect", "/signin"):
        assert len(soup.select(f'main form[action="{path}"]')) == 1


@pytest.mark.parametrize(
    ("name", "summary", "bridge", "site"),
    [
        ("calm", "All is well", "up to date", "ready"),
        ("looking", "what your site shows already", "up to date", "being looked at"),
        ("gated", "was away for a while", "waits until your site has been looked at", "ready"),
        ("paused", "One thing needs you", "2 wait", "paused"),
        ("lost", "got no clear answer", "looks for 1 on your site", "ready"),
        ("needs-bunch", "One thing needs you", "asks you something", "ready"),
        ("asks-later", "One step is left", "waits for Trakt", "ready"),
    ],
)
def test_the_first_sentence_and_the_picture_follow_what_is_so(
    name: str, summary: str, bridge: str, site: str
) -> None:
    soup = seen(drawn(name))
    _, bridge_node, site_node = soup.select(".flow li")
    assert summary in text_of(soup.select_one("#summary") or soup)
    assert bridge in text_of(bridge_node)
    assert site in text_of(site_node)


def test_a_look_under_way_says_how_far_it_is() -> None:
    label = seen(drawn("looking")).select_one('label[for="look"]')
    assert label is not None
    assert "read 1,140 posts so far" in text_of(label)


def test_before_trakt_is_connected_the_question_where_to_start_is_only_announced() -> None:
    soup = seen(drawn("asks-later"))
    assert "Once Trakt is connected, the bridge asks" in text_of(soup)
    assert not soup.select("#needs li")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, "no difference"),
        ({"added": 0, "removed": 0}, "no difference"),
        (CHECK, "2 new, 1 gone, 1,200 missing, to be asked for once more"),
        ({"moved": 3}, "3 with another date or title"),
    ],
)
def test_a_comparison_is_told_in_words(found: Values, said: str) -> None:
    assert compared(found) == said


def test_trakts_own_counts_are_shown_as_no_alarm() -> None:
    shown = text_of(seen(drawn("compared")))
    assert "Trakt counts 1,204 plays of films and 9 of episodes, the bridge 1,203 and 9." in shown
    assert "no alarm" in shown
    assert "so far; it goes on" in text_of(seen(drawn("compared-partly")))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("watch-bunch", "waits for your answer"),
        ("watch-future", "Dated 3 May 2031."),
        ("watch-gated", "may be on your site already"),
        ("watch-paused", "posting is paused"),
        ("watch-removed", "was not posted, because Trakt no longer shows it"),
        ("watch-removed-but-posted", "The post on your site is left alone."),
        ("watch-twice", "Your site shows it twice: ada.example/a and ada.example/b"),
        ("watch-sought", "is looking on your site now"),
        ("watch-sought-later", "looks on your site in 30 minutes"),
        ("watch-sought-later", "sent once more 24 hours after it was sent, as you chose"),
        ("watch-unsure", "did not settle it, so it waits for you"),
    ],
)
def test_a_watch_says_why_it_stands_where_it_stands(name: str, said: str) -> None:
    assert said in text_of(seen(drawn(name)))


def test_who_waits_for_an_answer_is_led_to_the_question() -> None:
    for name in ("watch-bunch", "watch-gated"):
        assert seen(drawn(name)).select('#standing a[href="/questions/3"]')


def test_each_sighting_and_each_correction_stands_in_the_timeline() -> None:
    lines = [text_of(line) for line in seen(drawn("watch-removed-but-posted")).select("ol li")]
    assert "no longer shows it like this since" in lines[0]
    assert "now dates it" in lines[1]
    assert "told the bridge about it anew" in lines[2]
    assert "did not show it 60 minutes ago" in lines[2]


def test_all_of_a_bunch_are_ticked_at_first() -> None:
    boxes = seen(drawn("question-bunch")).select('input[type="checkbox"][name="watch"][checked]')
    assert [box["value"] for box in boxes] == ["1", "2", "3"]


def test_a_wrong_number_of_hours_is_marked_at_its_field() -> None:
    soup = seen(drawn("settings-hours"))
    field = soup.select_one("#hours")
    assert field is not None
    assert (field["aria-invalid"], field["value"]) == ("true", "many")
    assert "hours-problem" in str(field["aria-describedby"]).split()
    chosen = soup.select_one('input[name="choice"][checked]')
    assert chosen is not None
    assert chosen["value"] == "again"


def test_the_settings_say_what_the_last_look_at_the_site_showed() -> None:
    shown = text_of(seen(drawn("settings-looked")).select_one("#looked") or seen(""))
    assert "3 hours ago" in shown
    assert "it lists its posts" in shown
    assert "214 posts of what you watched" in shown
    assert "It read 140 posts." in shown
    assert seen(drawn("settings-looking")).select("body[data-busy]")


def test_watches_that_trakt_no_longer_shows_are_marked_and_can_be_filtered() -> None:
    rows = [(GONE, post_of("published", url="https://ada.example/a"))]
    template, values = watches(found=rows, removed=7, state="removed")
    soup = seen(ENVIRONMENT.get_template(template).render(values))
    assert "gone from Trakt" in text_of(soup.select_one(".watches") or soup)
    chosen = soup.select_one("#state option[selected]")
    assert chosen is not None
    assert text_of(chosen) == "gone from Trakt (7)"
