"""Leaving a picture at a site's media endpoint (Micropub §3.6)."""

from datetime import timedelta
from urllib.parse import unquote

import httpx2

from app.errors import FetchError, PictureError
from app.http import MIB, caps
from app.indieweb.micropub import location
from app.picture import ENDINGS, Picture


async def upload(
    client: httpx2.AsyncClient,
    endpoint: str,
    access_token: str,
    picture: Picture,
    name: str,
    deadline: timedelta,
) -> str:
    """Leave a picture there and return its URL. Raises PictureError."""
    kind = picture.media_type
    try:
        answer = await client.post(
            endpoint,
            files={"file": (f"{name}.{ENDINGS[kind]}", picture.data, kind)},
            headers={"Authorization": f"Bearer {access_token}", "Accept": "application/json"},
            extensions=caps(MIB, deadline),
        )
    except FetchError as error:
        raise PictureError(f"it could not be left at your site: {error}") from error
    url = location(answer) if answer.is_success else None
    # What stands in a post is for everyone to read.
    if url is None or access_token in unquote(url):
        raise PictureError(f"your site’s media endpoint answered {answer.status_code}")
    return url
