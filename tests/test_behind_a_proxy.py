"""Behind a proxy the bridge is where BASE_URL says, whatever the request says."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.world import Clock, World, running_world

PUBLIC = "https://watch.example"
# As the proxy of a platform sends them, and as a stranger might.
CLAIMS = [
    {},
    {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "watch.example",
        "X-Forwarded-For": "203.0.113.9",
    },
    {
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "81",
        "X-Forwarded-Prefix": "/evil.example",
        "X-Forwarded-For": "203.0.113.9, 10.0.0.1",
        "Forwarded": "for=203.0.113.9;host=evil.example;proto=http",
        "Host": "evil.example",
    },
]


@pytest.fixture
async def public(tmp_path: Path, clock: Clock) -> AsyncIterator[World]:
    async with running_world(
        tmp_path, clock, base_url=PUBLIC, trusted_proxies=1, allowed_sites="*"
    ) as running:
        yield running


def inside(world: World, claims: dict[str, str]) -> httpx2.AsyncClient:
    """What the proxy is for us: somebody who asks an address that nobody outside knows."""
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=world.app, client=("10.0.0.1", 4711)),
        base_url="http://10.0.0.7:8000",
        headers=claims,
    )


@pytest.mark.parametrize("claims", CLAIMS, ids=["none", "honest", "forged"])
async def test_links_cookies_and_redirects_are_those_of_the_public_address(
    public: World, claims: dict[str, str]
) -> None:
    paths = (
        "/",
        "/id",
        "/watches",
        "/watches/",
        "/static",
        "/settings",
        "/favicon.ico",
        "/healthz/",
    )
    async with inside(public, claims) as proxy:
        answers = {path: await proxy.get(path) for path in paths}

    for path, answer in answers.items():
        for name in ("evil.example", "10.0.0.7", "http://watch.example"):
            assert name not in answer.text + str(answer.headers), path
    home, about = answers["/"], answers["/id"].text
    assert home.headers["Set-Cookie"].startswith("__Host-")
    assert "Secure" in home.headers["Set-Cookie"]
    assert "max-age" in home.headers["Strict-Transport-Security"]
    assert f'href="{PUBLIC}/callback"' in about
    leads = {path: answer.headers.get("Location") for path, answer in answers.items()}
    # Addresses without a host: wherever the browser is, it stays.
    assert leads["/settings"] == "/?said=sign-in-first"
    assert leads["/favicon.ico"] == "/static/logo.png"
    assert {leads["/watches/"], leads["/static"], leads["/healthz/"]} == {None}


@pytest.mark.parametrize("claims", CLAIMS, ids=["none", "honest", "forged"])
async def test_a_website_is_told_the_public_address(public: World, claims: dict[str, str]) -> None:
    async with inside(public, claims) as proxy:
        page = await proxy.get("/")
        # The cookie is one for https, which the proxy takes care of.
        cookie = page.headers["Set-Cookie"].partition(";")[0]
        csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]
        answer = await proxy.post(
            "/signin",
            data={"csrf": csrf, "me": public.me},
            headers={"Cookie": cookie, "Origin": PUBLIC},
        )

    there = httpx2.URL(answer.headers["Location"]).params
    assert there["client_id"] == f"{PUBLIC}/id"
    assert there["redirect_uri"] == f"{PUBLIC}/callback"


async def test_a_form_of_another_origin_is_not_taken_for_ours_by_a_forged_host(
    public: World,
) -> None:
    async with inside(public, CLAIMS[2]) as proxy:
        page = await proxy.get("/")
        cookie = page.headers["Set-Cookie"].partition(";")[0]
        csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]
        answer = await proxy.post(
            "/signin",
            data={"csrf": csrf, "me": public.me},
            headers={"Cookie": cookie, "Origin": "http://evil.example"},
        )

    assert answer.status_code == 400
    assert "Location" not in answer.headers
