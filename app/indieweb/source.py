"""What a site holds, as its Micropub endpoint tells it (Micropub §3.7.2, and the list extension).

Servers differ: some list without URLs, some give ten at a time whatever is asked, some turn
pages by ``offset`` and some by ``after``, some want the scope ``update``, and some have no list.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx2

from app.errors import (
    AddressBlocked,
    FetchError,
    SiteBusy,
    SiteError,
    SiteLocked,
    SiteRefused,
    SiteUnlisted,
)
from app.http import MIB, caps, date_of, retry_after
from app.indieweb.micropub import parsed, said_error
from app.lookup import Cursor, Entry, read_entry

PAGE = 100
LARGEST_LIST = 16 * MIB
LONGEST_MARK = 2000
# With one of these a server counts pages rather than marking them.
COUNTED = frozenset({"limit", "offset", "total"})


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a list. ``follows`` is None where the server itself says that it is the last."""

    entries: tuple[Entry, ...]
    follows: Cursor | None


async def listed(
    client: httpx2.AsyncClient,
    endpoint: str,
    access_token: str,
    cursor: Cursor | None,
    deadline: timedelta,
) -> Listed:
    """Return one page of what the site holds; an empty one is beyond the end.

    Raises:
        SiteUnlisted: it has no list, or not for this token.
        SiteLocked: the token is not accepted.
        SiteBusy: ask again later.
        SiteRefused: the endpoint's address is one that we never contact.

    """
    query = {"q": "source", "limit": str(PAGE)}
    if isinstance(cursor, str):
        query["after"] = cursor
    elif cursor:
        query["offset"] = str(cursor)
    data = await asked(client, endpoint, access_token, query, deadline)
    items = data.get("items") if isinstance(data, dict) else None
    if not isinstance(items, list):
        raise SiteUnlisted("Your site does not list its posts.")
    entries = tuple(entry for item in items if (entry := read_entry(item)))
    return Listed(entries, following(data.get("paging"), cursor, len(items)))


def following(paging: object, cursor: Cursor | None, number: int) -> Cursor | None:
    """Return where the next page begins, None where there is none.

    A server that turns pages by marks is at its end when it gives none; one that says nothing
    of pages, or counts them, is asked further by ``offset``.

    Raises:
        SiteUnlisted: the mark is none that can be sent.

    """
    if not isinstance(paging, dict):
        return None if isinstance(cursor, str) else (cursor or 0) + number
    if isinstance(after := paging.get("after"), str) and after:
        if len(after) > LONGEST_MARK or not after.isprintable():
            raise SiteUnlisted("Your site lists its posts in a way that cannot be followed.")
        return after
    if isinstance(cursor, str) or COUNTED.isdisjoint(paging):
        return None
    return (cursor or 0) + number


async def source(
    client: httpx2.AsyncClient, endpoint: str, access_token: str, url: str, deadline: timedelta
) -> Entry | None:
    """Return the post at ``url``; None where the site does not tell of one. Raises `SiteError`."""
    query = {"q": "source", "url": url}
    try:
        data = await asked(client, endpoint, access_token, query, deadline)
    except SiteUnlisted:
        return None
    found = read_entry(data)
    return found and replace(found, url=url)


async def asked(
    client: httpx2.AsyncClient,
    endpoint: str,
    access_token: str,
    query: dict[str, str],
    deadline: timedelta,
) -> Any:  # noqa: ANN401 - any JSON
    """Return the JSON with which an endpoint answers a query. Raises `SiteError`."""
    response = await queried(client, endpoint, access_token, query, deadline)
    if trouble := refusal(response):
        raise trouble
    return parsed(response)


async def queried(
    client: httpx2.AsyncClient,
    endpoint: str,
    access_token: str,
    query: dict[str, str],
    deadline: timedelta,
) -> httpx2.Response:
    """Return the answer of an endpoint to a query. Raises SiteBusy or SiteRefused."""
    try:
        return await client.get(
            httpx2.URL(endpoint).copy_merge_params(query),
            headers={"Authorization": f"Bearer {access_token}", "Accept": "application/json"},
            extensions=caps(LARGEST_LIST, deadline),
        )
    except AddressBlocked as error:
        raise SiteRefused(f"The Micropub endpoint was not contacted: {error}.") from error
    except FetchError as error:
        raise SiteBusy(f"Your site could not be read: {error}.") from error


def refusal(response: httpx2.Response) -> SiteError | None:
    """Return what an answer to a query means, None for one that may hold what we asked for."""
    status, word = said_error(response) or (response.status_code, "")
    if status == 401 and word != "insufficient_scope":
        return SiteLocked("Your site no longer accepts our key; sign in again to give a new one.")
    if status == 429 or status >= 500:
        wait = retry_after(response, date_of(response))
        return SiteBusy(f"Your site could not be read just now ({status}).", wait)
    if status >= 300 or word:
        return SiteUnlisted("Your site does not list its posts to the bridge.")
    if parsed(response) is None:
        # A firewall's page may stand there once; a server without a list shows it every time.
        return SiteBusy("Your site answered with a web page where its list of posts was due.")
    return None
