"""A person's rules: the list in its order, one rule with what it would have done, and the usual."""

import asyncio
from dataclasses import dataclass, fields, replace
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import SignInError
from app.rules import (
    GENRES,
    MOST_RULES,
    Rule,
    Rules,
    RulesError,
    Then,
    from_json,
    genre_name,
    is_for_all,
    key_of,
    rule_from_json,
    words,
)
from app.store import abilities, rules
from app.tables import AccountRow, SiteRow, WatchRow
from app.web.bridge import Bridge, TheBridge
from app.web.pages import show
from app.web.session import Form, Person, SignedOut, TheForm, ThePerson, text_of

router = APIRouter()

HERE = "/settings/rules"
NAMED = 10
HOURS = range(24)
UNREADABLE = "Your rules cannot be read, so nothing is posted. What you save here replaces them."
KINDS = (("", "everything"), ("movie", "films"), ("episode", "episodes"))
TIMES = (("", "does not matter"), ("yes", "yes, seen before"), ("no", "no, for the first time"))
THEN = (
    (Then.PUBLISH, "Publish it."),
    (Then.DRAFT, "Send it as a draft."),
    (Then.PRIVATE, "Publish it privately."),
    (Then.UNLISTED, "Publish it unlisted."),
    (Then.SKIP, "Skip it: it is not posted."),
)


WOULD_HAVE: dict[Then, str] = {
    Then.PUBLISH: "published",
    Then.DRAFT: "sent as drafts",
    Then.PRIVATE: "published privately",
    Then.UNLISTED: "published unlisted",
    Then.SKIP: "skipped",
}


@dataclass(frozen=True, slots=True)
class Typed:
    """A rule as it stands in its form; ``begin`` and ``end`` are its hours."""

    then: str = ""
    kind: str = ""
    work: str = ""
    genre: str = ""
    at_least: str = ""
    at_most: str = ""
    again: str = ""
    begin: str = ""
    end: str = ""
    text: str = ""
    tags: str = ""
    has_targets: str = ""
    targets: tuple[str, ...] = ()

    def data(self) -> dict[str, object]:
        """Return it as plain data, as far as something was typed or chosen."""
        hours = [whole(self.begin), whole(self.end)] if self.begin or self.end else None
        data: dict[str, object] = {
            "then": self.then,
            "kind": self.kind,
            "work": self.work,
            "genre": self.genre,
            "at_least": decimal(self.at_least),
            "at_most": decimal(self.at_most),
            "again": {"": None, "yes": True, "no": False}.get(self.again, self.again),
            "hours": hours,
            "text": self.text,
            "tags": split(self.tags),
            "targets": list(self.targets) if self.has_targets else None,
        }
        return {name: value for name, value in data.items() if value is not None}


def typed_in(form: Form) -> Typed:
    """Return what a form holds."""
    texts = {one.name: text_of(form, one.name) for one in fields(Typed) if one.name != "targets"}
    return Typed(**texts, targets=tuple(form.getlist("targets")))


def typed_as(rule: Rule) -> Typed:
    """Return a rule as it stands in its form."""
    begin, end = rule.hours or ("", "")
    return Typed(
        then=rule.then,
        kind=rule.kind or "",
        work=rule.work,
        genre=rule.genre,
        at_least="" if rule.at_least is None else f"{rule.at_least:g}",
        at_most="" if rule.at_most is None else f"{rule.at_most:g}",
        again={None: "", True: "yes", False: "no"}[rule.again],
        begin=str(begin),
        end=str(end),
        text=rule.text,
        tags=", ".join(rule.tags),
        has_targets="" if rule.targets is None else "yes",
        targets=rule.targets or (),
    )


def whole(text: str) -> int | str:
    """Return a number of two digits at most, and what is none as it was typed."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 3 else text


def decimal(text: str) -> float | str | None:
    """Return a number, with a comma or a point; what is none as it was typed, None for nothing."""
    try:
        return float(text.replace(",", ".")) if text else None
    except ValueError:
        return text


def split(text: str) -> list[str]:
    """Return the tags in a text, which commas part."""
    return [tag for each in text.split(",") if (tag := each.strip())]


@dataclass(frozen=True, slots=True)
class Hindsight:
    """What a rule would have done with the last watches, and the first of those named.

    ``words`` are those of the rule. ``earlier`` counts the watches over which a rule above it
    decides, ``unknown`` those of which too little is known to tell.
    """

    words: str
    then: Then
    decided: int
    of: int
    first: tuple[WatchRow, ...]
    earlier: int
    unknown: int


@router.get(HERE)
async def listing(request: Request, bridge: TheBridge, person: ThePerson) -> Response:
    """Show the rules in their order, and what every post gets besides."""
    return page(request, bridge, person, readable(person.account))


def readable(account: AccountRow) -> Rules:
    """Return an account's rules; none where nobody can tell what they are, until the next change.

    Until then nothing is posted.
    """
    try:
        return rules.of(account)
    except RulesError as error:
        return Rules(passed=(f"{UNREADABLE} {error}",))


def page(
    request: Request,
    bridge: Bridge,
    person: Person,
    found: Rules,
    **told: Any,  # noqa: ANN401 - what the template asks for
) -> Response:
    """Return that page, with what is ``wrong`` beside its field, and ``tags`` as typed."""
    values = {"tags": ", ".join(found.tags), "wrong": {}, **told}
    return show(
        request,
        bridge,
        person,
        "rules.html",
        400 if values["wrong"] else 200,
        rules=[(key_of(rule), words(rule), is_for_all(rule)) for rule in found.rules],
        passed=found.passed,
        has_room=len(found.rules) < MOST_RULES,
        most=MOST_RULES,
        has_targets=found.targets is not None,
        chosen=found.targets or (),
        offered=offered(person.site, found),
        **values,
    )


def by_field(error: RulesError) -> dict[str, str]:
    """Return what is wrong with a rule, by its fields."""
    return {problem.field: problem.said for problem in error.problems}


def offered(site: SiteRow, found: Rules) -> list[tuple[str, str]]:
    """Return where the site can show a post elsewhere, by its own name and for people.

    What the rules name is offered as well: the site may have forgotten it.
    """
    names = {target.uid: target.name for target in abilities.of(site).targets}
    used = [*(found.targets or ()), *(uid for rule in found.rules for uid in rule.targets or ())]
    return [(uid, names.get(uid, uid)) for uid in dict.fromkeys([*names, *used])]


async def held(writing: AsyncSession, person: Person) -> AccountRow:
    """Return the person's account, to change its rules. Raises SignedOut if it is gone."""
    account = await rules.hold(writing, person.id)
    if account is None:
        raise SignedOut
    return account


@router.post(HERE)
async def save_usual(
    request: Request, bridge: TheBridge, person: ThePerson, form: TheForm
) -> Response:
    """Save the tags and targets that every post gets."""
    typed = typed_in(form)
    data = {name: value for name, value in typed.data().items() if name in {"tags", "targets"}}
    async with bridge.database.writing() as writing:
        account = await held(writing, person)
        found = readable(account)
        try:
            usual = from_json(data)
        except RulesError as error:
            wrong = by_field(error)
        else:
            rules.put(account, replace(found, tags=usual.tags, targets=usual.targets))
            return RedirectResponse(f"{HERE}?said=saved", status_code=303)
    return page(request, bridge, person, found, wrong=wrong, tags=typed.tags)


@router.get(f"{HERE}/edit")
async def edit(request: Request, bridge: TheBridge, person: ThePerson) -> Response:
    """Show the form of a rule, or of a new one."""
    found, key = readable(person.account), request.query_params.get("rule", "")
    if not key:
        return rule_page(request, bridge, person, Typed(), key=key)
    place = place_of(found, key)
    if place is None:
        raise SignInError("not_found")
    return rule_page(request, bridge, person, typed_as(found.rules[place]), key=key)


def rule_page(
    request: Request,
    bridge: Bridge,
    person: Person,
    typed: Typed,
    **told: Any,  # noqa: ANN401 - what the template asks for
) -> Response:
    """Return the form of a rule, with what is ``wrong`` beside its field, or with ``hindsight``."""
    values = {"wrong": {}, "hindsight": None, **told}
    genres = [*GENRES, *([typed.genre] if typed.genre and typed.genre not in GENRES else [])]
    return show(
        request,
        bridge,
        person,
        "rule.html",
        400 if values["wrong"] else 200,
        typed=typed,
        kinds=KINDS,
        times=TIMES,
        genres=[(genre, genre_name(genre)) for genre in genres],
        hours=HOURS,
        thens=THEN,
        impossible=rules.impossible(person.site),
        done=WOULD_HAVE,
        offered=offered(person.site, readable(person.account)),
        **values,
    )


@router.post(f"{HERE}/edit")
async def save(request: Request, bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Save a rule, or try it on the last watches."""
    key, typed = text_of(form, "rule"), typed_in(form)
    try:
        rule = rule_from_json(typed.data(), 1)
    except RulesError as error:
        return rule_page(request, bridge, person, typed, key=key, wrong=by_field(error))
    if text_of(form, "do") == "try":
        told = await hindsight(bridge, person, key, rule)
        return rule_page(request, bridge, person, typed, key=key, hindsight=told)
    async with bridge.database.writing() as writing:
        account = await held(writing, person)
        found = readable(account)
        said = saying(found, key)
        if said == "saved":
            rules.put(account, with_rule(found, key, rule))
    return RedirectResponse(f"{HERE}?said={said}", status_code=303)


def saying(found: Rules, key: str) -> str:
    """Return what to say to whoever saves a rule: it may be no more, or a new one have no room."""
    if key:
        return "rules-changed" if place_of(found, key) is None else "saved"
    return "rules-full" if len(found.rules) >= MOST_RULES else "saved"


def with_rule(found: Rules, key: str, rule: Rule) -> Rules:
    """Return rules with one of them changed, or with a new one at the end; none is there twice."""
    place = place_of(found, key)
    listed = [*found.rules, rule]
    if place is not None:
        listed[place] = listed.pop()
    return replace(found, rules=tuple(dict.fromkeys(listed)))


def place_of(found: Rules, key: str) -> int | None:
    """Return where a rule stands, counted from 0; None where there is none by this key."""
    keys = [key_of(rule) for rule in found.rules]
    return keys.index(key) if key in keys else None


async def hindsight(bridge: Bridge, person: Person, key: str, rule: Rule) -> Hindsight:
    """Return what a rule would have done with the last watches, at its place among the others."""
    after = with_rule(readable(person.account), key, rule)
    number = after.rules.index(rule) + 1
    async with bridge.database.reading() as reading:
        last = await rules.last(reading, person.account)
    # Many rules over many watches would keep everybody else waiting.
    seen = await asyncio.to_thread(rules.tried, after, last)
    its = [row for row, decision in seen if decision.number == number]
    earlier = sum((decision.number or number) < number for _, decision in seen)
    unknown = sum(
        any(note.startswith(f"Rule {number} did not") for note in decision.notes)
        for _, decision in seen
    )
    named = tuple(its[:NAMED])
    return Hindsight(words(rule), rule.then, len(its), len(seen), named, earlier, unknown)


@router.post(f"{HERE}/order")
async def order(bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Move a rule up or down, or delete it."""
    key, what = text_of(form, "rule"), text_of(form, "do")
    if what not in {"up", "down", "delete"}:
        raise SignInError("malformed")
    async with bridge.database.writing() as writing:
        account = await held(writing, person)
        found = readable(account)
        place = place_of(found, key)
        if place is not None:
            rules.put(account, replace(found, rules=moved(found.rules, place, what)))
    said = "rules-changed" if place is None else "saved"
    return RedirectResponse(f"{HERE}?said={said}", status_code=303)


def moved(listed: tuple[Rule, ...], place: int, what: str) -> tuple[Rule, ...]:
    """Return rules with one of them a place higher or lower, or without it."""
    left = [*listed[:place], *listed[place + 1 :]]
    if what != "delete":
        left.insert(max(0, place + (-1 if what == "up" else 1)), listed[place])
    return tuple(left)


@router.get(f"{HERE}/order")
async def back() -> Response:
    """Lead those who reload a page that a form has answered to where the form is."""
    return RedirectResponse(HERE, status_code=303)
