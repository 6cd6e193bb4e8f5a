"""How a person's posts look: the form, and their own last film and episode told that way."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from markupsafe import Markup

from app import wording
from app.hentry import Mf2, Telling, body, hentry, known, zone
from app.languages import SPEECH
from app.presets import PRESETS, suggested
from app.publish import ruled
from app.rules import Decision
from app.store import abilities, accounts, rules, watches
from app.store.told import completed
from app.style import PARTS, Shape, Style, StyleRefused, from_json, kept, to_json
from app.tables import WatchRow
from app.watch import Episode, Ids, Movie, Show, Watch, caption, kind_of
from app.web.bridge import Bridge, TheBridge
from app.web.pages import show
from app.web.session import Form, Person, TheForm, ThePerson, text_of

router = APIRouter()

HERE = "/settings/posts"
# Told where nothing was watched yet.
EXAMPLES = (
    Watch(
        "trakt",
        "3373536619",
        datetime(2026, 11, 20, 20, 14, tzinfo=UTC),
        Movie("Dune", 2021, Ids(trakt=287071, slug="dune-2021", imdb="tt1160419", tmdb=438631)),
    ),
    Watch(
        "trakt",
        "3373536620",
        datetime(2026, 11, 21, 21, 30, tzinfo=UTC),
        Episode(
            Show("Severance", 2022, Ids(slug="severance", imdb="tt11280740", tmdb=95396)),
            1,
            2,
            "Half Loop",
            Ids(),
        ),
    ),
)
SWITCHES = ("hide_titles", "tell_rewatch", "tell_rating", "tell_note")


@dataclass(frozen=True, slots=True)
class Preview:
    """One watch as its post would tell of it; ``problem`` says why it cannot be told.

    ``ruled`` is what the person's rules say of it. ``text`` is the content as a page shows it,
    ``sent`` the request as it would leave, ``is_form`` in which form; ``other`` says the same in
    the other form, None where that cannot be. ``known`` is what each variable holds.
    """

    caption: str
    is_example: bool
    problem: str | None = None
    ruled: str | None = None
    text: Markup | str = ""
    properties: Mf2 | None = None
    sent: str = ""
    is_form: bool = False
    other: str | None = None
    known: Mapping[str, Any] = field(default_factory=dict)


@router.get(HERE)
async def style(request: Request, bridge: TheBridge, person: ThePerson) -> Response:
    """Show how the person's posts look, and how to change that."""
    return await page(request, bridge, person, to_json(kept(person.account.style)))


async def page(
    request: Request,
    bridge: Bridge,
    person: Person,
    data: Mapping[str, Any],
    *,
    unsaved: str | None = None,
    preset: str | None = None,
) -> Response:
    """Return the page with this style in its fields, what is wrong beside them, and previews."""
    try:
        chosen, problems = from_json(data), {}
    except StyleRefused as refused:
        chosen, problems = None, refused.problems
    recognised = suggested(abilities.of(person.site).server)
    return show(
        request,
        bridge,
        person,
        "style.html",
        # What is asked to be shown is shown, wrong or not; only what shall be kept can be refused.
        400 if problems and unsaved is None else 200,
        style=data,
        problems=problems,
        unsaved=unsaved,
        previews=await previews(bridge, person, chosen) if chosen else [],
        presets=PRESETS.values(),
        suggested=recognised,
        preset=recognised.name if preset is None and recognised else preset,
        languages={str(language): speech.name for language, speech in SPEECH.items()},
        usual=usual(chosen or Style()),
        longest=wording.LONGEST,
    )


def usual(style: Style) -> dict[str, str]:
    """Return the templates that an empty field stands for."""
    return {
        "summary": wording.default_summary(style.language),
        "content": wording.default_content(style.language, html=style.html),
        "slug": "watch",
    }


@router.post(HERE)
async def change(request: Request, bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Save what was typed, or show what would come of it; only “Save” saves."""
    data, wanted = typed(form), text_of(form, "do")
    if wanted == "reset":
        return await page(request, bridge, person, to_json(Style()), unsaved="reset")
    if wanted != "save":
        name = text_of(form, "preset")
        preset = PRESETS.get(name)
        if preset and wanted == "preset":
            content = "html" if preset.html else "text"
            data |= {"shape": str(preset.shape), "content": content}
        return await page(request, bridge, person, data, unsaved="preview", preset=name)
    try:
        chosen = from_json(data)
    except StyleRefused:
        return await page(request, bridge, person, data)
    async with bridge.database.writing() as writing:
        await accounts.set_style(writing, person.id, to_json(chosen))
    return RedirectResponse(f"{HERE}?said=style-saved", status_code=303)


def typed(form: Form) -> dict[str, Any]:
    """Return a style as somebody filled it into the form, right or wrong."""
    names = [line.strip() for line in form.get("hide_titles_of", "").splitlines()]
    return {
        **{name: text_of(form, name) for name in ("shape", "content", "language", "posters")},
        **{
            kind: {part: text_of(form, f"{kind}.{part}") for part in PARTS}
            for kind in ("film", "episode")
        },
        **{name: name in form for name in SWITCHES},
        "hide_titles_of": [name for name in names if name],
    }


async def previews(bridge: Bridge, person: Person, style: Style) -> list[Preview]:
    """Return the person's last film and last episode as their posts would be."""
    bare = Telling(zone(person.account.timezone) or UTC, style=style)
    async with bridge.database.reading() as reading:
        rows = await watches.last_of_each(reading, person.id)
        asked = [(row, bare) for row in rows.values()]
        told = await completed(reading, asked, bridge.settings.base_url)
    tellings = dict(zip(rows, told, strict=True))
    return [
        preview(person, example, rows.get(kind), tellings.get(kind, bare))
        for example in EXAMPLES
        for kind in [kind_of(example.work)]
    ]


def preview(person: Person, example: Watch, row: WatchRow | None, telling: Telling) -> Preview:
    """Return a watch as its post would be; ``example`` where the person has watched none."""
    watch = (watches.watch_of(row) if row else None) or example
    bare = Preview(caption(watch.work), is_example=row is None)
    try:
        decision = Decision()
        if row and person.account.rules:
            decision = rules.decided(person.account, row, again=telling.again)
            bare = replace(bare, ruled=f"{decision.said}.")
        telling = ruled(telling, decision, person.site)
        properties = hentry(watch, telling)["properties"]
    except ValueError as error:
        return replace(bare, problem=str(error))
    return replace(
        bare,
        text=readable(properties["content"][0]),
        properties=properties,
        sent=body(watch, telling)[0],
        is_form=telling.style.shape is Shape.FORM,
        other=otherwise(watch, telling),
        known=known(watch, telling),
    )


def readable(content: str | Mf2) -> Markup | str:
    """Return a content as a page of ours can show it."""
    from app.web.harmless import harmless  # noqa: PLC0415 - its parser takes 5 MB

    return content if isinstance(content, str) else harmless(content["html"])


def otherwise(watch: Watch, telling: Telling) -> str | None:
    """Return the same post in the form in which it is not sent; HTML fits into no form."""
    if telling.style.html:
        return None
    is_form = telling.style.shape is Shape.FORM
    shape = Shape.NESTED if is_form else Shape.FORM
    return body(watch, replace(telling, style=replace(telling.style, shape=shape)))[0]
