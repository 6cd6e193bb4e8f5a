import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import mf2py
import pytest
import uvicorn
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from bs4 import BeautifulSoup

from app.demo.site import Answer, Dropped, Habits, Held, SimulatedSite

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ORIGIN = "http://site.test"
CLIENT = "http://bridge.test/id"
CALLBACK = "http://bridge.test/callback"
VERIFIER = "v" * 43

WATCH: dict[str, Any] = {
    "type": ["h-entry"],
    "properties": {
        "published": ["2026-11-20T21:14:00+01:00"],
        "summary": ["Watched Dune (2021)"],
        "content": ["🎬 Watched Dune (2021) https://films.example/438631"],
        "category": ["watch", "movie"],
        "watch-of": [
            {
                "type": ["h-cite"],
                "properties": {
                    "name": ["Dune"],
                    "url": ["https://films.example/438631"],
                    "uid": ["tmdb:movie:438631"],
                    "trakt-watch-id": ["3373536619"],
                    "published": ["2021"],
                    "featured": ["https://films.example/dune.jpg"],
                },
            }
        ],
        "syndication": ["https://trakt.example/movies/dune-2021#watch-3373536619"],
        "mp-slug": ["watch-7f3a9c"],
    },
}

# As the program of 2022 sent it: numbers where texts belong, an object where a list does.
OF_THE_GO_PROGRAM: dict[str, Any] = {
    "summary": ["Just watched: Dune"],
    "published": ["2022-06-01T20:00:00Z"],
    "watch-of": [
        {
            "type": ["h-cite"],
            "properties": {
                "name": ["Dune"],
                "url": ["https://trakt.tv/movies/dune-2021"],
                "trakt-watch-id": [3373536619],
                "trakt-ids": {"trakt": 287071, "imdb": "tt1160419"},
            },
        }
    ],
}


class Clock:
    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def site(clock: Clock) -> SimulatedSite:
    return SimulatedSite(ORIGIN, now=clock)


@pytest.fixture
async def browser(site: SimulatedSite) -> AsyncIterator[httpx2.AsyncClient]:
    async with visiting(site) as client:
        yield client


def visiting(site: SimulatedSite) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(site.app), base_url=ORIGIN)


def wish(**changes: str) -> dict[str, str]:
    return {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": CALLBACK,
        "state": "s1",
        "code_challenge": create_s256_code_challenge(VERIFIER),
        "code_challenge_method": "S256",
        "scope": "create update",
        "me": f"{ORIGIN}/",
    } | changes


async def consent(
    browser: httpx2.AsyncClient, decision: str = "approve", **changes: str
) -> dict[str, list[str]]:
    """Return the query the client gets back after the person has decided."""
    page = await browser.get("/auth", params=wish(**changes))
    form = BeautifulSoup(page.text, "html.parser").select_one("form")
    assert form is not None
    fields = [(str(box["name"]), str(box["value"])) for box in form.select("input")]
    answer = await browser.post(
        str(form["action"]),
        content=urlencode([*fields, ("decision", decision)]),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(f"{CALLBACK}?")
    return parse_qs(urlsplit(answer.headers["Location"]).query)


def redemption(code: str, **changes: str) -> dict[str, str]:
    return {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": CLIENT,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    } | changes


async def sign_in(browser: httpx2.AsyncClient, scope: str = "create update") -> dict[str, Any]:
    """Return the token answer."""
    code = (await consent(browser, scope=scope))["code"][0]
    answer: dict[str, Any] = (await browser.post("/token", data=redemption(code))).json()
    return answer


async def bearer(browser: httpx2.AsyncClient, scope: str = "create update") -> dict[str, str]:
    token = (await sign_in(browser, scope))["access_token"]
    return {"Authorization": f"Bearer {token}"}


# mf2py writes offsets without the colon, so times are compared as instants.
instant = datetime.fromisoformat


def a_watch(**properties: list[Any]) -> dict[str, Any]:
    return WATCH | {"properties": WATCH["properties"] | properties}


async def source(
    browser: httpx2.AsyncClient, headers: Mapping[str, str], **query: str
) -> dict[str, Any]:
    answer = await browser.get("/micropub", params={"q": "source"} | query, headers=headers)
    document: dict[str, Any] = answer.json()
    return document


async def publish_days(
    browser: httpx2.AsyncClient, headers: Mapping[str, str], number: int
) -> None:
    """Publish one post a day; the post of the last day comes first."""
    for day in range(number, 0, -1):
        published = datetime(2026, 9, 1, 20, tzinfo=UTC) + timedelta(days=day)
        watch = a_watch(published=[published.isoformat()], **{"mp-slug": [f"day-{day:02}"]})
        await browser.post("/micropub", json=watch, headers=headers)


def slugs(*pages: Mapping[str, Any]) -> list[str]:
    """Return how the URLs of listed posts end."""
    urls = [str(item["properties"]["url"][0]) for page in pages for item in page["items"]]
    return [url.rpartition("/")[2] for url in urls]


async def feed(browser: httpx2.AsyncClient) -> list[list[dict[str, Any]]]:
    """Return the entries of every page, as a program reads them that follows ``rel=next``."""
    pages, url = [], f"{ORIGIN}/"
    while url:
        document = mf2py.parse(doc=(await browser.get(url)).text, url=url)
        (found,) = [item for item in document["items"] if item["type"] == ["h-feed"]]
        pages.append(found.get("children", []))
        (url,) = set(document["rels"].get("next", [""]))
    return pages


async def everywhere(
    browser: httpx2.AsyncClient, headers: Mapping[str, str], url: str
) -> tuple[int, str | None, int, bool]:
    """Return the length of the list, what the query says, the page, and whether the feed has it."""
    listed = await source(browser, headers)
    read = await source(browser, headers, url=url)
    page, home = await browser.get(url), await browser.get("/")
    return len(listed["items"]), read.get("error"), page.status_code, url in home.text


async def rels(browser: httpx2.AsyncClient) -> dict[str, str]:
    head = BeautifulSoup((await browser.get("/")).text, "html.parser").select("head link")
    return {str(rel): str(link["href"]) for link in head for rel in link["rel"]}


class TestIndieAuth:
    async def test_the_profile_page_names_every_endpoint(self, browser: httpx2.AsyncClient) -> None:
        found = await rels(browser)

        metadata = (await browser.get(found["indieauth-metadata"])).json()
        assert metadata["issuer"] == f"{ORIGIN}/"
        assert metadata["authorization_endpoint"] == found["authorization_endpoint"]
        assert metadata["token_endpoint"] == found["token_endpoint"]
        assert metadata["code_challenge_methods_supported"] == ["S256"]
        assert metadata["introspection_endpoint"]
        assert found["micropub"] == f"{ORIGIN}/micropub"

    async def test_the_consent_page_names_the_client_and_ticks_every_scope(
        self, browser: httpx2.AsyncClient
    ) -> None:
        page = BeautifulSoup((await browser.get("/auth", params=wish())).text, "html.parser")

        boxes = page.select("input[type=checkbox][checked]")
        assert [box["value"] for box in boxes] == ["create", "update"]
        assert [button.text for button in page.select("button")] == ["Approve", "Deny"]
        assert CLIENT in page.text

    async def test_approval_leads_back_with_code_state_and_iss(
        self, browser: httpx2.AsyncClient
    ) -> None:
        answer = await consent(browser)

        assert answer["state"] == ["s1"]
        assert answer["iss"] == [f"{ORIGIN}/"]
        assert answer["code"]

    async def test_denial_leads_back_with_an_error_state_and_iss(
        self, browser: httpx2.AsyncClient
    ) -> None:
        answer = await consent(browser, "deny")

        assert answer == {"error": ["access_denied"], "state": ["s1"], "iss": [f"{ORIGIN}/"]}

    async def test_a_code_and_its_verifier_are_worth_a_token(
        self, browser: httpx2.AsyncClient
    ) -> None:
        code = (await consent(browser, scope="create profile"))["code"][0]

        answer = await browser.post("/token", data=redemption(code))

        assert answer.status_code == 200
        document = answer.json()
        assert document.pop("access_token")
        assert document == {
            "token_type": "Bearer",
            "scope": "create profile",
            "me": f"{ORIGIN}/",
            "profile": {
                "name": "Ada Example",
                "url": f"{ORIGIN}/",
                "photo": f"{ORIGIN}/portrait.svg",
            },
        }

    async def test_the_scope_granted_is_what_was_ticked(self, browser: httpx2.AsyncClient) -> None:
        form = wish() | {"scope": "update", "decision": "approve"}
        answer = await browser.post("/consent", data=form)
        code = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]

        token = (await browser.post("/token", data=redemption(code))).json()

        assert token["scope"] == "update"

    @pytest.mark.parametrize(
        "changes",
        [
            {"code_verifier": "w" * 43},
            {"code_verifier": ""},
            {"client_id": "http://bridge.test/other"},
            {"redirect_uri": "http://bridge.test/other"},
        ],
        ids=["wrong verifier", "no verifier", "another client", "another redirect"],
    )
    async def test_a_code_is_worth_nothing_with(
        self, browser: httpx2.AsyncClient, changes: dict[str, str]
    ) -> None:
        code = (await consent(browser))["code"][0]

        answer = await browser.post("/token", data=redemption(code, **changes))

        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")

    async def test_a_code_is_worth_nothing_the_second_time(
        self, browser: httpx2.AsyncClient
    ) -> None:
        code = (await consent(browser))["code"][0]
        await browser.post("/token", data=redemption(code))

        answer = await browser.post("/token", data=redemption(code))

        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")

    async def test_a_code_is_worth_nothing_after_ten_minutes(
        self, browser: httpx2.AsyncClient, clock: Clock
    ) -> None:
        code = (await consent(browser))["code"][0]
        clock.time += timedelta(minutes=10)

        answer = await browser.post("/token", data=redemption(code))

        assert answer.json()["error"] == "invalid_grant"

    async def test_a_code_without_scope_gives_a_profile_and_no_token(
        self, browser: httpx2.AsyncClient
    ) -> None:
        first, second = [(await consent(browser, scope=""))["code"][0] for _ in range(2)]

        token = await browser.post("/token", data=redemption(first))
        profile = await browser.post("/auth", data=redemption(second))

        assert token.json()["error"] == "invalid_grant"
        assert profile.json() == {"me": f"{ORIGIN}/"}

    @pytest.mark.parametrize(
        "changes",
        [
            {"redirect_uri": "http://evil.test/callback"},
            {"redirect_uri": "http://bridge.test:81/callback"},
            {"redirect_uri": "http://["},
            {"client_id": "bridge"},
            {"client_id": "http://bridge.test"},
        ],
        ids=["another host", "another port", "no URL", "client is no URL", "client has no path"],
    )
    async def test_nobody_is_sent_away_when(
        self, browser: httpx2.AsyncClient, changes: dict[str, str]
    ) -> None:
        asked = await browser.get("/auth", params=wish(**changes))
        decided = await browser.post("/consent", data=wish(**changes) | {"decision": "approve"})

        assert (asked.status_code, decided.status_code) == (400, 400)

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"response_type": "token"}, "unsupported_response_type"),
            ({"code_challenge": ""}, "invalid_request"),
            ({"code_challenge_method": "plain"}, "invalid_request"),
            ({"state": ""}, "invalid_request"),
        ],
        ids=["no code wanted", "no PKCE", "plain PKCE", "no state"],
    )
    async def test_a_faulty_request_goes_back_with_its_error(
        self, browser: httpx2.AsyncClient, changes: dict[str, str], error: str
    ) -> None:
        answer = await browser.get("/auth", params=wish(**changes))

        assert parse_qs(urlsplit(answer.headers["Location"]).query)["error"] == [error]

    async def test_a_revoked_token_is_dead_and_revoking_twice_is_no_error(
        self, browser: httpx2.AsyncClient
    ) -> None:
        headers = await bearer(browser)
        form = {"token": headers["Authorization"].removeprefix("Bearer ")}

        answers = [await browser.post("/revoke", data=form) for _ in range(2)]

        assert [answer.status_code for answer in answers] == [200, 200]
        assert (await source(browser, headers))["error"] == "invalid_token"

    async def test_the_person_can_withdraw_all_access(
        self, site: SimulatedSite, browser: httpx2.AsyncClient
    ) -> None:
        headers = await bearer(browser)

        site.revoke_tokens()

        answer = await browser.post("/micropub", json=WATCH, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'

    async def test_introspection_tells_bearers_about_tokens(
        self, browser: httpx2.AsyncClient
    ) -> None:
        headers = await bearer(browser, "create")
        form = {"token": headers["Authorization"].removeprefix("Bearer ")}

        known = await browser.post("/introspect", data=form, headers=headers)
        unknown = await browser.post("/introspect", data={"token": "x"}, headers=headers)
        stranger = await browser.post("/introspect", data=form)

        assert known.json() == {
            "active": True,
            "me": f"{ORIGIN}/",
            "client_id": CLIENT,
            "scope": "create",
        }
        assert unknown.json() == {"active": False}
        assert stranger.status_code == 401


class TestMicropub:
    async def test_a_json_post_reads_back_as_it_was_sent_less_its_commands(
        self, site: SimulatedSite, browser: httpx2.AsyncClient
    ) -> None:
        headers = await bearer(browser)

        created = await browser.post("/micropub", json=WATCH, headers=headers)

        assert created.status_code == 201
        read = await source(browser, headers, url=created.headers["Location"])
        commands = {"mp-slug": read["properties"].get("mp-slug", ["watch-7f3a9c"])}
        assert {"type": read["type"], "properties": read["properties"] | commands} == WATCH
        assert "mp-slug" not in read["properties"]
        assert site.posts[0].properties == WATCH["properties"]
        assert json.loads(site.posts[0].body) == WATCH

    async def test_a_watch_reads_back_from_the_page_as_microformats(
        self, browser: httpx2.AsyncClient
    ) -> None:
        created = await browser.post("/micropub", json=WATCH, headers=await bearer(browser))

        page = await browser.get(created.headers["Location"])

        [entry] = mf2py.parse(doc=page.text)["items"]
        read, sent = entry["properties"], WATCH["properties"]
        assert read["url"] == [created.headers["Location"]]
        assert [instant(time) for time in read["published"]] == [instant(sent["published"][0])]
        for name in ("summary", "content", "category", "syndication"):
            assert read[name] == sent[name]
        [film] = read["watch-of"]
        assert film["type"] == ["h-cite"]
        assert film["properties"] == sent["watch-of"][0]["properties"]

    async def test_an_episode_reads_back_with_its_show(self, browser: httpx2.AsyncClient) -> None:
        show = {"type": ["h-cite"], "properties": {"name": ["Dark"], "uid": ["trakt:show:1"]}}
        episode = {
            "name": ["Lies"],
            "url": ["https://films.example/dark/1/2"],
            "season": ["1"],
            "episode": ["2"],
            "publication": ["Dark"],
            "episode-of": [show],
        }
        watch = a_watch(**{"watch-of": [{"type": ["h-cite"], "properties": episode}]})
        await browser.post("/micropub", json=watch, headers=await bearer(browser))

        page = await browser.get("/posts/watch-7f3a9c")

        [entry] = mf2py.parse(doc=page.text)["items"]
        [read] = entry["properties"]["watch-of"]
        [read_show] = read["properties"].pop("episode-of")
        assert read["properties"] | {"episode-of": [show]} == episode
        assert read_show["properties"] == show["properties"]

    async def test_html_content_is_shown_as_html(self, browser: httpx2.AsyncClient) -> None:
        html = '<p>Watched <a href="https://films.example/1">Dune</a></p>'
        watch = a_watch(content=[{"html": html}])
        await browser.post("/micropub", json=watch, headers=await bearer(browser))

        page = await browser.get("/posts/watch-7f3a9c")

        [entry] = mf2py.parse(doc=page.text)["items"]
        assert entry["properties"]["content"][0]["html"] == html

    async def test_text_content_is_never_read_as_html(self, browser: httpx2.AsyncClient) -> None:
        watch = a_watch(content=["<b>&amp;</b>"], summary=['"><script>'])
        await browser.post("/micropub", json=watch, headers=await bearer(browser))

        page = await browser.get("/")

        [entry] = mf2py.parse(doc=page.text)["items"][1]["children"]
        assert entry["properties"]["content"] == ["<b>&amp;</b>"]
        assert entry["properties"]["summary"] == ['"><script>']

    async def test_a_form_post_is_kept_with_its_lists(
        self, site: SimulatedSite, browser: httpx2.AsyncClient
    ) -> None:
        token = (await sign_in(browser))["access_token"]
        form = {
            "h": "entry",
            "content": "Watched Dune",
            "category[]": ["watch", "movie"],
            "watch-of": "https://films.example/438631",
            "access_token": token,
        }

        created = await browser.post("/micropub", data=form)

        assert created.status_code == 201
        assert site.posts[0].type == ["h-entry"]
        assert site.posts[0].properties == {
            "content": ["Watched Dune"],
            "category": ["watch", "movie"],
            "watch-of": ["https://films.example/438631"],
        }

    async def test_a_token_in_header_and_body_is_one_too_many(
        self, browser: httpx2.AsyncClient
    ) -> None:
        headers = await bearer(browser)
        form = {"h": "entry", "content": "Hi", "access_token": "x"}

        answer = await browser.post("/micropub", data=form, headers=headers)

        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")

    async def test_no_token_is_unauthorized(self, browser: httpx2.AsyncClient) -> None:
        answer = await browser.post("/micropub", json=WATCH)

        assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")

    async def test_a_token_without_create_writes_nothing(
        self, site: SimulatedSite, browser: httpx2.AsyncClient
    ) -> None:
        headers = await bearer(browser, "update")

        answer = await browser.post("/micropub", json=WATCH, headers=headers)

        assert answer.status_code == 403
        assert answer.json()["error"] == "insufficient_scope"
        assert answer.json()["scope"] == "create"
        assert site.posts == []

    async def test_a_token_for_drafts_makes_drafts_that_visitors_cannot_see(
        self, browser: httpx2.AsyncClient
    ) -> None:
        headers = await bearer(browser, "draft")

        created = await browser.post("/micropub", json=WATCH, headers=headers)

        read = await source(browser, headers, url=created.headers["Location"])
        assert read["properties"]["post-status"] == ["draft"]
        assert (await browser.get(created.headers["Location"])).status_code == 404
        assert "Dune" not in (await browser.get("/")).text

    async def test_the_same_slug_again_gets_a_number(self, browser: httpx2.AsyncClient) -> None:
        headers = await bearer(browser)

        created = [await browser.post("/micropub", json=WATCH, headers=headers) for _ in range(3)]

        assert [answer.headers["Location"] for answer in created] == [
            f"{ORIGIN}/posts/watch-7f3a9c",
            f"{ORIGIN}/posts/watch-7f3a9c-2",
            f"{ORIGIN}/posts/watch-7f3a9c-3",
        ]

    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            ("application/json; charset=utf-8", json.dumps(WATCH)),
            ("text/plain", json.dumps(WATCH)),
            ("application/json", "{"),
            ("application/json", "[]"),
            ("application/json", '{"properties": {}}'),
            ("application/json", '{"type": "h-entry", "properties": {}}'),
            ("application/json", '{"type": ["h-entry"], "properties": {"content": "text"}}'),
            ("application/json", json.dumps(a_watch(published=["yesterday"]))),
            (
                "application/json",
                json.dumps(a_watch(**{"watch-of": [{"type": ["h-cite"], "properties": {"a": 1}}]})),
            ),
            ("application/json", '{"action": "dance", "url": "http://site.test/posts/1"}'),
            ("application/json", '{"action": "update", "url": "http://site.test/posts/1"}'),
        ],
        ids=[
            "a charset",
            "plain text",
            "half a document",
            "a list",
            "no type",
            "a type without list",
            "a value without list",
            "a date that is none",
            "a nested value without list",
            "an unknown action",
            "an unknown post",
        ],
    )
    async def test_a_post_is_refused_for(
        self, site: SimulatedSite, browser: httpx2.AsyncClient, content_type: str, body: str
    ) -> None:
        headers = await bearer(browser) | {"Content-Type": content_type}

        answer = await browser.post("/micropub", content=body, headers=headers)

        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert site.posts == []

    async def test_the_list_has_the_newest_date_first_and_pages(
        self, browser: httpx2.AsyncClient
    ) -> None:
        headers = await bearer(browser)
        for day in ("02", "03", "01"):
            watch = a_watch(published=[f"2026-11-{day}T20:00:00Z"], **{"mp-slug": [f"day-{day}"]})
            await browser.post("/micropub", json=watch, headers=headers)

        first = await source(browser, headers, limit="2")
        rest = await source(browser, headers, limit="2", offset="2")

        urls = [item["properties"]["url"] for page in (first, rest) for item in page["items"]]
        assert urls == [[f"{ORIGIN}/posts/day-{day}"] for day in ("03", "02", "01")]
        assert first["paging"] == {"limit": 2, "offset": 0, "total": 3}

    async def test_single_properties_can_be_asked_for(self, browser: httpx2.AsyncClient) -> None:
        headers = await bearer(browser)
        created = await browser.post("/micropub", json=WATCH, headers=headers)
        query = {
            "q": "source",
            "url": created.headers["Location"],
            "properties[]": ["summary", "unknown"],
        }

        answer = await browser.get("/micropub", params=query, headers=headers)

        assert answer.json() == {"properties": {"summary": ["Watched Dune (2021)"]}}

    async def test_the_other_queries_are_answered_and_unknown_ones_are_not(
        self, browser: httpx2.AsyncClient
    ) -> None:
        headers = await bearer(browser)
        asked = [
            await browser.get("/micropub", params={"q": q}, headers=headers)
            for q in ("config", "syndicate-to", "weather")
        ]

        assert asked[0].json()["syndicate-to"] == []
        assert asked[1].json() == {"syndicate-to": []}
        assert (asked[2].status_code, asked[2].json()["error"]) == (400, "invalid_request")

    async def test_an_update_replaces_adds_and_deletes(self, browser: httpx2.AsyncClient) -> None:
        headers = await bearer(browser)
        url = (await browser.post("/micropub", json=WATCH, headers=headers)).headers["Location"]
        update = {
            "action": "update",
            "url": url,
            "replace": {"summary": ["Watched Dune again"]},
            "add": {"category": ["sand"], "rating": ["5"]},
            "delete": {"category": ["movie"]},
        }

        answer = await browser.post("/micropub", json=update, headers=headers)
        await browser.post(
            "/micropub",
            json={"action": "update", "url": url, "delete": ["content"]},
            headers=headers,
        )

        assert answer.status_code == 204
        properties = (await source(browser, headers, url=url))["properties"]
        assert properties["summary"] == ["Watched Dune again"]
        assert properties["category"] == ["watch", "sand"]
        assert properties["rating"] == ["5"]
        assert "content" not in properties

    async def test_a_deleted_post_is_gone_until_it_is_brought_back(
        self, browser: httpx2.AsyncClient
    ) -> None:
        headers = await bearer(browser, "create delete undelete")
        url = (await browser.post("/micropub", json=WATCH, headers=headers)).headers["Location"]

        await browser.post("/micropub", json={"action": "delete", "url": url}, headers=headers)
        gone = await browser.get(url)
        listed = await source(browser, headers)
        read = await source(browser, headers, url=url)
        await browser.post("/micropub", json={"action": "undelete", "url": url}, headers=headers)
        back = await browser.get(url)

        assert gone.status_code == 410
        assert listed["items"] == []
        assert read["error"] == "invalid_request"
        assert back.status_code == 200


class TestPages:
    async def test_the_profile_page_is_a_representative_card_and_a_feed(
        self, browser: httpx2.AsyncClient
    ) -> None:
        headers = await bearer(browser)
        for day in ("02", "03"):
            watch = a_watch(published=[f"2026-11-{day}T20:00:00Z"], **{"mp-slug": [f"day-{day}"]})
            await browser.post("/micropub", json=watch, headers=headers)

        page = await browser.get("/")

        card, feed = mf2py.parse(doc=page.text, url=f"{ORIGIN}/")["items"]
        assert card["type"] == ["h-card"]
        assert card["properties"]["name"] == ["Ada Example"]
        assert card["properties"]["url"] == card["properties"]["uid"] == [f"{ORIGIN}/"]
        assert feed["type"] == ["h-feed"]
        urls = [entry["properties"]["url"] for entry in feed["children"]]
        assert urls == [[f"{ORIGIN}/posts/day-03"], [f"{ORIGIN}/posts/day-02"]]
        title = BeautifulSoup(page.text, "html.parser").select_one("title")
        assert title is not None
        assert title.text == "Ada Example"

    async def test_all_posts_read_back_from_the_pages_of_the_feed(
        self, site: SimulatedSite, browser: httpx2.AsyncClient
    ) -> None:
        await publish_days(browser, await bearer(browser), 45)

        pages = await feed(browser)

        assert [len(page) for page in pages] == [20, 20, 5]
        entries = [entry["properties"] for page in pages for entry in page]
        newest_first = sorted(site.posts, key=lambda post: post.published, reverse=True)
        assert [entry["url"] for entry in entries] == [[post.url] for post in newest_first]
        times = [instant(entry["published"][0]) for entry in entries]
        assert times == [post.published for post in newest_first]
        for entry in entries:
            assert entry["syndication"] == WATCH["properties"]["syndication"]
            assert entry["watch-of"][0]["properties"]["trakt-watch-id"] == ["3373536619"]

    @pytest.mark.parametrize(
        ("query", "status"),
        [("page=1", 200), ("page=2", 404), ("page=0", 422), ("page=x", 422)],
        ids=["the first", "past the end", "zero", "no number"],
    )
    async def test_a_feed_without_posts_has_one_page(
        self, browser: httpx2.AsyncClient, query: str, status: int
    ) -> None:
        assert (await browser.get(f"/?{query}")).status_code == status

    async def test_a_visitor_can_leaf_forth_and_back(self) -> None:
        async with visiting(having(Habits(feed_page_size=1))) as browser:
            await publish_days(browser, await bearer(browser), 3)
            pages = [(await browser.get(f"/?page={number}")).text for number in (1, 2, 3)]

        links = [BeautifulSoup(page, "html.parser").select("nav a") for page in pages]
        assert [[str(link["href"]) for link in found] for found in links] == [
            [f"{ORIGIN}/?page=2"],
            [f"{ORIGIN}/", f"{ORIGIN}/?page=3"],
            [f"{ORIGIN}/?page=2"],
        ]

    async def test_of_a_post_that_lost_all_but_its_text_the_feed_shows_that(self) -> None:
        async with visiting(having(Habits(content_only=True))) as browser:
            await browser.post("/micropub", json=WATCH, headers=await bearer(browser))
            ((entry,),) = await feed(browser)

        assert instant(entry["properties"].pop("published")[0]) == NOON
        del entry["properties"]["author"]
        assert entry["properties"] == {
            "content": WATCH["properties"]["content"],
            "url": [f"{ORIGIN}/posts/1"],
        }

    async def test_posts_of_other_programs_are_there_without_any_request(
        self, site: SimulatedSite, browser: httpx2.AsyncClient
    ) -> None:
        address = site.publish_before(OF_THE_GO_PROGRAM)
        plain = {"watch-of": ["https://films.example/1"], "published": ["2021-01-01T20:00:00Z"]}
        site.publish_before(plain, f"{ORIGIN}/2021/old")

        requests = site.requests
        ((newer, older),) = await feed(browser)
        page = await browser.get(f"{ORIGIN}/2021/old")
        listed = await source(browser, await bearer(browser))

        assert requests == []
        assert newer["properties"]["url"] == [address]
        cite = newer["properties"]["watch-of"][0]["properties"]
        assert cite["trakt-watch-id"] == ["3373536619"]
        assert "trakt-ids" not in cite
        assert older["properties"]["watch-of"] == ["https://films.example/1"]
        assert older["properties"]["url"] == [f"{ORIGIN}/2021/old"]
        (link,) = BeautifulSoup(page.text, "html.parser").select("a.u-watch-of")
        assert link["href"] == "https://films.example/1"
        assert listed["items"][0]["properties"] == OF_THE_GO_PROGRAM | {"url": [address]}
        assert site.posts[0].created_at == datetime(2022, 6, 1, 20, tzinfo=UTC)

    async def test_the_author_can_take_a_post_away(
        self, site: SimulatedSite, browser: httpx2.AsyncClient
    ) -> None:
        url = site.publish_before({"content": ["Hello"]})

        site.delete(url)

        assert (await browser.get(url)).status_code == 410
        assert (await source(browser, await bearer(browser)))["items"] == []

    async def test_five_thousand_posts_are_written_and_read_in_a_moment(
        self, site: SimulatedSite, browser: httpx2.AsyncClient
    ) -> None:
        headers = await bearer(browser)
        begun = time.monotonic()

        for hours in range(5000):
            published = (NOON - timedelta(hours=hours)).isoformat()
            properties = {"content": ["Hi"], "published": [published], "mp-slug": [f"s-{hours}"]}
            site.publish_before(properties)
        for offset in range(0, 5000, 50):
            page = await source(browser, headers, limit="50", offset=str(offset))
            assert len(page["items"]) == 50
        for number in range(1, 251):
            assert (await browser.get("/", params={"page": number})).status_code == 200

        assert time.monotonic() - begun < 30

    @pytest.mark.parametrize("path", ["/", "/auth", "/posts/none"])
    async def test_every_page_says_that_it_is_simulated(
        self, browser: httpx2.AsyncClient, path: str
    ) -> None:
        page = await browser.get(path)

        assert "This is a simulated website." in page.text

    @pytest.mark.parametrize("path", ["/site.css", "/portrait.svg"])
    async def test_pages_find_what_they_refer_to(
        self, browser: httpx2.AsyncClient, path: str
    ) -> None:
        assert (await browser.get(path)).status_code == 200


class TestHabits:
    async def test_legacy_rels_leave_out_the_metadata(self) -> None:
        async with visiting(having(Habits(legacy_rels_only=True))) as browser:
            found = await rels(browser)

        assert "indieauth-metadata" not in found
        assert found["token_endpoint"] == f"{ORIGIN}/token"

    async def test_a_site_may_keep_its_iss_to_itself(self) -> None:
        async with visiting(having(Habits(send_iss=False))) as browser:
            assert "iss" not in await consent(browser)

    async def test_a_token_may_come_as_a_form_with_201(self) -> None:
        async with visiting(having(Habits(token_status=201, token_form_encoded=True))) as browser:
            code = (await consent(browser))["code"][0]
            answer = await browser.post("/token", data=redemption(code))

        assert answer.status_code == 201
        assert answer.headers["Content-Type"].startswith("application/x-www-form-urlencoded")
        assert parse_qs(answer.text)["me"] == [f"{ORIGIN}/"]

    async def test_the_scope_granted_and_me_may_differ_from_the_request(self) -> None:
        async with visiting(having(Habits(scope_granted="draft", me="http://x.test/"))) as browser:
            token = await sign_in(browser, "create")

        assert (token["scope"], token["me"]) == ("draft", "http://x.test/")

    async def test_an_expired_token_is_renewed_by_a_refresh_token_that_serves_once(
        self, clock: Clock
    ) -> None:
        habits = Habits(expires_in=timedelta(hours=1), with_refresh_token=True)
        async with visiting(SimulatedSite(ORIGIN, now=clock, habits=habits)) as browser:
            first = await sign_in(browser)
            clock.time += timedelta(hours=1)
            form = {
                "grant_type": "refresh_token",
                "refresh_token": first["refresh_token"],
                "client_id": CLIENT,
            }

            expired = await source(browser, {"Authorization": f"Bearer {first['access_token']}"})
            second = (await browser.post("/token", data=form)).json()
            again = await browser.post("/token", data=form)
            works = await source(browser, {"Authorization": f"Bearer {second['access_token']}"})

        assert first["expires_in"] == 3600
        assert expired["error"] == "invalid_token"
        assert second["refresh_token"] != first["refresh_token"]
        assert works["items"] == []
        assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")

    async def test_a_network_may_challenge_visitors(self) -> None:
        async with visiting(having(Habits(html_403_challenge=True))) as browser:
            page = await browser.get("/")

        assert page.status_code == 403
        assert "micropub" not in page.text

    async def test_a_site_may_keep_only_text(self) -> None:
        site = having(Habits(content_only=True))
        async with visiting(site) as browser:
            headers = await bearer(browser)
            created = await browser.post("/micropub", json=WATCH, headers=headers)
            html = await browser.post(
                "/micropub", json=a_watch(content=[{"html": "<p>"}]), headers=headers
            )
            listed = await browser.get("/micropub?q=source", headers=headers)
            config = await browser.get("/micropub?q=config", headers=headers)

        assert created.status_code == 201
        assert site.posts[0].properties == {"content": WATCH["properties"]["content"]}
        assert site.posts[0].published == NOON
        assert (html.status_code, listed.status_code, config.json()) == (500, 400, {})

    async def test_a_site_may_answer_other_codes_and_list_no_urls(self) -> None:
        habits = Habits(create_status=202, insufficient_scope_status=401, source_lists_urls=False)
        async with visiting(having(habits)) as browser:
            refused = await browser.post(
                "/micropub", json=WATCH, headers=await bearer(browser, "update")
            )
            headers = await bearer(browser)
            created = await browser.post("/micropub", json=WATCH, headers=headers)
            listed = await source(browser, headers)

        assert refused.status_code == 401
        assert refused.json()["error"] == "insufficient_scope"
        assert created.status_code == 202
        assert "url" not in listed["items"][0]["properties"]

    async def test_a_site_may_drop_all_but_some_properties(self) -> None:
        site = having(Habits(kept_properties=("content", "published")))
        async with visiting(site) as browser:
            headers = await bearer(browser)
            created = await browser.post("/micropub", json=WATCH, headers=headers)
            listed = await source(browser, headers)
            page = await browser.get("/")

        kept = {name: WATCH["properties"][name] for name in ("published", "content")}
        assert listed["items"][0]["properties"] == kept | {"url": [created.headers["Location"]]}
        assert "3373536619" not in page.text
        assert json.loads(site.posts[0].body) == WATCH

    async def test_a_site_may_ignore_slugs(self) -> None:
        async with visiting(having(Habits(ignores_slug=True))) as browser:
            headers = await bearer(browser)
            created = [await browser.post("/micropub", json=WATCH, headers=headers) for _ in "ab"]

        locations = [answer.headers["Location"] for answer in created]
        assert locations == [f"{ORIGIN}/posts/1", f"{ORIGIN}/posts/2"]

    async def test_an_equal_slug_may_replace_the_post(self) -> None:
        site = having(Habits(slug_replaces=True, create_status=202))
        async with visiting(site) as browser:
            headers = await bearer(browser)
            first = await browser.post("/micropub", json=WATCH, headers=headers)
            site.publish_before({"content": ["Something else"]})
            other = a_watch(summary=["Watched Dune again"])
            second = await browser.post("/micropub", json=other, headers=headers)

        assert (first.status_code, second.status_code) == (202, 202)
        assert first.headers["Location"] == second.headers["Location"]
        assert [post.number for post in site.posts] == [1, 2]
        assert site.posts[0].properties["summary"] == ["Watched Dune again"]

    async def test_a_site_may_have_no_source_query(self) -> None:
        async with visiting(having(Habits(has_no_source=True))) as browser:
            headers = await bearer(browser)
            url = (await browser.post("/micropub", json=WATCH, headers=headers)).headers["Location"]
            config = await browser.get("/micropub?q=config", headers=headers)
            asked = [await source(browser, headers), await source(browser, headers, url=url)]

        assert [answer["error"] for answer in asked] == ["invalid_request"] * 2
        assert config.json()["q"] == ["config", "syndicate-to"]

    async def test_reading_posts_may_take_the_scope_update(self) -> None:
        async with visiting(having(Habits(source_needs_update=True))) as browser:
            poor = await browser.get("/micropub?q=source", headers=await bearer(browser, "create"))
            rich = await browser.get("/micropub?q=source", headers=await bearer(browser))

        assert (poor.status_code, poor.json()["error"]) == (403, "insufficient_scope")
        assert rich.json()["items"] == []

    async def test_a_site_may_list_nothing_although_it_has_posts(self) -> None:
        async with visiting(having(Habits(lists_nothing=True))) as browser:
            headers = await bearer(browser)
            url = (await browser.post("/micropub", json=WATCH, headers=headers)).headers["Location"]
            listed = await source(browser, headers)
            read = await source(browser, headers, url=url)
            page = await browser.get(url)

        assert listed == {"items": [], "paging": {}}
        assert read["error"] == "invalid_request"
        assert page.status_code == 200

    async def test_a_list_may_give_no_more_than_ten(self) -> None:
        async with visiting(having(Habits(largest_page=10))) as browser:
            headers = await bearer(browser)
            await publish_days(browser, headers, 12)
            first = await source(browser, headers, limit="100")
            rest = await source(browser, headers, limit="100", offset="10")

        assert [len(page["items"]) for page in (first, rest)] == [10, 2]
        assert first["paging"] == {"limit": 10, "offset": 0, "total": 12}

    async def test_a_list_may_be_turned_by_cursors_and_be_in_the_order_of_coming(self) -> None:
        async with visiting(having(Habits(cursor_paging=True))) as browser:
            headers = await bearer(browser)
            # Day 5 came first and day 1 last: the dates run against the order of coming.
            await publish_days(browser, headers, 5)
            ignored = await source(browser, headers, limit="2", offset="2")
            pages = [await source(browser, headers, limit="2")]
            while "after" in pages[-1]["paging"]:
                after = pages[-1]["paging"]["after"]
                pages.append(await source(browser, headers, limit="2", after=after))
            newest = await source(browser, headers, before=pages[1]["paging"]["before"])

        assert slugs(*pages) == ["day-01", "day-02", "day-03", "day-04", "day-05"]
        assert "before" not in pages[0]["paging"]
        assert ignored == pages[0]
        assert slugs(newest) == ["day-01", "day-02"]

    async def test_a_cursor_that_is_none_is_refused(self) -> None:
        async with visiting(having(Habits(cursor_paging=True))) as browser:
            answer = await source(browser, await bearer(browser), after="yesterday")

        assert answer["error"] == "invalid_request"

    async def test_posts_may_be_shown_late(self, clock: Clock) -> None:
        habits = Habits(shown_after=timedelta(minutes=5))
        site = SimulatedSite(ORIGIN, now=clock, habits=habits)
        async with visiting(site) as browser:
            headers = await bearer(browser)
            created = await browser.post("/micropub", json=WATCH, headers=headers)
            url = created.headers["Location"]
            clock.time += timedelta(minutes=4, seconds=59)
            early = await everywhere(browser, headers, url)
            clock.time += timedelta(seconds=1)
            late = await everywhere(browser, headers, url)

        assert (created.status_code, len(site.posts)) == (201, 1)
        assert early == (0, "invalid_request", 404, False)
        assert late == (1, None, 200, True)

    @pytest.mark.parametrize(("outcome", "count"), [("created", 1), ("lost", 0)])
    async def test_a_challenge_may_stand_before_every_answer_to_a_create(
        self, outcome: Literal["created", "lost"], count: int
    ) -> None:
        site = having(Habits(html_200=outcome))
        async with visiting(site) as browser:
            headers = await bearer(browser)
            answer = await browser.post("/micropub", json=WATCH, headers=headers)
            listed = await source(browser, headers)

        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/html")
        assert "Location" not in answer.headers
        assert len(site.posts) == len(listed["items"]) == count


class TestOneOffs:
    @pytest.mark.parametrize(("creates", "count"), [(False, 0), (True, 1)])
    async def test_an_answer_of_the_tests_choice_comes_once(
        self, site: SimulatedSite, browser: httpx2.AsyncClient, *, creates: bool, count: int
    ) -> None:
        headers = await bearer(browser)
        site.then(Answer(503, {"Retry-After": "300"}, "busy", creates=creates))

        odd = await browser.post("/micropub", json=WATCH, headers=headers)
        written = len(site.posts)
        usual = await browser.post("/micropub", json=WATCH, headers=headers)

        assert (odd.status_code, odd.text, odd.headers["Retry-After"]) == (503, "busy", "300")
        assert written == count
        assert usual.status_code == 201

    @pytest.mark.parametrize(("creates", "count"), [(False, 0), (True, 1)])
    async def test_a_connection_may_die(
        self, site: SimulatedSite, browser: httpx2.AsyncClient, *, creates: bool, count: int
    ) -> None:
        headers = await bearer(browser)
        site.then(Dropped(creates=creates))

        with pytest.raises(httpx2.ReadError):
            await browser.post("/micropub", json=WATCH, headers=headers)

        assert len(site.posts) == count
        assert site.requests[-1].status is None

    async def test_an_answer_may_be_held_after_the_post_is_written(
        self, site: SimulatedSite, browser: httpx2.AsyncClient
    ) -> None:
        headers = await bearer(browser)
        held = Held(until=asyncio.Event())
        site.then(held)
        sending = asyncio.create_task(browser.post("/micropub", json=WATCH, headers=headers))

        await held.reached.wait()
        written_before_the_answer = len(site.posts)
        held.until.set()

        assert (await sending).status_code == 201
        assert written_before_the_answer == 1

    @pytest.mark.parametrize(
        "at",
        ["GET /micropub", "GET /micropub?q=source", "GET /"],
        ids=["a query", "one kind of query", "any page"],
    )
    async def test_any_request_may_meet_trouble_and_only_the_one_that_is_meant(
        self, site: SimulatedSite, browser: httpx2.AsyncClient, at: str
    ) -> None:
        headers = await bearer(browser)
        site.then(Answer(502), at=at)

        created = await browser.post("/micropub", json=WATCH, headers=headers)
        queries = [await browser.get("/micropub?q=source", headers=headers) for _ in "ab"]

        assert created.status_code == 201
        assert [answer.status_code for answer in queries] == [502, 200]

    @pytest.mark.parametrize(("creates", "status"), [(False, 200), (True, 400)])
    async def test_the_answer_to_a_renewal_may_be_lost(
        self, clock: Clock, *, creates: bool, status: int
    ) -> None:
        habits = Habits(with_refresh_token=True)
        site = SimulatedSite(ORIGIN, now=clock, habits=habits)
        async with visiting(site) as browser:
            token = await sign_in(browser)
            form = {
                "grant_type": "refresh_token",
                "refresh_token": token["refresh_token"],
                "client_id": CLIENT,
            }
            site.then(Dropped(creates=creates), at="POST /token")

            with pytest.raises(httpx2.ReadError):
                await browser.post("/token", data=form)

            assert (await browser.post("/token", data=form)).status_code == status

    async def test_every_request_is_remembered(
        self, site: SimulatedSite, browser: httpx2.AsyncClient
    ) -> None:
        await browser.post("/micropub?x=1", content=b"body", headers={"Content-Type": "text/plain"})

        [seen] = site.requests
        assert (seen.method, seen.path, seen.query) == ("POST", "/micropub", "x=1")
        assert seen.headers["content-type"] == "text/plain"
        assert (seen.body, seen.status) == (b"body", 400)

    @pytest.mark.parametrize(("creates", "count"), [(False, 0), (True, 1)])
    async def test_over_a_real_socket_a_dead_connection_is_a_protocol_error(
        self, clock: Clock, *, creates: bool, count: int
    ) -> None:
        async with serving(clock) as (site, browser):
            headers = await bearer(browser)
            site.then(Dropped(creates=creates))

            with pytest.raises(httpx2.RemoteProtocolError):
                await browser.post("/micropub", json=WATCH, headers=headers)

            usual = await browser.post("/micropub", json=WATCH, headers=headers)

        assert usual.status_code == 201
        assert len(site.posts) == count + 1


def having(habits: Habits) -> SimulatedSite:
    return SimulatedSite(ORIGIN, now=Clock(), habits=habits)


@asynccontextmanager
async def serving(clock: Clock) -> AsyncIterator[tuple[SimulatedSite, httpx2.AsyncClient]]:
    """Serve a website on a free port of the loopback address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        site = SimulatedSite(origin, now=clock)
        config = uvicorn.Config(site.app, log_config=None, log_level="critical", ws="none")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async with httpx2.AsyncClient(base_url=origin, trust_env=False) as browser:
            yield site, browser
        server.should_exit = True
        await serving
