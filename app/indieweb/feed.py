"""What a site holds, as its pages show it: an h-feed, page by page along ``rel=next``."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import httpx2

from app.errors import FetchError, SignInError, SiteBusy
from app.indieweb.discovery import PAGE, fetched
from app.indieweb.rels import apart
from app.lookup import Entry


@dataclass(frozen=True, slots=True)
class FeedPage:
    """The posts on one page, and the address of the next one, if there is one."""

    entries: tuple[Entry, ...]
    follows: str | None


async def feed_page(client: httpx2.AsyncClient, url: str, deadline: timedelta) -> FeedPage:
    """Return the posts that the page at ``url`` shows. Raises `SiteBusy`."""
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            seen, response = await fetched(client, url, PAGE)
    except (FetchError, SignInError, TimeoutError) as error:
        raise SiteBusy(f"The pages of your site could not be read: {error}") from error
    return await apart(read_feed, seen[-1], response)


def read_feed(url: str, response: httpx2.Response) -> FeedPage:
    """Read one page. Slow: call it in a thread. Never raises."""
    from app.indieweb import hfeed  # noqa: PLC0415 - parsers take 10 MB; an idle bridge needs none

    return FeedPage(*hfeed.read(url, response))
