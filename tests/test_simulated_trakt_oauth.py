"""The simulated auth.trakt.tv: tokens, consent and the pages for a person."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from bs4 import BeautifulSoup

from app.demo.catalogue import DUNE, LIES
from app.demo.trakt import SimulatedTrakt
from tests.trakt_contract import errors
from tests.trakt_world import RETURN, VERIFIER, authorization, renewal
from tests.world import Clock


async def decided(auth: httpx2.AsyncClient, decision: str = "approve", **changes: str) -> str:
    form = {**authorization(**changes), "decision": decision}
    answer = await auth.post("/oauth/authorize", data=form)
    assert answer.status_code == 303
    return str(answer.headers["location"])


async def a_code(auth: httpx2.AsyncClient, **changes: str) -> str:
    return parse_qs(urlsplit(await decided(auth, **changes)).query)["code"][0]


def exchange(code: str, **changes: str) -> dict[str, str]:
    body = {
        "code": code,
        "client_id": "client",
        "redirect_uri": RETURN,
        "grant_type": "authorization_code",
        "code_verifier": VERIFIER,
    }
    return body | changes


async def test_an_approved_app_gets_tokens_that_work(
    trakt: SimulatedTrakt, auth: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    answer = await auth.post("/oauth/token", json=exchange(await a_code(auth)))

    assert errors("oauth.token", answer.status_code, answer.json(), strict=True) == []
    assert answer.json()["expires_in"] == 604_800
    api.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    assert (await api.get("/users/settings")).status_code == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "w" * 64}, "invalid_grant"),
        ({"redirect_uri": RETURN.upper()}, "invalid_grant"),
        ({"code": "made up"}, "invalid_grant"),
        ({"client_id": "other"}, "invalid_client"),
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
async def test_a_code_is_exchanged_only_for_the_one_who_asked(
    auth: httpx2.AsyncClient, changes: dict[str, str], error: str
) -> None:
    body = exchange(await a_code(auth)) | changes

    answer = await auth.post("/oauth/token", json=body)

    assert answer.json()["error"] == error


async def test_a_secret_may_be_sent_and_without_pkce_it_must(auth: httpx2.AsyncClient) -> None:
    with_both = exchange(await a_code(auth), client_secret="s3")
    no_pkce = await a_code(auth, code_challenge="", code_challenge_method="")
    secret_only = exchange(no_pkce, client_secret="s3")
    neither = exchange(await a_code(auth, code_challenge="", code_challenge_method=""))

    statuses = [
        (await auth.post("/oauth/token", json=body)).status_code
        for body in (with_both, secret_only, neither)
    ]

    assert statuses == [200, 200, 401]


async def test_a_code_works_once_and_not_for_long(auth: httpx2.AsyncClient, clock: Clock) -> None:
    once, late = exchange(await a_code(auth)), exchange(await a_code(auth))
    first = await auth.post("/oauth/token", json=once)
    second = await auth.post("/oauth/token", json=once)
    clock.moment += timedelta(minutes=10)
    third = await auth.post("/oauth/token", json=late)

    assert [answer.status_code for answer in (first, second, third)] == [200, 400, 400]


async def test_a_refresh_token_works_once_and_ends_the_old_pair(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, auth: httpx2.AsyncClient
) -> None:
    pair = trakt.tokens.issue()
    api.headers["Authorization"] = f"Bearer {pair.access}"

    first = await auth.post("/oauth/token", json=renewal(pair.refresh))
    second = await auth.post("/oauth/token", json=renewal(pair.refresh))

    assert first.status_code == 200
    assert (await api.get("/users/settings")).status_code == 401
    assert second.json() == {
        "error": "invalid_grant",
        "error_description": "session not found",
    }
    assert errors("oauth.token", second.status_code, second.json(), strict=True) == []


async def test_the_token_endpoint_takes_json_and_no_basic_authentication(
    trakt: SimulatedTrakt, auth: httpx2.AsyncClient
) -> None:
    body = renewal(trakt.tokens.issue().refresh)

    form = await auth.post("/oauth/token", data=body)
    basic = await auth.post("/oauth/token", json=body, auth=("client", "s3"))

    assert form.status_code == 400
    assert basic.json()["error"] == "invalid_client"


async def test_revoking_always_succeeds(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, auth: httpx2.AsyncClient
) -> None:
    token = api.headers["Authorization"].removeprefix("Bearer ")

    for body in ({"token": token, "client_id": "client"}, {"token": "unknown"}, {}):
        answer = await auth.post("/oauth/revoke", json=body)

        assert errors("oauth.revoke", answer.status_code, answer.text) == []
    assert (await api.get("/users/settings")).status_code == 401


@pytest.mark.parametrize(
    ("choose", "outcome"),
    [("approve", {"code"}), ("deny", {"error"})],
)
async def test_the_consent_page_leads_back_with_the_decision_and_the_state(
    auth: httpx2.AsyncClient, choose: str, outcome: set[str]
) -> None:
    shown = await auth.get("/oauth/authorize", params=authorization())
    page = BeautifulSoup(shown.text, "html5lib")
    button = page.select_one(f"button#{choose}")
    assert button is not None
    fields = {str(field["name"]): str(field["value"]) for field in page.select("form input")}

    answer = await auth.post(
        "/oauth/authorize", data={**fields, str(button["name"]): str(button["value"])}
    )

    assert {text.get_text() for text in page.select("button")} == {"Approve", "Deny"}
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query.keys() == outcome | {"state"}
    assert query["state"] == ["xyz"]


async def test_a_denial_can_be_arranged_for_once(
    trakt: SimulatedTrakt, auth: httpx2.AsyncClient
) -> None:
    trakt.deny_next = True

    assert "error=access_denied" in await decided(auth)
    assert "code=" in await decided(auth)


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "other"},
        {"redirect_uri": f"{RETURN}/"},
        {"response_type": "token"},
        {"code_challenge_method": "plain"},
    ],
)
async def test_a_wrong_request_for_consent_ends_on_a_page_and_not_at_the_app(
    auth: httpx2.AsyncClient, changes: dict[str, str]
) -> None:
    asked = authorization(**changes)

    shown = await auth.get("/oauth/authorize", params=asked)
    decided = await auth.post("/oauth/authorize", data={**asked, "decision": "approve"})

    assert [shown.status_code, decided.status_code] == [400, 400]
    assert "<button" not in shown.text


async def test_a_person_can_watch_rewatch_choose_and_remove(
    trakt: SimulatedTrakt, auth: httpx2.AsyncClient
) -> None:
    await auth.post("/watch")
    await auth.post("/again")
    await auth.post("/watch")
    await auth.post("/watch", data={"work": str(LIES.trakt), "when": "unknown"})
    await auth.post("/remove", data={"play": str(trakt.plays[0].id)})

    assert [play.work for play in trakt.plays] == [DUNE, DUNE, LIES]
    assert trakt.plays[-1].watched_at.year == 1970


async def test_the_home_page_says_what_it_is_and_shows_the_plays_in_local_time(
    trakt: SimulatedTrakt, auth: httpx2.AsyncClient
) -> None:
    trakt.watch(DUNE)
    trakt.watch(LIES, at="unknown")

    page = BeautifulSoup((await auth.get("/")).text, "html5lib")

    assert page.title is not None
    assert page.title.get_text() == "Simulated Trakt"
    assert "This is not Trakt" in page.get_text()
    plays = [" ".join(play.get_text(" ").split()) for play in page.select(".plays li")]
    assert plays == [
        "Dune (2021) 20 November 2026, 13:00 Remove",
        "Dark 1x02 “Lies” date unknown Remove",
    ]
    labelled = [page.select(f"#{label['for']}") for label in page.select("label[for]")]
    # Or the label is around its field.
    within = [label.select("input") for label in page.select("label:not([for])")]
    fields = page.select("select, textarea, input[id]")
    assert all(len(one) == 1 for one in (*labelled, *within))
    assert {field["id"] for (field,) in (*labelled, *within)} == {field["id"] for field in fields}


async def test_a_person_can_disconnect_the_app(
    trakt: SimulatedTrakt, api: httpx2.AsyncClient, auth: httpx2.AsyncClient
) -> None:
    await auth.post("/disconnect")

    assert (await api.get("/sync/history")).status_code == 401
