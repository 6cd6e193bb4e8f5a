"""The Micropub endpoint of the simulated website."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeGuard
from urllib.parse import parse_qsl, urljoin

from fastapi import APIRouter, Request
from starlette.datastructures import QueryParams
from starlette.responses import HTMLResponse, JSONResponse, Response

from app.demo.site_habits import CHALLENGE, Habits
from app.demo.site_indieauth import Refused, Token
from app.demo.site_posts import Post, Properties, Sent, Shelf, instant

FORM = "application/x-www-form-urlencoded"
# The names of a form that are not properties of the post.
FORM_ONLY = {"h", "access_token", "action", "url", "q"}
PAGE_SIZE = 20


class Micropub:
    """Writes and reads the posts of one person, for those who bear one of the person's tokens."""

    def __init__(
        self,
        shelf: Shelf,
        *,
        now: Callable[[], datetime],
        habits: Habits,
        token: Callable[[str], Token | None],
    ) -> None:
        self.shelf = shelf
        self.now = now
        self.habits = habits
        self.token = token

    def routes(self) -> APIRouter:
        """Return the endpoint, ready to be included in an app."""
        router = APIRouter()
        router.add_api_route("/micropub", self.answer_query)
        router.add_api_route("/micropub", self.answer_post, methods=["POST"])
        return router

    async def answer_post(self, request: Request) -> Response:
        """Create, update, delete or undelete a post.

        Raises:
            Refused: nothing was written.

        """
        body = await request.body()
        is_json = kind(request.headers.get("Content-Type", "")) == "json"
        if is_json and self.habits.refuses_json:
            raise Refused("invalid_request", "Send a form.")
        form = [] if is_json else form_fields(body)
        tokens = [value for name, value in form if name == "access_token"]
        scope = self.scope(request, tokens)
        document = json_object(body) if is_json else document_of(form)
        action = document.get("action", "create")
        match action:
            case "create":
                return self.create(document, scope, request, body)
            case "update" if is_json:
                self.need(scope, "update")
                post = self.shelf.existing(document.get("url"))
                self.shelf.put(updated(post, document))
            case "delete":
                self.need(scope, "delete")
                self.shelf.delete(document.get("url"))
            case "undelete":
                self.need(scope, "undelete")
                post = self.shelf.existing(document.get("url"))
                self.shelf.put(replace(post, deleted=False))
            case _:
                raise Refused("invalid_request", f"There is no action {action!r} in this form.")
        return Response(status_code=204)

    def scope(self, request: Request, in_form: Collection[str] = ()) -> tuple[str, ...]:
        """Return what the bearer may do.

        Raises:
            Refused: no token, two of them (RFC 6750 §2), or one that is not valid.

        """
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        given = [*in_form, *([text.strip()] if scheme.lower() == "bearer" else [])]
        if not given:
            raise Refused("unauthorized", "Send an access token.", 401)
        if len(given) > 1:
            raise Refused("invalid_request", "Send the access token once.")
        token = self.token(given[0])
        if token is None:
            raise Refused("invalid_token", "This token is unknown, revoked or too old.", 401)
        return token.scope

    def need(self, scope: Collection[str], wanted: str) -> None:
        """Raise `Refused` unless ``wanted`` is in ``scope``."""
        if wanted not in scope:
            status = self.habits.insufficient_scope_status
            raise Refused("insufficient_scope", f"This takes {wanted!r}.", status, wanted)

    def create(
        self, document: Mapping[str, Any], scope: Collection[str], request: Request, body: bytes
    ) -> Response:
        """Publish a post, as a draft when the token allows no more than that."""
        if self.habits.html_200 == "lost":
            return CHALLENGE.response()
        if "draft" not in scope:
            self.need(scope, "create")
        types, properties = entry(document)
        sent = Sent(
            types,
            properties,
            at=self.now(),
            headers=dict(request.headers),
            body=body,
            is_draft="create" not in scope,
        )
        post = self.shelf.add(sent)
        if self.habits.html_200 == "created":
            return CHALLENGE.response()
        return Response(status_code=self.habits.create_status, headers={"Location": post.url})

    async def answer_query(self, request: Request) -> Response:
        """Answer ``q=config``, ``q=syndicate-to`` and ``q=source``."""
        scope = self.scope(request)
        params = request.query_params
        match params.get("q"):
            case "config":
                return self.config()
            case "syndicate-to":
                return JSONResponse({"syndicate-to": []})
            case "source" if not self.habits.has_no_source:
                if self.habits.source_needs_update:
                    self.need(scope, "update")
                return JSONResponse(self.source(params))
        raise Refused("invalid_request", "This query is not answered here.")

    def media(self) -> dict[str, str]:
        """Return where files go, as ``q=config`` tells it."""
        named = self.habits.media_endpoint
        return {"media-endpoint": urljoin(self.shelf.origin, named)} if named else {}

    def config(self) -> Response:
        """Return what the endpoint says of itself."""
        if isinstance(self.habits.config, str):
            return HTMLResponse(self.habits.config)
        if self.habits.config is not None:
            return JSONResponse(dict(self.habits.config))
        if self.habits.content_only:
            return JSONResponse({})
        return JSONResponse({"q": self.queries(), "syndicate-to": [], **self.media()})

    def queries(self) -> list[str]:
        """Return what may be asked, as ``q=config`` tells it."""
        known = ["config", "source", "syndicate-to"]
        return [name for name in known if name != "source" or not self.habits.has_no_source]

    def source(self, params: QueryParams) -> dict[str, Any]:
        """Return one post, or a part of the list of all.

        Raises:
            Refused: the post does not exist, or there is no such list.

        """
        if "url" in params:
            wanted = params.getlist("properties[]") + params.getlist("properties")
            return self.one(params["url"], wanted)
        if self.habits.content_only:
            raise Refused("invalid_request", "Posts cannot be listed here.")
        limit = number(params, "limit", PAGE_SIZE)
        if self.habits.largest_page:
            limit = min(limit, self.habits.largest_page)
        if self.habits.lists_nothing:
            return {"items": [], "paging": {}}
        if self.habits.cursor_paging:
            return self.turned(limit, params)
        return self.listing(limit, number(params, "offset", 0))

    def one(self, url: str, wanted: Collection[str]) -> dict[str, Any]:
        """Return the post at ``url``, or only the ``wanted`` of its properties.

        Raises:
            Refused: it does not exist, or no longer.

        """
        post = self.shelf.shown(url)
        if post is None or self.habits.lists_nothing:
            raise Refused("invalid_request", "There is no post at this url.")
        if post.deleted:
            raise Refused("invalid_request", "This post is deleted.")
        properties = source_properties(post)
        if wanted:
            return {"properties": {name: properties[name] for name in wanted if name in properties}}
        return {"type": post.type, "properties": properties}

    def listing(self, limit: int, offset: int) -> dict[str, Any]:
        """Return one page of the posts that exist, drafts included, newest date first."""
        posts = list(self.shelf.newest_first())
        page = posts[offset : offset + limit]
        paging = {"limit": limit, "offset": offset, "total": len(posts)}
        return {"items": [self.listed(post) for post in page], "paging": paging}

    def turned(self, limit: int, params: QueryParams) -> dict[str, Any]:
        """Return the page that a cursor leads to, the post that came last first."""
        after, before = (cursor(params, name) for name in ("after", "before"))
        posts = list(self.shelf.last_come_first())
        wanted = (
            post
            for post in posts
            if (before is None or post.number > before)
            and (before is not None or after is None or post.number < after)
        )
        page = list(islice(wanted, limit))
        paging = {}
        if page and page[-1] != posts[-1]:
            paging["after"] = f"{page[-1].number:024x}"
        if page and page[0] != posts[0]:
            paging["before"] = f"{page[0].number:024x}"
        return {"items": [self.listed(post) for post in page], "paging": paging}

    def listed(self, post: Post) -> dict[str, Any]:
        """Return one post as a member of the list."""
        own_url = {"url": [post.url]} if self.habits.source_lists_urls else {}
        return {"type": post.type, "properties": source_properties(post) | own_url}


def kind(content_type: str) -> str:
    """Return ``json`` or ``form``.

    Known and micropub.rocks compare the JSON type as a whole, so a charset is too much here.

    Raises:
        Refused: it is neither.

    """
    if content_type == "application/json":
        return "json"
    if content_type.partition(";")[0].strip().lower() == FORM:
        return "form"
    raise Refused("invalid_request", f"{content_type!r} is neither JSON nor a form.")


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in ``body``.

    Raises:
        Refused: there is none.

    """
    try:
        document = json.loads(body)
    except ValueError as error:
        raise Refused("invalid_request", "This is not JSON.") from error
    if not isinstance(document, dict):
        raise Refused("invalid_request", "A JSON object is needed.")
    return document


def form_fields(body: bytes) -> list[tuple[str, str]]:
    """Return the names and values of a form in their order."""
    return parse_qsl(body.decode(errors="replace"), keep_blank_values=True)


def document_of(form: list[tuple[str, str]]) -> dict[str, Any]:
    """Return a form as the JSON document that would say the same."""
    properties: Properties = {}
    for name, value in form:
        if name not in FORM_ONLY:
            properties.setdefault(name.removesuffix("[]"), []).append(value)
    fields = dict(form)
    commands = {name: fields[name] for name in ("action", "url") if name in fields}
    return {"type": [f"h-{fields.get('h', 'entry')}"], "properties": properties} | commands


def entry(document: Mapping[str, Any]) -> tuple[list[str], Properties]:
    """Return types and properties of a post to create.

    Raises:
        Refused: it is no microformats2 JSON, or its date is none.

    """
    types, properties = document.get("type"), document.get("properties")
    if not isinstance(types, list) or not types or not all(map(is_type, types)):
        raise Refused("invalid_request", 'type must be a list such as ["h-entry"].')
    if not is_lists(properties):
        raise Refused("invalid_request", "properties must be an object of lists.")
    instant(properties.get("published", []), datetime.min.replace(tzinfo=UTC))
    return types, dict(properties)


def is_type(name: object) -> bool:
    """Tell whether ``name`` is a microformats2 type."""
    return isinstance(name, str) and name.startswith("h-")


def is_lists(value: object) -> TypeGuard[Properties]:
    """Tell whether ``value`` is an object of lists, and so is all that is nested in it."""
    if not isinstance(value, dict):
        return False
    return all(
        isinstance(values, list) and all(is_member(inner) for inner in values)
        for values in value.values()
    )


def is_member(value: object) -> bool:
    """Tell whether ``value`` may stand in a list of values: what claims to be an item is one."""
    if not isinstance(value, dict) or "properties" not in value:
        return True
    types = value.get("type")
    return isinstance(types, list) and all(map(is_type, types)) and is_lists(value["properties"])


def updated(post: Post, document: Mapping[str, Any]) -> Post:
    """Return ``post`` after an update (Micropub section 3.4).

    Raises:
        Refused: the update is malformed, or its date is none.

    """
    replaced, added = document.get("replace", {}), document.get("add", {})
    if not is_lists(replaced) or not is_lists(added):
        raise Refused("invalid_request", "replace and add must be objects of lists.")
    properties = post.properties | replaced
    for name, values in added.items():
        properties[name] = [*properties.get(name, []), *values]
    properties = without(properties, document.get("delete", []))
    instant(properties.get("published", []), post.created_at)
    return replace(post, properties=properties)


def without(properties: Properties, deleted: object) -> Properties:
    """Return ``properties`` less whole ones (a list of names) or single values (an object).

    Raises:
        Refused: ``deleted`` is neither.

    """
    if isinstance(deleted, list):
        return {name: values for name, values in properties.items() if name not in deleted}
    if not isinstance(deleted, dict) or not is_lists(deleted):
        raise Refused("invalid_request", "delete must be a list of names or an object of lists.")
    left = {
        name: [value for value in values if value not in deleted.get(name, [])]
        for name, values in properties.items()
    }
    return {name: values for name, values in left.items() if values}


def source_properties(post: Post) -> Properties:
    """Return the properties a client may read back: no commands, and always a date."""
    kept = {name: values for name, values in post.properties.items() if not name.startswith("mp-")}
    return {"published": [post.created_at.isoformat()]} | kept


def number(params: Mapping[str, str], name: str, default: int) -> int:
    """Return a count from a query.

    Raises:
        Refused: it is none.

    """
    text = params.get(name, str(default))
    if not (text.isascii() and text.isdecimal()):
        raise Refused("invalid_request", f"{name} must be a number.")
    return int(text)


def cursor(params: Mapping[str, str], name: str) -> int | None:
    """Return the number of the post that a cursor names, None without one.

    Raises:
        Refused: it is no cursor of ours.

    """
    if name not in params:
        return None
    try:
        return int(params[name], 16)
    except ValueError as error:
        raise Refused("invalid_request", f"{name} is no cursor.") from error
