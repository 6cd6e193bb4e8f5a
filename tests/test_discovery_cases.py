"""Every case of discovery_cases.json, and of the files named in DISCOVERY_CASES."""

import json
import os
import re
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.errors import AddressBlocked, AnswerTooLarge, NeverSent, SignInError
from app.http import MIB, Address, Guard
from app.indieweb import discovery, indieauth
from app.indieweb.profile import profile_url

Case = Mapping[str, Any]
PADDING = "<!--" + "x" * MIB + "-->"
MORE = [
    name for name in re.split(f"[,{os.pathsep}]", os.environ.get("DISCOVERY_CASES", "")) if name
]
FILES = [Path(__file__).with_name("discovery_cases.json"), *map(Path, MORE)]
CASES = [
    pytest.param(case, id=f"{path.stem}: {case['kind']}: {case['name']}")
    for path in FILES
    for case in json.loads(path.read_text(encoding="utf-8"))["cases"]
]


class PretendNetwork(httpx2.AsyncBaseTransport):
    """Serves the answers of one case, behind the real guard, and keeps what was asked."""

    def __init__(self, case: Case) -> None:
        own = {case["url"]: case} if "url" in case else {}
        self.answers = {same(url): answer for url, answer in (case["responses"] | own).items()}
        self.encoding = case.get("encoding", "utf-8")
        self.asked: list[tuple[str, str]] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = str(request.url)
        if request.url.userinfo:
            raise AddressBlocked(url)
        port = request.url.port or {"http": 80, "https": 443}[request.url.scheme]
        Guard(()).check(request.url.host, port, literal_addresses(request.url.host))
        self.asked.append((request.method, url))
        if same(url) not in self.answers:
            raise NeverSent(f"{url} could not be reached")
        answer = self.answers[same(url)]
        body = answer["body"].replace("@PAD1MiB@", PADDING).encode(self.encoding)
        if len(body) > MIB:
            raise AnswerTooLarge(url)
        status = answer["status"]
        if request.method == "HEAD":
            status = answer.get("head_status", status)
        headers = [(name.encode(), value.encode()) for name, value in answer["headers"]]
        return httpx2.Response(status, headers=headers, content=body)


def same(url: str) -> str:
    """Return what two spellings of one URL have in common."""
    parsed = httpx2.URL(url)
    return str(parsed.copy_with(fragment=None, path=parsed.path))


def literal_addresses(host: str) -> list[Address]:
    """Return the address a resolver finds without asking anybody, as it does for ``127.1``."""
    try:
        found = socket.getaddrinfo(
            "127.0.0.1" if host == "localhost" else host, 0, flags=socket.AI_NUMERICHOST
        )
    except (OSError, UnicodeError):
        return []
    return [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


@pytest.mark.parametrize("case", CASES)
async def test_known_case(case: Case) -> None:
    if "error" in case:
        with pytest.raises(SignInError) as stopped:
            await KINDS[case["kind"]](case)
        assert (stopped.value.code, bool(str(stopped.value))) == (case["error"], True)
    else:
        found = await KINDS[case["kind"]](case)
        assert {name: found[name] for name in case["expect"]} == case["expect"]


async def found_profile_url(case: Case) -> Case:
    url = profile_url(case["input"])
    accepted = case["expect"]["url_any_of"] if "expect" in case else []
    return {"url_any_of": accepted if url in accepted else [url]}


async def found_endpoints(case: Case) -> Case:
    network = PretendNetwork(case)
    async with httpx2.AsyncClient(transport=network) as client:
        try:
            found = await discovery.discover(client, case["url"])
        finally:
            assert_each_page_was_fetched_once(network)
    endpoints = {name: getattr(found.endpoints, name) for name in discovery.Endpoints.__slots__}
    wanted = case.get("expect", {}).get("authorize_url_must_contain", "")
    return endpoints | {
        "final_url": found.url,
        "seen": list(found.seen),
        "micropub": found.micropub,
        "authorize_url_must_contain": wanted if wanted in consent_url(found.endpoints) else None,
    }


async def found_micropub(case: Case) -> Case:
    network = PretendNetwork(case)
    async with httpx2.AsyncClient(transport=network) as client:
        with discovery.explained():
            page = await discovery.visit(client, case["url"])
    assert_each_page_was_fetched_once(network)
    return {"micropub": discovery.required_micropub(page.url, discovery.micropub_of(page))}


def assert_each_page_was_fetched_once(network: PretendNetwork) -> None:
    assert {method for method, _ in network.asked} <= {"GET"}
    # A loop is asked again and again on purpose, until the limit.
    assert len(set(network.asked)) == len(network.asked) or len(network.asked) == 6


def consent_url(endpoints: discovery.Endpoints) -> str:
    return indieauth.authorization_url(
        endpoints,
        client_id="https://bridge.example/id",
        redirect_uri="https://bridge.example/callback",
        state="S",
        verifier="v" * 43,
        scope="create",
        me="https://example.com/",
    )


async def found_person(case: Case) -> Case:
    async with httpx2.AsyncClient(transport=PretendNetwork(case)) as client:
        me, found = await indieauth.confirmed_me(
            client,
            case["token_response"].get("me"),
            entered=case["entered"],
            seen=case["seen"],
            authorization_endpoint=case["authorization_endpoint"],
            # The format does not say which token endpoint was found at the start.
            token_endpoint=case.get("token_endpoint"),
        )
    assert (found is None) == (me in {case["entered"], *case["seen"]})
    return {"me": me}


async def found_code(case: Case) -> Case:
    params = case["params"]
    pairs = [(str(k), str(v)) for k, v in (params.items() if isinstance(params, dict) else params)]
    # A state is forgotten when it is used, so the second time there is none.
    state = "" if case.get("replay") else case["session"]["state"]
    issuer = case["session"]["issuer"]
    return {"code": indieauth.callback_code(pairs, state=state, issuer=issuer)}


async def found_token(case: Case) -> Case:
    body = case["body"].encode()
    token = indieauth.token_answer(case["status"], body, case["requested_scope"])
    indieauth.required_creation(token.scope)
    return {
        "access_token": token.access_token,
        "me": token.me,
        "scope": list(token.scope),
        "expires_in": token.expires_in,
        "refresh_token": token.refresh_token,
    }


KINDS = {
    "profile-url": found_profile_url,
    "discovery": found_endpoints,
    "redirect": found_endpoints,
    "rel": found_micropub,
    "me-confirm": found_person,
    "callback": found_code,
    "token-response": found_token,
}
