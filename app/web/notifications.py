"""Where a person wants to be told: the page of their addresses, and what its buttons do."""

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession

from app.notify import MOST_ADDRESSES, SERVICES, NotOffered, chosen, label
from app.store import notices
from app.web import admission
from app.web.bridge import Bridge, TheBridge
from app.web.pages import show
from app.web.session import Person, TheForm, ThePerson, text_of

router = APIRouter()

HERE = "/settings/notifications"

# An address, as it is shown, and whether its service took the test message.
Tested = tuple[str, bool]


@router.get(HERE)
async def notifications(request: Request, bridge: TheBridge, person: ThePerson) -> Response:
    """Show where the person is told, and how to choose."""
    return await page(request, bridge, person)


async def page(
    request: Request,
    bridge: Bridge,
    person: Person,
    problem: str | None = None,
    tested: list[Tested] | None = None,
) -> Response:
    """Return the page, with what is wrong beside its field, or with what a test has shown."""
    async with bridge.database.reading() as reading:
        urls = await notices.addresses(reading, person.id, bridge.vault)
        owns = await admission.is_owner(reading, bridge.settings, person.account.me)
    return show(
        request,
        bridge,
        person,
        "notifications.html",
        400 if problem else 200,
        labels=[label(url) for url in urls or ()],
        is_lost=urls is None,
        has_operator=bool(bridge.settings.notify_urls),
        owns=owns,
        has_room=len(urls or ()) < MOST_ADDRESSES,
        most=MOST_ADDRESSES,
        services=SERVICES,
        problem=problem,
        tested=tested,
    )


@router.post(HERE)
async def add(request: Request, bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Add an address."""
    try:
        url = chosen(text_of(form, "address"), bridge.settings.allow_private_networks)
        async with bridge.database.writing() as writing:
            await join(writing, bridge, person.id, url)
    except NotOffered as error:
        return await page(request, bridge, person, problem=str(error))
    return RedirectResponse(f"{HERE}?said=saved", status_code=303)


async def join(writing: AsyncSession, bridge: Bridge, account_id: int, url: str) -> None:
    """Put an address to those of an account. Raises NotOffered."""
    urls = await notices.addresses(writing, account_id, bridge.vault, lock=True) or []
    if url in urls:
        raise NotOffered("You have added that one already.")
    if len(urls) >= MOST_ADDRESSES:
        raise NotOffered(f"There is room for {MOST_ADDRESSES}. Remove one first.")
    await notices.set_addresses(writing, account_id, [*urls, url], bridge.vault)


@router.post(f"{HERE}/remove")
async def remove(bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Forget an address, by the way it is shown."""
    which = text_of(form, "address")
    async with bridge.database.writing() as writing:
        urls = await notices.addresses(writing, person.id, bridge.vault, lock=True) or []
        kept = [url for url in urls if label(url) != which]
        await notices.set_addresses(writing, person.id, kept, bridge.vault)
    return RedirectResponse(f"{HERE}?said=saved", status_code=303)


@router.post(f"{HERE}/test")
async def test(request: Request, bridge: TheBridge, person: ThePerson, form: TheForm) -> Response:
    """Send a test message to each address, and say of each whether its service took it.

    For whoever runs the bridge also to those of `NOTIFY_URLS`, which no page shows.
    """
    del form
    async with bridge.database.reading() as reading:
        urls = await notices.addresses(reading, person.id, bridge.vault) or []
        owns = await admission.is_owner(reading, bridge.settings, person.account.me)
    taken = await asyncio.gather(*(bridge.notifier.test(url) for url in urls))
    tested = list(zip(map(label, urls), taken, strict=True))
    if owns:
        operators = await bridge.notifier.test_operators()
        tested += [
            (f"Address {n} of NOTIFY_URLS", is_taken) for n, is_taken in enumerate(operators, 1)
        ]
    return await page(request, bridge, person, tested=tested)


@router.get(f"{HERE}/remove")
@router.get(f"{HERE}/test")
async def back() -> Response:
    """Lead those who reload a page that a form has answered to where the form is."""
    return RedirectResponse(HERE, status_code=303)
