"""The pictures that posts link to, for everyone who reads them."""

import structlog
from fastapi import APIRouter, HTTPException, Response

from app.errors import PictureError
from app.picture import Picture, media_type
from app.posters import fetched
from app.store import posters
from app.web.bridge import Bridge, TheBridge

router = APIRouter()
log = structlog.get_logger()

HEADERS = {
    "Cache-Control": "public, max-age=604800",
    # Other websites show them: that is what they are for.
    "Cross-Origin-Resource-Policy": "cross-origin",
}


@router.get("/posters/{name}")
async def poster(bridge: TheBridge, name: str) -> Response:
    """Show a picture, whatever ending it is asked for with."""
    key = name.partition(".")[0]
    # PostgreSQL cannot be asked for every sign.
    if not key.isalnum():
        raise HTTPException(404)
    async with bridge.database.reading() as reading:
        found = await posters.by_key(reading, key)
    if found is None:
        raise HTTPException(404)
    row, data = found
    if data is None:
        data = (await fetched_again(bridge, key, row.source)).data
    return Response(data, media_type=media_type(data), headers=HEADERS)


async def fetched_again(bridge: Bridge, key: str, source: str) -> Picture:
    """Return a picture that had to make room for others. Raises HTTPException."""
    async with bridge.database.writing() as writing:
        if not await posters.again(writing, key, bridge.now()):
            raise HTTPException(404)
    try:
        picture = await fetched(bridge.http, source, bridge.settings.trakt_api_url)
    except PictureError as error:
        log.info("poster", trouble=str(error))
        raise HTTPException(404) from error
    async with bridge.database.writing() as writing:
        if found := await posters.by_key(writing, key):
            await posters.keep(writing, found[0], picture, bridge.now())
    return picture
