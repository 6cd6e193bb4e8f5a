"""The client tests of micropub.rocks, by their numbers there, on what really leaves the bridge.

Each check is one of its conditions. What the bridge never sends has none here: photos of its own
(104, 203, 205, 300, 301, 700), updates, deletes and undeletes (400 to 502).
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest

from app.demo.catalogue import DUNE
from app.demo.site import Dropped, Seen
from app.hentry import FORM, JSON, Telling, body, content_type, properties_of
from app.store import accounts
from app.style import Shape, Style, to_json
from tests.works import a_watch
from tests.world import World

Sent = dict[str, list[Any]]


def is_mf2(value: object) -> bool:
    """Tell whether a value is an object of its own, with lists for values as all of mf2 has."""
    return (
        isinstance(value, dict)
        and value.keys() == {"type", "properties"}
        and str(value["type"][0]).startswith("h-")
        and all(isinstance(one, list) for one in value["properties"].values())
    )


def has_html(post: Sent) -> bool:
    (content,) = post["content"]
    return isinstance(content, dict) and list(content) == ["html"] and bool(content["html"])


# What a post is, in a form and as JSON.
OF_FORMS: dict[int, Callable[[Sent], bool]] = {
    100: lambda form: form["h"] == ["entry"] and len(form["content"]) == 1,
    101: lambda form: len(form["category[]"]) > 1,
}
OF_JSON: dict[int, Callable[[Sent], bool]] = {
    200: lambda post: isinstance(post["content"][0], str),
    201: lambda post: len(post["category"]) > 1,
    202: has_html,
    204: lambda post: any(is_mf2(one) for values in post.values() for one in values),
}


def passed(sent: bytes) -> set[int]:
    """The numbers of the tests that the body of a request to create would pass."""
    if content_type(sent.decode()) == FORM:
        form = parse_qs(sent.decode(), keep_blank_values=True)
        return {number for number, is_so in OF_FORMS.items() if is_so(form)}
    document = json.loads(sent)
    assert document.keys() == {"type", "properties"}
    assert document["type"] == ["h-entry"]
    assert all(isinstance(values, list) for values in document["properties"].values())
    return {number for number, is_so in OF_JSON.items() if is_so(document["properties"])}


def is_sound(seen: Seen, token: str) -> bool:
    """Tell whether a request to a Micropub endpoint is one of those that there can be.

    The token is in the header and nowhere else (106), a type is named to the letter, and a query
    asks for nothing but what it may.
    """
    if seen.headers["authorization"] != f"Bearer {token}" or token in seen.query + str(seen.body):
        return False
    if seen.method == "POST":
        return seen.headers["content-type"] == content_type(seen.body.decode()) and not seen.query
    asked = {name: values[0] for name, values in parse_qs(seen.query).items()}
    match asked.pop("q"):
        case "config" | "syndicate-to":
            return not asked
        case "source":
            return asked.keys() == {"url"} or asked.keys() <= {"limit", "offset", "after"}
    return False


def to_micropub(world: World) -> Iterable[Seen]:
    return [seen for seen in world.site.requests if seen.path == "/micropub"]


async def our_token(world: World) -> str:
    async with world.bridge.database.reading() as session:
        found = await accounts.account(session, 1)
    tokens = world.bridge.vault.open(found[1].sealed_tokens) if found else None
    assert tokens
    return str(tokens["access"])


async def test_the_authorization_request_has_all_that_a_website_asks_for(world: World) -> None:
    await world.browser.visit("/")
    await world.browser.press("Sign in", me=world.me)

    query = httpx2.QueryParams(world.browser.page.url.query)

    assert query["response_type"] == "code"
    assert "create" in query["scope"].split()
    assert query["state"]
    for name in ("me", "client_id", "redirect_uri"):
        assert httpx2.URL(query[name]).scheme in {"http", "https"}


async def test_every_request_to_a_website_passes_the_client_tests(world: World) -> None:
    await world.ready()
    expected = {
        Style(): {200, 201, 204},
        Style(html=True): {201, 202, 204},
        Style(shape=Shape.URL): {200, 201},
        Style(shape=Shape.NOTE, html=True): {201, 202},
        Style(shape=Shape.FORM): {100, 101},
    }

    for style in expected:
        async with world.bridge.database.writing() as session:
            await accounts.set_style(session, 1, to_json(style))
        world.clock.passes(hours=1)
        world.trakt.watch(DUNE)
        await world.check_now()
    world.site.then(Dropped(creates=True))
    world.clock.passes(hours=1)
    world.trakt.watch(DUNE)
    await world.check_now()
    world.clock.passes(hours=1)
    await world.work()

    token = await our_token(world)
    asked = to_micropub(world)
    sent = [seen.body for seen in asked if seen.method == "POST"]
    assert {seen.method for seen in asked} == {"GET", "POST"}
    assert [seen for seen in asked if not is_sound(seen, token)] == []
    assert [passed(one) for one in sent] == [*expected.values(), {100, 101}]


@pytest.mark.parametrize("shape", [Shape.NESTED, Shape.FORM])
def test_targets_are_the_uids_that_the_website_gave(shape: Shape) -> None:
    targets = ("https://mastodon.example/@ada", "https://bsky.example/ada")
    telling = Telling(UTC, style=Style(shape=shape), targets=targets)

    texts = [body(a_watch(), replace(telling, targets=targets[:many]))[0] for many in (1, 2)]

    # 105
    assert [properties_of(text)["mp-syndicate-to"] for text in texts] == [[targets[0]], [*targets]]
    assert {content_type(text) for text in texts} == {FORM if shape is Shape.FORM else JSON}


@pytest.mark.parametrize(
    ("change", "is_so"),
    [
        ({}, True),
        (
            {"headers": {"authorization": "Bearer t", "content-type": f"{JSON}; charset=utf-8"}},
            False,
        ),
        ({"headers": {"authorization": "bearer", "content-type": JSON}}, False),
        ({"query": "access_token=t"}, False),
        ({"body": b'{"access_token": "t"}'}, False),
        ({"method": "GET", "query": "q=config"}, True),
        ({"method": "GET", "query": "q=config&limit=1"}, False),
        ({"method": "GET", "query": "q=source&url=x&limit=1"}, False),
        ({"method": "GET", "query": "q=everything"}, False),
    ],
)
def test_the_checks_tell_what_is_wrong(change: dict[str, Any], *, is_so: bool) -> None:
    headers = {"authorization": "Bearer t", "content-type": JSON}
    good = Seen("POST", "/micropub", "", headers, b"{}", 201)

    assert is_sound(replace(good, **change), "t") == is_so
