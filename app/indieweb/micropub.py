"""Creating a post (Micropub §3.3), and what each kind of answer tells us we know."""

import json
from datetime import timedelta
from typing import Any

import httpx2

from app.errors import (
    AddressBlocked,
    AnswerLost,
    NeverSent,
    SiteBusy,
    SiteError,
    SiteLocked,
    SiteMoved,
    SiteRefused,
    SiteSilent,
)
from app.hentry import content_type
from app.http import MIB, caps, date_of, retry_after

SIGN_IN = "sign in again to give the bridge a new key"
# What an answer that is no success means (Micropub §3.8, RFC 6750 §3.1, and how servers behave).
Reaction = tuple[type[SiteError], str]
REACTIONS: dict[int, Reaction] = {
    401: (SiteLocked, f"it no longer accepts our key; {SIGN_IN}"),
    403: (SiteLocked, f"it no longer accepts our key; {SIGN_IN}"),
    404: (SiteMoved, "its Micropub endpoint is not there any more"),
    405: (SiteMoved, "its Micropub endpoint is not there any more"),
    408: (SiteSilent, "it gave up waiting for the whole post"),
    410: (SiteMoved, "its Micropub endpoint is not there any more"),
    429: (SiteBusy, "it asks us to slow down"),
}
BROKEN: Reaction = (SiteSilent, "something broke there, maybe after the post was saved")
BY_HUNDRED: dict[int, Reaction] = {
    3: (SiteMoved, "its Micropub endpoint sends us elsewhere"),
    4: (SiteRefused, "it does not accept this post"),
    5: BROKEN,
}
# What each error means where another status carries it (Micropub §3.8.1, RFC 6750 §3.1).
STATUS_OF = {"unauthorized": 401, "invalid_token": 401, "forbidden": 403, "insufficient_scope": 403}


async def create(
    client: httpx2.AsyncClient,
    endpoint: str,
    access_token: str,
    body: str,
    deadline: timedelta,
) -> httpx2.Response:
    """Send ``body`` as what it is and return the answer; `created` says what it means.

    No redirect is followed.

    Raises:
        SiteBusy: nothing left us.
        SiteRefused: the endpoint's address is one that we never contact.
        SiteSilent: the post may exist.

    """
    try:
        return await client.post(
            endpoint,
            content=body.encode(),
            headers={
                "Authorization": f"Bearer {access_token}",
                "Content-Type": content_type(body),
                "Accept": "application/json",
            },
            extensions=caps(MIB, deadline),
        )
    except AddressBlocked as error:
        raise SiteRefused(f"The Micropub endpoint was not contacted: {error}.") from error
    except NeverSent as error:
        raise SiteBusy(f"{error}. Nothing was sent; the bridge tries again.") from error
    except AnswerLost as error:
        raise SiteSilent(f"The post was sent, but {error}.") from error


def created(response: httpx2.Response) -> str | None:
    """Return the URL of the new post, None when the site took it without saying where.

    Raises:
        SiteBusy, SiteLocked, SiteMoved, SiteRefused: nothing was written.
        SiteSilent: nobody knows.

    """
    status = response.status_code
    if status in {201, 202} and (url := location(response)):
        return url
    if trouble := said_error(response):
        raise refusal(*trouble, response)
    if status not in {200, 201, 202, 204}:
        raise refusal(status, "", response)
    # A success may say nothing more; a web page in its place says that something came between.
    if response.content.strip() and parsed(response) is None:
        raise SiteSilent(
            "The site answered with a web page where a Micropub answer was due; "
            "a login page or a firewall may have come between."
        )
    return None


def refusal(status: int, word: str, response: httpx2.Response) -> SiteError:
    """Return what an answer that is no success means for us."""
    wait = retry_after(response, date_of(response))
    leaf, meaning = REACTIONS.get(status) or BY_HUNDRED.get(status // 100, BROKEN)
    if word == "insufficient_scope":
        leaf, meaning = SiteLocked, f"the key does not allow that; {SIGN_IN}"
    elif status == 503 and wait is not None:
        # Only together does a convention say that nothing was written.
        leaf, meaning = SiteBusy, "it asks us to come back later"
    said = f"The site answered {status}{f' ({word})' if word else ''}: {meaning}."
    return SiteBusy(said, wait) if leaf is SiteBusy else leaf(said)


def said_error(response: httpx2.Response) -> tuple[int, str] | None:
    """Return status and word of a JSON error, whatever status carries it.

    WordPress answers some errors with 200 and ``{"data": {"error": …}, "status": 400}``, and
    names others in ``code``.
    """
    data = parsed(response)
    if not isinstance(data, dict):
        return None
    inner = data["data"] if isinstance(data.get("data"), dict) else {}
    word = data.get("error") or inner.get("error")
    if not word and not response.is_success:
        word = data.get("code")
    if not isinstance(word, str) or not word:
        return None
    status = data.get("status") if response.is_success else response.status_code
    if not isinstance(status, int) or not 300 <= status < 600:
        status = STATUS_OF.get(word, 400)
    return status, "".join(c for c in word[:60] if c.isascii() and c.isprintable())


def parsed(response: httpx2.Response) -> Any:  # noqa: ANN401 - any JSON
    """Return the JSON of an answer, None when it is none."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None


def location(response: httpx2.Response) -> str | None:
    """Return the URL the site gave the post, made absolute; None for anything but http(s)."""
    value = response.headers.get("Location", "").strip()
    try:
        url = response.url.join(value) if value else None
    except httpx2.InvalidURL:
        return None
    return str(url) if url and url.scheme in {"http", "https"} and url.host else None
