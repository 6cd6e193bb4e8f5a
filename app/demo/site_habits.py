"""How a simulated website may differ from the ideal one, for good and for a single answer.

The ideal follows the specifications to the letter; every field below was seen on a real server.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import httpx2
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Habits:
    """The ways of one website; the defaults are those of an ideal server."""

    # Legacy rels instead of the metadata document, as users of old IndieAuth services have.
    legacy_rels_only: bool = False
    send_iss: bool = True
    # 201 is what django-indieweb answers to the first exchange.
    token_status: int = 200
    token_form_encoded: bool = False
    # What the token may do whatever the consent page said; None: what was ticked there.
    scope_granted: str | None = None
    # The ``me`` of the token answer; None: the site's own profile URL, the only honest one.
    me: str | None = None
    expires_in: timedelta | None = None
    with_refresh_token: bool = False
    # A CDN that shows visitors a challenge page (403, HTML) instead of the profile page.
    html_403_challenge: bool = False
    # How the software calls itself on every page, e.g. ``WordPress 6.5.5``.
    generator: str | None = None
    # What ``q=config`` answers instead; no JSON at all where it is a text.
    config: Mapping[str, Any] | str | None = None
    # A form is the only thing it reads.
    refuses_json: bool = False
    # 202 is what Indiekit answers.
    create_status: int = 201
    # 401 is what microblog.pub answers.
    insufficient_scope_status: int = 403
    # Like microblog.pub: only the text of a post survives, its URL is a number, and posts cannot
    # be listed.
    content_only: bool = False
    # Like Known: all other properties are dropped when a post comes; None: it keeps everything.
    kept_properties: tuple[str, ...] | None = None
    # Like Micro.blog and Known: the URL of a post is a number, whatever ``mp-slug`` asks for.
    ignores_slug: bool = False
    # Like Indiekit with a database: a post with a slug in use takes that post's place.
    slug_replaces: bool = False
    # Where files go, as ``q=config`` tells it, which may be any text; None: nowhere.
    media_endpoint: str | None = "/media"
    # A CDN's challenge page instead of the answer to every create; the post exists or does not.
    html_200: Literal["created", "lost"] | None = None
    # Like a site with a slow build: posts are in no list and on no page before this time is over.
    shown_after: timedelta = timedelta()

    # Like WordPress when False: listed posts do not tell their URL.
    source_lists_urls: bool = True
    # 400 to every ``q=source``, with a URL or without.
    has_no_source: bool = False
    # Like django-indieweb: ``q=source`` takes the scope ``update``.
    source_needs_update: bool = False
    # Like Indiekit without a database: a list without members, and 400 where a URL is named.
    lists_nothing: bool = False
    # Like a list of 10 on WordPress: whoever asks for more gets no more; None: no such limit.
    largest_page: int | None = None
    # Like Indiekit: lists go from the post that came last to the one that came first, whatever
    # their dates, and go on by ``after`` and ``before``; ``offset`` has no effect.
    cursor_paging: bool = False
    # Posts on one page of the feed that visitors see.
    feed_page_size: int = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer instead of the website's own; what was asked is done only if ``creates``."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    creates: bool = False

    def response(self) -> Response:
        """Return the answer as Starlette sends it, without a content type of its own."""
        return Response(self.body, self.status, self.headers)


# What a CDN shows in place of a website's answer.
CHALLENGE = Answer(
    200,
    {"Content-Type": "text/html; charset=utf-8"},
    "<!DOCTYPE html><title>Just a moment...</title><h1>Checking that you are human</h1>",
)


@dataclass(frozen=True, slots=True)
class Dropped:
    """No answer: the connection dies; what was asked is done only if ``creates``."""

    creates: bool = False

    def response(self) -> Response:
        """Return the answer that breaks off."""
        return DroppedResponse()


@dataclass(frozen=True, slots=True)
class Held:
    """The website's own answer, but not before the test sets ``until``.

    ``reached`` is set when the request has been carried out and the answer is being held.
    """

    until: asyncio.Event
    reached: asyncio.Event = field(default_factory=asyncio.Event)


OneOff = Answer | Dropped | Held


class DroppedResponse(Response):
    """An answer that breaks off.

    An ASGI app cannot close its socket, but a server closes it when the app fails with the body
    outstanding. Without a server, over ``ASGITransport``, the client sees the same `ReadError`.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Promise one byte and never send it."""
        del scope, receive
        headers = [(b"content-length", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        raise httpx2.ReadError("the website broke off the connection")
