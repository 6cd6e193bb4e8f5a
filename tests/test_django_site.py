from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from bs4 import BeautifulSoup

from tests.django_site.client import consent, running

CLIENT = "http://127.0.0.1:8000/id"
CALLBACK = "http://127.0.0.1:8000/callback"
VERIFIER = "v" * 43

WATCH: dict[str, Any] = {
    "type": ["h-entry"],
    "properties": {
        "published": ["2026-11-20T21:14:00+01:00"],
        "summary": ["Watched Dune (2021)"],
        "content": ["🎬 Watched Dune (2021)"],
        "watch-of": [
            {
                "type": ["h-cite"],
                "properties": {"name": ["Dune"], "trakt-watch-id": ["3373536619"]},
            }
        ],
        "syndication": ["https://trakt.example/movies/dune-2021#watch-3373536619"],
        "mp-slug": ["watch-7f3a9c"],
    },
}


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("django-site")) as origin:
        yield origin


@pytest.fixture
async def browser(origin: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=origin, trust_env=False) as client:
        yield client


async def metadata(browser: httpx2.AsyncClient) -> dict[str, Any]:
    page = BeautifulSoup((await browser.get("/")).text, "html.parser")
    [link] = page.select("head link[rel=indieauth-metadata]")
    document: dict[str, Any] = (await browser.get(str(link["href"]))).json()
    return document


async def decided(
    browser: httpx2.AsyncClient, decision: str, scope: str = "create update delete"
) -> dict[str, list[str]]:
    query = {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": CALLBACK,
        "state": "s1",
        "code_challenge": create_s256_code_challenge(VERIFIER),
        "code_challenge_method": "S256",
        "scope": scope,
        "me": str(browser.base_url.join("/")),
    }
    endpoint = (await metadata(browser))["authorization_endpoint"]
    answer = await consent(browser, f"{endpoint}?{urlencode(query)}", decision)
    assert answer.startswith(f"{CALLBACK}?")
    return parse_qs(urlsplit(answer).query)


async def redeem(browser: httpx2.AsyncClient, code: str, verifier: str) -> httpx2.Response:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": CLIENT,
        "redirect_uri": CALLBACK,
        "code_verifier": verifier,
    }
    endpoint = (await metadata(browser))["token_endpoint"]
    return await browser.post(endpoint, data=form, headers={"Accept": "application/json"})


@pytest.fixture
async def bearer(browser: httpx2.AsyncClient) -> dict[str, str]:
    code = (await decided(browser, "approve"))["code"][0]
    token = (await redeem(browser, code, VERIFIER)).json()["access_token"]
    return {"Authorization": f"Bearer {token}", "Accept": "application/json"}


async def test_the_profile_page_leads_to_the_metadata(
    origin: str, browser: httpx2.AsyncClient
) -> None:
    found = await metadata(browser)

    assert found["issuer"] == f"{origin}/indieweb/"
    assert found["code_challenge_methods_supported"] == ["S256"]


async def test_approval_leads_back_with_code_state_and_iss(
    origin: str, browser: httpx2.AsyncClient
) -> None:
    answer = await decided(browser, "approve")

    assert answer["state"] == ["s1"]
    assert answer["iss"] == [f"{origin}/indieweb/"]
    assert answer["code"]


async def test_denial_leads_back_with_an_error(browser: httpx2.AsyncClient) -> None:
    answer = await decided(browser, "deny")

    assert answer["error"] == ["access_denied"]
    assert answer["state"] == ["s1"]


async def test_a_code_and_its_verifier_are_worth_a_token(
    origin: str, browser: httpx2.AsyncClient
) -> None:
    code = (await decided(browser, "approve"))["code"][0]

    answer = await redeem(browser, code, VERIFIER)

    assert answer.is_success
    assert answer.json()["me"] == f"{origin}/"
    assert answer.json()["scope"] == "create update delete"
    assert answer.json()["access_token"]


async def test_a_code_with_a_wrong_verifier_is_worth_nothing(browser: httpx2.AsyncClient) -> None:
    code = (await decided(browser, "approve"))["code"][0]

    answer = await redeem(browser, code, "w" * 43)

    assert (answer.status_code, answer.text) == (400, "invalid_grant")


async def test_a_post_is_kept_with_all_its_properties(
    browser: httpx2.AsyncClient, bearer: dict[str, str]
) -> None:
    created = await browser.post("/indieweb/micropub/", json=WATCH, headers=bearer)

    url = created.headers["Location"]
    kept = (await browser.get("/posts.json")).json()["posts"]
    query = {"q": "source", "url": url}
    read = await browser.get("/indieweb/micropub/", params=query, headers=bearer)
    listed = await browser.get("/indieweb/micropub/?q=source&limit=1", headers=bearer)
    assert created.status_code == 201
    assert {"url": url, "properties": WATCH["properties"], "deleted": False} in kept
    assert read.json()["properties"] | WATCH["properties"] == read.json()["properties"]
    [item] = listed.json()["items"]
    assert item["properties"] == WATCH["properties"] | {"url": item["properties"]["url"]}
    assert "Watched Dune" in (await browser.get(url)).text


async def test_a_deleted_post_is_gone(browser: httpx2.AsyncClient, bearer: dict[str, str]) -> None:
    created = await browser.post("/indieweb/micropub/", json=WATCH, headers=bearer)
    url = created.headers["Location"]

    deleted = await browser.post(
        "/indieweb/micropub/", json={"action": "delete", "url": url}, headers=bearer
    )

    assert deleted.is_success
    assert (await browser.get(url)).status_code == 410


async def test_a_website_that_was_stopped_comes_back_with_its_tokens_and_posts(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as origin:
        async with httpx2.AsyncClient(base_url=origin, trust_env=False) as browser:
            code = (await decided(browser, "approve"))["code"][0]
            token = (await redeem(browser, code, VERIFIER)).json()["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
            await browser.post("/indieweb/micropub/", json=WATCH, headers=headers)

    with running(tmp_path, port=urlsplit(origin).port or 0) as same_origin:
        async with httpx2.AsyncClient(base_url=same_origin, trust_env=False) as browser:
            listed = await browser.get("/indieweb/micropub/?q=source", headers=headers)

    assert same_origin == origin
    assert len(listed.json()["items"]) == 1
