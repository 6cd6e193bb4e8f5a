"""Trakt, over the guarded client: OAuth at its own host, and the reads that a poll needs."""

import asyncio
import json
import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import httpx2
import structlog

from app.diff import Kind, Read, Target, Watched
from app.errors import (
    AnswerBroken,
    AnswerTooLarge,
    FetchError,
    SourceBusy,
    SourceClosed,
    SourceError,
    SourceGarbled,
    SourceLocked,
    TokenRefused,
)
from app.grants import Pair, expiry
from app.http import MIB, caps, date_of, retry_after, without_keys
from app.oauth import Registration, authorization_url, revoke_request, token_request
from app.opinion import Kind as OpinionKind
from app.opinion import Opinion
from app.sources.budget import Budget
from app.sources.trakt_history import (
    LARGEST_ID,
    SOURCE,
    number,
    part,
    read_item,
    read_watched,
    trimmed,
    words,
)
from app.sources.trakt_opinions import PATHS, STAMPS, read_opinion
from app.watch import Person, Stamps, Watch

log = structlog.get_logger()

PAGE = 250
# What RFC 6750 §2.1 lets a token be made of, generously.
TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
LARGEST_ANSWER = 4 * MIB
# A page of plays with all that Trakt knows of their titles, most of it overviews.
LARGEST_PAGE = 16 * MIB
# A map holds every play there is, in this much those of nearly everybody; a larger answer is read
# by no more than a few at a time.
USUAL_MAP = MIB
LARGEST_MAP = 64 * MIB
MAPS_AT_A_TIME = 2
# The most ratings that Trakt keeps, all at once.
LARGEST_LIST = 16 * MIB
# Somebody may mend the app at any time; each connection waits longer by itself.
CLOSED = timedelta(minutes=5)
# Cloudflare blocks for long, and asking again makes it longer.
BLOCKED = timedelta(hours=1)
NEEDS_VIP = (
    "Trakt refuses this app. Since 2026-07-31 creating a Trakt API app needs Trakt VIP, and apps "
    "of free users were deleted. Check the app at https://trakt.tv/oauth/applications"
)


class SourceUnaware(SourceGarbled):
    """Trakt knows nothing by this name: a title that was deleted, hidden or merged, perhaps."""


# What an answer of the API means that asking again does not change.
REACTIONS: dict[int, tuple[type[SourceError], str]] = {
    404: (SourceUnaware, "Trakt answered 404, which we did not expect"),
    401: (TokenRefused, "Trakt no longer accepts our key"),
    403: (SourceClosed, NEEDS_VIP),
    423: (SourceLocked, "Trakt says that this Trakt account is locked or deactivated"),
    426: (SourceClosed, NEEDS_VIP),
}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the history: what it says, and each item as far as it is kept."""

    read: tuple[Read, ...]
    number: int
    of: int
    total: int | None
    limit: int
    now: datetime | None

    @property
    def is_last(self) -> bool:
        """Whether no page follows. Counts lag and pages run short: both signs must say so.

        What counts as full is what Trakt says: it clamps the limit we ask for.
        """
        return self.number >= self.of and len(self.read) < self.limit


@dataclass(frozen=True, slots=True)
class Opinions:
    """One page of what a person said of films or episodes, without what is not to be told."""

    said: tuple[Opinion, ...]
    is_last: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """How many plays Trakt itself counts; known to lag behind."""

    movies: int
    episodes: int


@dataclass(frozen=True, slots=True)
class Trakt:
    """One Trakt app and the client to reach Trakt with."""

    http: httpx2.AsyncClient
    # With a fresh connection each time: for OAuth calls, which cannot be repeated, and for what is.
    auth: httpx2.AsyncClient
    budget: Budget
    api_url: str
    auth_url: str
    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    deadline: timedelta
    maps: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAPS_AT_A_TIME))

    @property
    def registration(self) -> Registration:
        """How Trakt knows us: JSON bodies, and a secret only where there is one."""
        return Registration(self.client_id, self.client_secret or None, as_json=True)

    def authorize_url(self, state: str, verifier: str) -> str:
        """Return where to send a person who wants to connect (RFC 6749 §4.1.1, RFC 7636)."""
        return authorization_url(
            f"{self.auth_url}/oauth/authorize",
            verifier,
            {"client_id": self.client_id, "redirect_uri": self.redirect_uri, "state": state},
        )

    async def redeem(self, code: str, verifier: str, now: datetime) -> Pair:
        """Return the tokens for an authorization code, which works once.

        Raises:
            SourceLocked: the code was not accepted; the person starts again.
            SourceClosed: Trakt does not know this app.
            SourceBusy: Trakt is out of order.

        """
        grant = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": verifier,
        }
        try:
            return await self.token(grant, now)
        except FetchError as error:
            raise SourceBusy(str(error)) from error

    async def refresh(self, refresh_token: str, now: datetime) -> Pair:
        """Return a new pair; the old refresh token is worth nothing from then on.

        Raises:
            NeverSent: the old one is still good.
            AnswerLost: nobody knows whether it is.
            SourceLocked: it is not, and only the person can mend that.
            SourceBusy, SourceClosed: Trakt said no for now.

        """
        grant = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "redirect_uri": self.redirect_uri,
        }
        return await self.token(grant, now)

    async def token(self, grant: Mapping[str, str], now: datetime) -> Pair:
        """Ask the token endpoint with a JSON body."""
        url = f"{self.auth_url}/oauth/token"
        response = await token_request(self.auth, url, self.registration, grant)
        return read_token(response, now)

    async def revoke(self, access_token: str) -> None:
        """Tell Trakt to forget a token; failing to do so must not keep anyone here."""
        try:
            url = f"{self.auth_url}/oauth/revoke"
            await revoke_request(self.auth, url, self.registration, access_token)
        except FetchError:
            return

    async def person(self, access_token: str) -> Person:
        """Return who a token belongs to. Raises `SourceError`."""
        response, data = await self.get("/users/settings", access_token)
        data = data if isinstance(data, dict) else {}
        user, account = data.get("user"), data.get("account")
        if not isinstance(user, dict) or not isinstance(user.get("ids"), dict):
            raise SourceGarbled("Trakt did not say whose account this is")
        ids = user["ids"]
        # The slug changes when a person renames themselves; it is the last resort.
        key = words(ids.get("uuid")) or str(ids.get("trakt") or "") or words(ids.get("slug"))
        if not key:
            raise SourceGarbled("Trakt did not say whose account this is")
        zone = words(account.get("timezone")) if isinstance(account, dict) else None
        name = words(user.get("username")) or words(user.get("name")) or key
        return Person(
            source=SOURCE, key=key, name=name, timezone=zone or "UTC", now=date_of(response)
        )

    async def stamps(self, access_token: str) -> Stamps:
        """Return when films and episodes last changed. Raises `SourceError`."""
        response, data = await self.get("/sync/last_activities", access_token)
        try:
            movies, episodes = data["movies"]["watched_at"], data["episodes"]["watched_at"]
        except (KeyError, TypeError):
            raise SourceGarbled("Trakt's last_activities names no watched_at") from None
        return Stamps(
            movies=str(movies),
            episodes=str(episodes),
            now=date_of(response),
            opinions=opinion_stamps(data),
        )

    async def history(
        self,
        access_token: str,
        page: int,
        *,
        start_at: datetime | None = None,
        end_at: datetime | None = None,
        patient: bool = False,
    ) -> Page:
        """Return one page of the history, newest first.

        A ``patient`` call leaves a part of the budget to others. Raises `SourceError`.
        """
        query = {}
        if start_at:
            query["start_at"] = trakt_time(start_at)
        if end_at:
            query["end_at"] = trakt_time(end_at)
        return await self.page("/sync/history", access_token, page, query, patient=patient)

    async def history_of(self, access_token: str, target: Target) -> list[Read]:
        """Return all plays of a film, show or episode; none where Trakt does not know it.

        Raises `SourceError`.
        """
        path = f"/sync/history/{target.kind}/{target.id}"
        try:
            pages = [await self.page(path, access_token, 1)]
            while not pages[-1].is_last:
                pages.append(await self.page(path, access_token, pages[-1].number + 1))
        except SourceUnaware:
            return []
        return [read for page in pages for read in page.read]

    async def page(
        self,
        path: str,
        access_token: str,
        page: int,
        query: Mapping[str, str] | None = None,
        *,
        patient: bool = False,
    ) -> Page:
        """Return one page of a list of plays, with genres, ratings and posters.

        Raises `SourceError`.
        """
        asked = {"page": str(page), "limit": str(PAGE), "extended": "full", **(query or {})}
        await self.admit(access_token, patient=patient)
        response = await self.ask(path, access_token, asked, LARGEST_PAGE)
        return Page(
            read=await asyncio.to_thread(lambda: plays(parsed(response))),
            number=page,
            of=counted(response, "X-Pagination-Page-Count") or 0,
            total=counted(response, "X-Pagination-Item-Count"),
            limit=counted(response, "X-Pagination-Limit") or PAGE,
            now=date_of(response),
        )

    async def watched(self, access_token: str, kind: Kind) -> Watched:
        """Return the minute of every play of films, or of episodes. Raises `SourceError`.

        All of it comes at once, unless Trakt names more pages; behind the last one is an empty
        one, and a count that lags does not end it earlier.
        """
        response, found = await self.map(access_token, kind, {})
        if (counted(response, "X-Pagination-Page-Count") or 1) == 1:
            return found
        limit = str(counted(response, "X-Pagination-Limit") or PAGE)
        plays, shows = dict(found.plays), dict(found.shows)
        skipped, page = found.skipped, 1
        # A page without anything new ends it too: a server may not know of pages after all.
        while found.plays:
            page += 1
            _, found = await self.map(access_token, kind, {"page": str(page), "limit": limit})
            if found.plays.keys() <= plays.keys():
                break
            plays |= found.plays
            shows |= found.shows
            skipped += found.skipped
        return Watched(plays, shows, skipped)

    async def map(
        self, access_token: str, kind: Kind, query: Mapping[str, str]
    ) -> tuple[httpx2.Response, Watched]:
        """Return one answer with a map, read in a thread: it may take seconds."""
        extended = {"extended": "min"} | ({"specials": "true"} if kind == "shows" else {})
        asking = partial(self.ask, f"/sync/watched/{kind}", access_token, {**extended, **query})
        await self.admit(access_token, patient=False)
        try:
            return await read_map(await asking(USUAL_MAP), kind)
        except SourceBusy as error:
            if not isinstance(error.__cause__, AnswerTooLarge):
                raise
        await self.admit(access_token, patient=False)
        async with self.maps:
            return await read_map(await asking(LARGEST_MAP), kind)

    async def totals(self, access_token: str) -> Totals | None:
        """Return how many plays Trakt counts, None when it does not tell: nothing depends on it.

        Raises a leaf of `SourceError` that is about the token or the app.
        """
        try:
            _, data = await self.get("/users/me/stats", access_token)
            movies, episodes = (
                number(data[kind]["plays"], LARGEST_ID) for kind in ("movies", "episodes")
            )
        except (SourceBusy, SourceGarbled, KeyError, TypeError):
            return None
        return Totals(movies, episodes) if movies is not None and episodes is not None else None

    async def opinions(self, kind: OpinionKind, page: int, access_token: str) -> Opinions:
        """Return one page of a list of ratings, comments or notes.

        Raises a leaf of `SourceError`; `SourceUnaware` where this person has no such list.
        """
        query = {"page": str(page), "limit": str(PAGE)}
        query |= {"include_replies": "false"} if kind is OpinionKind.COMMENT else {}
        await self.admit(access_token, patient=False)
        # Ratings were seen to come all at once, whatever page is asked for.
        async with self.maps:
            response = await self.ask(PATHS[kind], access_token, query, LARGEST_LIST, vital=False)
            items = await asyncio.to_thread(parsed, response)
        if not isinstance(items, list):
            raise SourceGarbled("Trakt’s list of ratings or the like is not a list")
        of = counted(response, "X-Pagination-Page-Count")
        is_full = len(items) >= (counted(response, "X-Pagination-Limit") or PAGE)
        return Opinions(
            said=tuple(one for item in items if (one := read_opinion(kind, item))),
            is_last=of is None or (page >= of and not is_full),
        )

    async def get(
        self,
        path: str,
        access_token: str,
        query: Mapping[str, str] | None = None,
        *,
        patient: bool = False,
    ) -> tuple[httpx2.Response, Any]:
        """Return Trakt's answer and its JSON. Raises a leaf of `SourceError`."""
        await self.admit(access_token, patient=patient)
        response = await self.ask(path, access_token, query or {}, LARGEST_ANSWER)
        return response, parsed(response)

    async def admit(self, access_token: str, *, patient: bool) -> None:
        """Wait until one more request is within the budget. Raises `SourceBusy`."""
        if wait := self.budget.closed_for():
            raise SourceBusy("Trakt asked this bridge to wait", wait)
        await self.budget.take(access_token, patient=patient)

    async def ask(
        self,
        path: str,
        access_token: str,
        query: Mapping[str, str],
        max_bytes: int,
        *,
        vital: bool = True,
    ) -> httpx2.Response:
        """Return Trakt's answer, if it is a success. Raises a leaf of `SourceError`.

        Where it is not ``vital``, a refusal says nothing about the app or the person.
        """
        headers = {
            "Content-Type": "application/json",
            "trakt-api-key": self.client_id,
            "trakt-api-version": "2",
            "Authorization": f"Bearer {access_token}",
        }

        def get(http: httpx2.AsyncClient) -> Awaitable[httpx2.Response]:
            limits = caps(max_bytes, self.deadline)
            return http.get(self.api_url + path, params=query, headers=headers, extensions=limits)

        try:
            try:
                response = await get(self.http)
            except AnswerBroken:
                # A kept connection that was closed meanwhile. What only reads may be asked again.
                await self.admit(access_token, patient=False)
                response = await get(self.auth)
        except FetchError as error:
            raise SourceBusy(str(error)) from error
        if trouble := reaction(response):
            if not vital and isinstance(trouble, SourceClosed | SourceLocked):
                # Some lists are for VIPs; that is no reason to stop reading the history.
                trouble = SourceUnaware(str(trouble))
            if wait := pause_for_all(response, trouble):
                self.budget.close(wait)
            said = without_keys(response.content[:200].decode(errors="replace"))
            log.info("trakt said no", path=path, status=response.status_code, text=said)
            raise trouble
        return response


async def read_map(response: httpx2.Response, kind: Kind) -> tuple[httpx2.Response, Watched]:
    """Return an answer with the map in it."""
    return response, await asyncio.to_thread(lambda: read_watched(parsed(response), kind))


def plays(items: object) -> tuple[Read, ...]:
    """Read a page of plays, each with what is kept of it: all, where it could not be read.

    Raises `SourceGarbled`.
    """
    if not isinstance(items, list):
        raise SourceGarbled("Trakt's history is not a list")
    return tuple(
        (found, trimmed(item) if isinstance(found, Watch) else item)
        for item, found in ((item, read_item(item)) for item in items)
    )


def opinion_stamps(activities: Mapping[str, Any]) -> dict[str, str]:
    """Return when ratings and the like last changed, as far as ``last_activities`` tells."""
    found = {}
    for kind, names in STAMPS.items():
        stamps = [words(part(activities, of).get(name)) for of, name in names]
        if told := [stamp for stamp in stamps if stamp]:
            found[str(kind)] = " ".join(told)
    return found


def reaction(response: httpx2.Response) -> SourceError | None:
    """Return what an answer of the API means for us, None for a success."""
    status = response.status_code
    if is_edge(response):
        return at_the_edge(response)
    if response.is_success:
        return None
    if status == 429 or status >= 500:
        return SourceBusy(f"Trakt is busy or out of order ({status})", waiting(response))
    if status in REACTIONS:
        leaf, meaning = REACTIONS[status]
        return leaf(meaning)
    return SourceGarbled(f"Trakt answered {status}, which we did not expect")


def pause_for_all(response: httpx2.Response, trouble: SourceError) -> timedelta | None:
    """Return how long nobody here should ask, after an answer that was not about one person.

    Cloudflare blocks addresses, and a refused app is refused whoever asks.
    """
    if isinstance(trouble, SourceClosed):
        return CLOSED
    if is_edge(response) and isinstance(trouble, SourceBusy):
        return trouble.retry_after
    return None


def parsed(response: httpx2.Response) -> Any:  # noqa: ANN401 - any JSON
    """Return the JSON of an answer; numbers that JSON does not have become null.

    Raises `SourceGarbled`.
    """
    try:
        return json.loads(response.content, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise SourceGarbled("Trakt's answer is not JSON") from error


def is_edge(response: httpx2.Response) -> bool:
    """Tell whether Cloudflare answered in Trakt's place."""
    html = response.headers.get("Content-Type", "").lower().startswith("text/html")
    return html and "x-request-id" not in response.headers


def at_the_edge(response: httpx2.Response) -> SourceError:
    """Return what an answer of Cloudflare means: never anything about the token."""
    if response.status_code in {403, 429}:
        wait = waiting(response) or BLOCKED
        return SourceBusy("Cloudflare, in front of Trakt, is blocking us for a while", wait)
    return SourceBusy(f"Trakt could not be reached behind Cloudflare ({response.status_code})")


def read_token(response: httpx2.Response, now: datetime) -> Pair:
    """Read an answer of the token endpoint. Raises a leaf of `SourceError`."""
    try:
        data = parsed(response)
    except SourceGarbled:
        data = None
    data = data if isinstance(data, dict) else {}
    error = data.get("error")
    if error == "invalid_client" or "client_id" in str(data.get("error_description")):
        raise SourceClosed(NEEDS_VIP)
    if error in {"invalid_grant", "access_denied"} or response.status_code == 401:
        raise SourceLocked("Trakt no longer accepts the key it gave us")
    access = key_of(data.get("access_token"))
    if not response.is_success or access is None:
        raise refused_for_now(response)
    return Pair(
        access=access,
        refresh=key_of(data.get("refresh_token")),
        issued_at=now,
        expires_at=expiry(data.get("expires_in"), now),
    )


def key_of(value: object) -> str | None:
    """Return a token as it is, to the letter; None for what no header could carry."""
    return value if isinstance(value, str) and TOKEN.fullmatch(value) else None


def refused_for_now(response: httpx2.Response) -> SourceError:
    """Return what an answer without a token means."""
    status = response.status_code
    if status == 429 or status >= 500 or is_edge(response):
        return SourceBusy(f"Trakt gave no key ({status})", waiting(response))
    if status in {403, 426}:
        return SourceClosed(NEEDS_VIP)
    return SourceGarbled(f"Trakt's key office answered {status} without a key")


def waiting(response: httpx2.Response) -> timedelta | None:
    """Return how long Trakt asks us to wait, by Trakt's own clock where it names a time."""
    return retry_after(response, date_of(response))


def counted(response: httpx2.Response, header: str) -> int | None:
    """Return a count from a header, None when it is missing or nonsense."""
    value = response.headers.get(header, "")
    return int(value[:9]) if value.isascii() and value.isdecimal() else None


def trakt_time(when: datetime) -> str:
    """Return an instant as Trakt writes it: ``2026-11-20T21:14:00.000Z``."""
    return when.strftime("%Y-%m-%dT%H:%M:%S.000Z")
