"""The Micropub endpoint of the simulated website."""

import json
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, count
from typing import Any, TypeGuard
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from app.demo.site_habits import Answer, Dropped, DroppedResponse, Habits, Held, OneOff
from app.demo.site_indieauth import Refused, Token

Properties = dict[str, list[Any]]

FORM = "application/x-www-form-urlencoded"
# The names of a form that are not properties of the post.
FORM_ONLY = {"h", "access_token", "action", "url", "q"}
PAGE_SIZE = 20


@dataclass(frozen=True, slots=True)
class Post:
    """A post as it was created, or last updated.

    ``properties`` are exactly those received, commands such as ``mp-slug`` included;
    ``headers`` (names in lower case) and ``body`` are those of the request that created it.
    """

    url: str
    type: list[str]
    properties: Properties
    created_at: datetime
    headers: Mapping[str, str]
    body: bytes
    deleted: bool = False

    @property
    def published(self) -> datetime:
        """Return the time the post gives as its own, else the time it came; always aware."""
        return instant(self.properties.get("published", []), self.created_at)

    @property
    def is_public(self) -> bool:
        """Tell whether visitors may see it."""
        return not self.deleted and self.properties.get("post-status") != ["draft"]


class Micropub:
    """Writes and reads the posts of one person, for those who bear one of the person's tokens."""

    def __init__(
        self,
        origin: str,
        *,
        now: Callable[[], datetime],
        habits: Habits,
        token: Callable[[str], Token | None],
    ) -> None:
        self.origin = origin
        self.now = now
        self.habits = habits
        self.token = token
        self.posts: list[Post] = []
        self.one_offs: deque[OneOff] = deque()

    def routes(self) -> APIRouter:
        """Return the endpoint, ready to be included in an app."""
        router = APIRouter()
        router.add_api_route("/micropub", self.answer_query)
        router.add_api_route("/micropub", self.answer_post, methods=["POST"])
        return router

    async def answer_post(self, request: Request) -> Response:
        """Carry out a request, unless a one-off behaviour is due."""
        body = await request.body()
        match self.one_offs.popleft() if self.one_offs else None:
            case Answer(creates=creates) as answer:
                if creates:
                    self.carry_out(request, body)
                return answer.response()
            case Dropped(creates=creates):
                if creates:
                    self.carry_out(request, body)
                return DroppedResponse()
            case Held(until=until, reached=reached):
                response = self.carry_out(request, body)
                reached.set()
                await until.wait()
                return response
            case None:
                return self.carry_out(request, body)

    def carry_out(self, request: Request, body: bytes) -> Response:
        """Create, update, delete or undelete a post.

        Raises:
            Refused: nothing was written.

        """
        is_json = kind(request.headers.get("Content-Type", "")) == "json"
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
                self.change(document, lambda post: updated(post, document))
            case "delete":
                self.need(scope, "delete")
                self.change(document, lambda post: replace(post, deleted=True))
            case "undelete":
                self.need(scope, "undelete")
                self.change(document, lambda post: replace(post, deleted=False))
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
        if "draft" not in scope:
            self.need(scope, "create")
        types, properties = entry(document)
        if self.habits.content_only:
            properties = {"content": [plain_text(properties)]}
        if "create" not in scope:
            properties["post-status"] = ["draft"]
        post = Post(
            url=self.free_url(properties),
            type=types,
            properties=properties,
            created_at=self.now(),
            headers=dict(request.headers),
            body=body,
        )
        self.posts.append(post)
        return Response(status_code=self.habits.create_status, headers={"Location": post.url})

    def free_url(self, properties: Properties) -> str:
        """Return a URL for a new post; a slug already taken gets "-2", as WordPress does."""
        asked = "".join(str(value) for value in properties.get("mp-slug", []))
        slug = re.sub(r"[^a-z0-9]+", "-", asked.lower()).strip("-") or str(len(self.posts) + 1)
        taken = {post.url for post in self.posts}
        slugs = chain([slug], (f"{slug}-{number}" for number in count(2)))
        urls = (f"{self.origin}/posts/{slug}" for slug in slugs)
        return next(url for url in urls if url not in taken)

    def change(self, document: Mapping[str, Any], step: Callable[[Post], Post]) -> None:
        """Put what ``step`` makes of the post that ``document`` names into its place."""
        post = self.post(document.get("url"))
        changed = step(post)
        self.posts[self.posts.index(post)] = changed

    def post(self, url: object) -> Post:
        """Return the post at ``url``, also a deleted one.

        Raises:
            Refused: there never was one.

        """
        for post in self.posts:
            if post.url == url:
                return post
        raise Refused("invalid_request", "There is no post at this url.")

    async def answer_query(self, request: Request) -> Response:
        """Answer ``q=config``, ``q=syndicate-to`` and ``q=source``."""
        self.scope(request)
        params = request.query_params
        match params.get("q"):
            case "config" if self.habits.content_only:
                return JSONResponse({})
            case "config":
                queries = ["config", "source", "syndicate-to"]
                return JSONResponse({"q": queries, "syndicate-to": []})
            case "syndicate-to":
                return JSONResponse({"syndicate-to": []})
            case "source" if "url" in params:
                wanted = params.getlist("properties[]") + params.getlist("properties")
                return JSONResponse(self.source(params["url"], wanted))
            case "source" if not self.habits.content_only:
                return JSONResponse(
                    self.listing(number(params, "limit", PAGE_SIZE), number(params, "offset", 0))
                )
        raise Refused("invalid_request", "This query is not answered here.")

    def source(self, url: str, wanted: Collection[str]) -> dict[str, Any]:
        """Return the post at ``url``, or only the ``wanted`` of its properties.

        Raises:
            Refused: it does not exist, or no longer.

        """
        post = self.post(url)
        if post.deleted:
            raise Refused("invalid_request", "This post is deleted.")
        properties = source_properties(post)
        if wanted:
            return {"properties": {name: properties[name] for name in wanted if name in properties}}
        return {"type": post.type, "properties": properties}

    def listing(self, limit: int, offset: int) -> dict[str, Any]:
        """Return one page of the posts that exist, drafts included, newest date first."""
        posts = newest_first(post for post in self.posts if not post.deleted)
        page = posts[offset : offset + limit]
        paging = {"limit": limit, "offset": offset, "total": len(posts)}
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


def instant(values: list[Any], default: datetime) -> datetime:
    """Return the time that ``values`` give, read as UTC where it names no offset.

    Raises:
        Refused: it is no time.

    """
    if not values:
        return default
    try:
        time = datetime.fromisoformat(values[0])
    except (TypeError, ValueError) as error:
        raise Refused("invalid_request", f"published: {values[0]!r} is no time.") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def plain_text(properties: Properties) -> str:
    """Return the text of a post.

    Raises:
        Refused: with 500, as microblog.pub does when the content is missing or no plain text.

    """
    match properties.get("content"):
        case [str(text), *_]:
            return text
    raise Refused("server_error", "KeyError", 500)


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


def newest_first(posts: Iterable[Post]) -> list[Post]:
    """Return ``posts`` by their own date, the newest first."""
    return sorted(posts, key=lambda post: post.published, reverse=True)


def number(params: Mapping[str, str], name: str, default: int) -> int:
    """Return a count from a query.

    Raises:
        Refused: it is none.

    """
    text = params.get(name, str(default))
    if not (text.isascii() and text.isdecimal()):
        raise Refused("invalid_request", f"{name} must be a number.")
    return int(text)
