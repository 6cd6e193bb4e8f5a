"""What a Micropub endpoint says of itself (Micropub §3.7.1), and of one post (§3.7.2)."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx2

from app.errors import SiteUnlisted
from app.indieweb.micropub import parsed
from app.indieweb.source import asked, queried, refusal


async def config(
    client: httpx2.AsyncClient, endpoint: str, access_token: str, deadline: timedelta
) -> dict[str, Any]:
    """Return the answer to ``q=config``; a refusal, a web page or other nonsense counts as empty.

    Raises:
        SiteBusy, SiteLocked, SiteRefused: it gave none.

    """
    response = await queried(client, endpoint, access_token, {"q": "config"}, deadline)
    trouble = refusal(response)
    if trouble and not isinstance(trouble, SiteUnlisted) and not response.is_success:
        raise trouble
    answer = parsed(response)
    return answer if isinstance(answer, dict) and trouble is None else {}


async def properties(
    client: httpx2.AsyncClient, endpoint: str, access_token: str, url: str, deadline: timedelta
) -> Mapping[str, Any] | None:
    """Return the properties of the post at ``url``; None where the endpoint tells of none.

    Raises:
        SiteBusy, SiteLocked, SiteRefused: it was not asked.

    """
    try:
        answer = await asked(client, endpoint, access_token, {"q": "source", "url": url}, deadline)
    except SiteUnlisted:
        return None
    found = answer.get("properties") if isinstance(answer, dict) else None
    return found if isinstance(found, dict) and found else None
