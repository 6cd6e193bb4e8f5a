"""Who gets into the simulated Trakt, and what may happen to an answer."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import format_datetime

import httpx2
import pytest
import uvicorn

from app.demo.catalogue import DUNE
from app.demo.trakt import SimulatedTrakt
from app.demo.trakt_door import (
    ACCOUNT_LOCKED,
    CLOUDFLARE_403,
    CLOUDFLARE_429,
    CLOUDFLARE_504,
    EMPTY_500,
    HTML_200,
    VIP_ONLY,
    ConnectionDropped,
    Dropped,
    Slow,
    Status,
    Truncated,
)
from tests.conftest import NOON
from tests.trakt_world import a_trakt, an_api_client, authorization, renewal
from tests.world import Clock


async def titles(api: httpx2.AsyncClient, **params: str | int) -> list[str]:
    items = (await api.get("/sync/history", params=params)).json()
    return [str((item.get("movie") or item["episode"])["title"]) for item in items]


async def test_every_answer_is_dated_by_the_clock_that_was_handed_in(
    api: httpx2.AsyncClient, auth: httpx2.AsyncClient, clock: Clock
) -> None:
    clock.moment = NOON - timedelta(days=1000)

    for answer in (await api.get("/sync/history"), await auth.get("/"), await api.get("/nowhere")):
        assert answer.headers["Date"] == format_datetime(clock.moment, usegmt=True)
        assert answer.headers["x-request-id"]
        assert answer.headers["x-runtime"]


async def test_without_a_user_agent_the_edge_answers_403_in_html(
    api: httpx2.AsyncClient,
) -> None:
    del api.headers["User-Agent"]

    answer = await api.get("/sync/history")

    assert answer.status_code == 403
    assert "text/html" in answer.headers["Content-Type"]
    assert "x-request-id" not in answer.headers


@pytest.mark.parametrize("header", ["Content-Type", "trakt-api-key", "trakt-api-version"])
async def test_without_one_of_the_headers_the_api_answers_412(
    api: httpx2.AsyncClient, header: str
) -> None:
    del api.headers[header]

    assert (await api.get("/sync/history")).status_code == 412


async def test_an_expired_token_is_dead(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, clock: Clock
) -> None:
    clock.moment += timedelta(days=7)

    assert (await api.get("/users/settings")).status_code == 401


async def test_after_disconnecting_the_api_answers_401_and_a_refresh_400(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, auth: httpx2.AsyncClient
) -> None:
    pair = trakt.tokens.issue()
    trakt.revoke_everything()

    refresh = await auth.post("/oauth/token", json=renewal(pair.refresh))

    assert (await api.get("/users/settings")).status_code == 401
    assert refresh.status_code == 400


async def test_a_disabled_app_gets_nine_bytes_and_can_still_refresh(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, auth: httpx2.AsyncClient
) -> None:
    pair = trakt.tokens.issue()
    trakt.disable_app()

    read = await api.get("/sync/history")
    refresh = await auth.post("/oauth/token", json=renewal(pair.refresh))

    assert (read.status_code, len(read.content)) == (403, 9)
    assert refresh.status_code == 200


async def test_a_deleted_app_is_unknown_everywhere(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, auth: httpx2.AsyncClient
) -> None:
    pair = trakt.tokens.issue()
    trakt.delete_app()

    refresh = await auth.post("/oauth/token", json=renewal(pair.refresh))
    consent = await auth.get("/oauth/authorize", params=authorization())

    assert (await api.get("/sync/history")).status_code == 403
    assert refresh.json()["error"] == "invalid_client"
    assert consent.status_code == 400


async def test_too_many_reads_get_429_until_the_window_ends(clock: Clock) -> None:
    trakt = a_trakt(clock, gets_per_5_min=2)
    async with an_api_client(trakt) as api:
        statuses = [(await api.get("/sync/history")).status_code for _ in range(2)]
        clock.moment += timedelta(minutes=1)
        refused = await api.get("/sync/history")
        clock.moment += timedelta(minutes=4)
        later = await api.get("/sync/history")

    assert [*statuses, refused.status_code, later.status_code] == [200, 200, 429, 200]
    assert refused.headers["Retry-After"] == "240"
    limit = json.loads(refused.headers["X-Ratelimit"])
    assert (limit["limit"], limit["until"]) == (2, "2026-11-20T12:05:30Z")


async def test_tokens_are_not_given_out_by_the_api_host(api: httpx2.AsyncClient) -> None:
    assert (await api.post("/oauth/token", json={})).status_code == 404


async def test_requests_are_written_down(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, auth: httpx2.AsyncClient
) -> None:
    await api.get("/sync/history", params={"page": 2})
    await auth.post("/oauth/token", json={"client_id": "other"})

    read, token = trakt.requests

    assert (read.host, read.method, read.path, read.status) == ("api", "GET", "/sync/history", 200)
    assert read.query == {"page": "2"}
    assert read.headers["trakt-api-key"] == "client"
    assert (token.host, token.status) == ("auth", 401)
    assert json.loads(token.body) == {"client_id": "other"}


@pytest.mark.parametrize(
    ("fault", "status", "from_the_edge"),
    [
        (Status(429, {"Retry-After": "7"}), 429, False),
        (CLOUDFLARE_429, 429, True),
        (CLOUDFLARE_403, 403, True),
        (CLOUDFLARE_504, 504, True),
        (EMPTY_500, 500, False),
        (HTML_200, 200, True),
        (ACCOUNT_LOCKED, 423, False),
        (VIP_ONLY, 426, False),
    ],
)
async def test_a_fault_meets_one_request(
    trakt: SimulatedTrakt,
    api: httpx2.AsyncClient,
    fault: Status,
    status: int,
    from_the_edge: bool,  # noqa: FBT001 - pytest hands it over by name
) -> None:
    trakt.then(fault)

    hurt = await api.get("/sync/history")
    sound = await api.get("/sync/history")

    assert hurt.status_code == status
    assert ("x-request-id" not in hurt.headers) == from_the_edge
    assert all(hurt.headers[name] == value for name, value in fault.headers.items())
    assert sound.json() == []


async def test_a_fault_can_wait_for_a_path(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, auth: httpx2.AsyncClient
) -> None:
    trakt.then(EMPTY_500, at="/oauth/token")
    trakt.then(Status(502), at="/sync/watched")

    assert (await api.get("/sync/history")).status_code == 200
    assert (await api.get("/sync/watched/movies?extended=min")).status_code == 502
    assert (await auth.post("/oauth/token", json={})).status_code == 500


async def test_an_answer_can_be_cut_in_half(trakt: SimulatedTrakt, api: httpx2.AsyncClient) -> None:
    trakt.watch(DUNE)
    trakt.then(Truncated())

    answer = await api.get("/sync/history")

    with pytest.raises(ValueError, match="line 1"):
        answer.json()


async def test_a_slow_answer_tells_what_is_true_when_it_is_released(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient
) -> None:
    slow = Slow()
    trakt.then(slow)

    reading = asyncio.create_task(titles(api))
    await slow.arrived.wait()
    trakt.watch(DUNE)
    slow.release.set()

    assert await reading == ["Dune"]


@pytest.mark.parametrize(
    ("fault", "second"),
    [(Dropped(committed=True), 400), (Dropped(), 200)],
    ids=["after renewing", "before"],
)
async def test_the_answer_to_a_refresh_can_be_lost(
    trakt: SimulatedTrakt, auth: httpx2.AsyncClient, fault: Dropped, second: int
) -> None:
    body = renewal(trakt.tokens.issue().refresh)
    trakt.then(fault, at="/oauth/token")

    with pytest.raises(ConnectionDropped):
        await auth.post("/oauth/token", json=body)

    assert (await auth.post("/oauth/token", json=body)).status_code == second


async def test_over_a_socket_a_dropped_connection_is_one(trakt: SimulatedTrakt) -> None:
    trakt.then(Dropped())

    async with served(trakt) as origin, httpx2.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(f"{origin}/sync/history")
        sound = await client.get(f"{origin}/sync/history")

    assert sound.status_code == 412
    assert sound.headers.get_list("Date") == [format_datetime(NOON, usegmt=True)]


@asynccontextmanager
async def served(trakt: SimulatedTrakt) -> AsyncIterator[str]:
    # A listening socket holds the first connections until uvicorn is ready to take them.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(trakt.api, log_config=None, log_level="critical", date_header=False)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await serving
