"""What the person's website can do: the page of findings, and the person's own word on them."""

from datetime import UTC
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app.abilities import Abilities, Ability, How, Server, overruled
from app.errors import SignInError, SiteError
from app.hentry import zone
from app.presets import suggested
from app.store import abilities, trials
from app.style import Shape, Style, StyleRefused, from_json
from app.trial import Asks, asks, body_of
from app.web.bridge import Bridge, TheBridge
from app.web.pages import show
from app.web.session import Form, Person, TheForm, ThePerson, text_of

router = APIRouter()

HERE = "/settings/site"

# ability → (what it is called, what it is good for)
WORDS: dict[Ability, tuple[str, str]] = {
    Ability.JSON: ("Takes posts as JSON", "The usual way; the other one is a form."),
    Ability.NESTED: (
        "Keeps what was watched as data",
        "Title, year and ids stay in the post, not only its text.",
    ),
    Ability.SLUG: (
        "Gives posts the address that is asked for",
        "Each post asks for one of its own, by which it can be found again.",
    ),
    Ability.DATE: ("Keeps the date of a watch", "Otherwise posts are dated when they arrive."),
    Ability.DRAFTS: ("Keeps drafts", "A draft is seen by you alone until you publish it."),
    Ability.VISIBILITY: (
        "Knows unlisted and private posts",
        "Posts that are in no list, or for you alone.",
    ),
    Ability.LIST: (
        "Lists its posts to the bridge",
        "So the bridge can prove that a post is missing.",
    ),
    Ability.SOURCE: (
        "Shows a single post to the bridge",
        "So the bridge can see what became of it.",
    ),
    Ability.UPDATE: ("Lets posts be changed", "For corrections that come later."),
    Ability.DELETE: ("Lets posts be deleted", "The bridge deletes only test posts, by a button."),
    Ability.MEDIA: ("Takes pictures", "For posters, if you want them on your site."),
    Ability.TARGETS: (
        "Passes posts on",
        "To Mastodon and other places, from where people follow you.",
    ),
}
HOW: dict[How, str] = {
    How.KIND: "as servers of this kind do",
    How.CONFIG: "it says so itself",
    How.POST: "seen on your site",
    How.TEST: "seen in a test post",
    How.PERSON: "you say so",
}
SERVERS: dict[Server, str] = {
    Server.WORDPRESS: "WordPress",
    Server.INDIEKIT: "Indiekit",
    Server.MICRO_BLOG: "Micro.blog",
    Server.KNOWN: "Known",
    Server.DRUPAL: "Drupal",
    Server.MICROBLOG_PUB: "microblog.pub",
    Server.DJANGO: "django-indieweb",
}
HIDING = {Asks.DRAFT: Ability.DRAFTS, Asks.PRIVATE: Ability.VISIBILITY}
ANSWERS = {"": None, "yes": True, "no": False}


@router.get(HERE)
async def findings(request: Request, bridge: TheBridge, person: ThePerson) -> Response:
    """Show what is known, and how."""
    return page(request, bridge, person)


def page(request: Request, bridge: Bridge, person: Person, problem: str | None = None) -> Response:
    """Return the page, with what went wrong when the site was asked."""
    known = abilities.of(person.site)
    return show(
        request,
        bridge,
        person,
        "abilities.html",
        known=known,
        server=SERVERS.get(known.server),
        preset=suggested(known.server),
        style=style_of(person),
        words=WORDS,
        how=HOW,
        takes_json=known.can(Ability.JSON),
        problem=problem,
        trial=trials.of(person.site, bridge.now()),
        **next_test(bridge, person, known),
    )


def next_test(bridge: Bridge, person: Person, known: Abilities) -> dict[str, Any]:
    """Return the test post that would be sent now, and who would see it."""
    style, hides = style_of(person), asks(known)
    at = bridge.now().astimezone(zone(person.account.timezone) or UTC)
    return {
        "next_body": body_of(known, style, at, as_form=style.shape is Shape.FORM),
        "hides": hides,
        "hidden": known.finding(HIDING[hides]) if hides in HIDING else None,
        "may_delete": "delete" in person.site.scope.split(),
    }


def style_of(person: Person) -> Style:
    """Return how the person's posts look; a style that is damaged is as at first."""
    try:
        return from_json(person.account.style)
    except StyleRefused:
        return Style()


@router.post(f"{HERE}/ask")
async def ask(request: Request, bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Ask the site now what it can do."""
    del form
    try:
        await bridge.learner.ask(person.site)
    except SiteError as error:
        return page(request, bridge, person, str(error))
    return RedirectResponse(f"{HERE}?said=asked", status_code=303)


@router.post(HERE)
async def overrule(bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Save what the person says."""
    said, now = {ability: answer(form, ability) for ability in Ability}, bridge.now()
    async with bridge.database.writing() as writing:
        await abilities.change(
            writing,
            person.id,
            person.site.micropub,
            lambda known: overruled(known, said, now),
        )
    return RedirectResponse(f"{HERE}?said=saved", status_code=303)


def answer(form: Form, ability: Ability) -> bool | None:
    """Return what the person says of an ability; None: nothing."""
    typed = text_of(form, ability)
    if typed not in ANSWERS:
        raise SignInError("malformed")
    return ANSWERS[typed]


@router.get(f"{HERE}/ask")
async def back() -> Response:
    """Lead those who reload a page that a form has answered to where the form is."""
    return RedirectResponse(HERE, status_code=303)
