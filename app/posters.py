"""Posters: fetched from Trakt, which lets no website show them, and kept here or left at the site.

All of it is over before a post begins to be sent, so nothing that happens to a picture can send a
post twice. A post waits for its picture once and never for long; without it, it leaves as it is.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from urllib.parse import urlsplit

import httpx2
import structlog

from app.abilities import read_config
from app.database import Database
from app.errors import BridgeError, FetchError, PictureError
from app.http import caps
from app.indieweb import media
from app.indieweb.config import config
from app.learn import Learner
from app.picture import LARGEST, Picture, picture_in
from app.store import posters
from app.store.posters import Wanted
from app.tables import SiteRow
from app.waits import Waits

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Fetching:
    """A picture that is noted as being fetched; its site sends nothing meanwhile."""

    wanted: Wanted
    site: SiteRow = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pictures:
    """Gets the pictures that posts wait for."""

    database: Database
    http: httpx2.AsyncClient
    learner: Learner
    now: Callable[[], datetime]
    waits: Waits
    api_url: str

    async def get(self, errand: Fetching) -> None:
        """Get one picture, or note why it cannot be had; either way its post may leave now."""
        wanted, site = errand.wanted, errand.site
        picture, url, trouble = None, None, None
        try:
            async with asyncio.timeout(self.waits.poster_turn.total_seconds()):
                picture = await fetched(self.http, wanted.source, self.api_url)
                url = await self.left_at(site, picture, wanted) if wanted.uploads else None
        except TimeoutError:
            trouble = "it took too long"
        except BridgeError as error:
            trouble = str(error).removesuffix(".")
        log.info("poster", account=site.account_id, trouble=trouble)
        async with self.database.writing() as session:
            await posters.settle(session, wanted, self.now(), picture, url, trouble)

    async def left_at(self, site: SiteRow, picture: Picture, wanted: Wanted) -> str:
        """Leave a picture at the site; return where it is. Raises a `BridgeError`."""
        answer = await self.learner.asked(site, partial(config, self.http, site.micropub))
        endpoint = read_config(answer, site.micropub).media_endpoint
        if endpoint is None:
            raise PictureError("your site names no media endpoint, so it takes no pictures")
        token, name = await self.learner.keys.token(site), f"poster-{wanted.key}"
        deadline = self.waits.send_deadline
        return await media.upload(self.http, endpoint, token, picture, name, deadline)


async def fetched(http: httpx2.AsyncClient, source: str, api_url: str) -> Picture:
    """Return a picture of Trakt. Raises PictureError."""
    try:
        answer = await http.get(address(source, api_url), extensions=caps(LARGEST))
    except (FetchError, httpx2.InvalidURL) as error:
        raise PictureError(f"Trakt’s picture could not be fetched: {error}") from error
    picture = picture_in(answer.content) if answer.is_success else None
    if picture is None:
        raise PictureError(
            f"Trakt answered {answer.status_code}, and with no picture that a post can show"
        )
    return picture


def address(source: str, api_url: str) -> str:
    """Return where to fetch a picture: the Trakt of a demo may have no TLS."""
    parts, api = urlsplit(source), urlsplit(api_url)
    return parts._replace(scheme=api.scheme).geturl() if parts.netloc == api.netloc else source
