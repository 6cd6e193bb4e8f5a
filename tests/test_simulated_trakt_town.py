"""Several people of the simulated Trakt behind one origin for each of its hosts."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from bs4 import BeautifulSoup

from app.demo.catalogue import DUNE, LIES
from app.demo.trakt_town import SimulatedTraktTown
from tests.trakt_world import RETURN, VERIFIER, authorization, renewal
from tests.world import Clock, listening, origin, serving

HEADERS = {
    "Content-Type": "application/json",
    "trakt-api-key": "client",
    "trakt-api-version": "2",
}


@dataclass
class Visitor:
    """A browser of its own, and an app that calls the API and the token endpoint."""

    town: SimulatedTraktTown
    client: httpx2.AsyncClient

    async def connect(self, name: str) -> dict[str, str]:
        """Approve the app as ``name``; return the pair of tokens."""
        await self.client.get(f"/as/{name}")
        form = authorization() | {"decision": "approve"}
        decided = await self.client.post("/oauth/authorize", data=form)
        body = {
            "code": parse_qs(urlsplit(decided.headers["location"]).query)["code"][0],
            "client_id": "client",
            "redirect_uri": RETURN,
            "grant_type": "authorization_code",
            "code_verifier": VERIFIER,
        }
        pair: dict[str, str] = (await self.client.post("/oauth/token", json=body)).json()
        return pair

    async def history(self, pair: dict[str, str]) -> list[str]:
        items = (await self.read("/sync/history", pair)).json()
        return [str((item.get("movie") or item["episode"])["title"]) for item in items]

    async def read(self, path: str, pair: dict[str, str]) -> httpx2.Response:
        transport = httpx2.ASGITransport(app=self.town.api)
        headers = HEADERS | {"Authorization": f"Bearer {pair['access_token']}"}
        async with httpx2.AsyncClient(transport=transport, headers=headers) as api:
            return await api.get(f"https://api.test{path}")


@pytest.fixture
def town(clock: Clock) -> SimulatedTraktTown:
    town = SimulatedTraktTown(client_id="client", redirect_uri=RETURN, now=clock)
    town.person("ada").watch(DUNE)
    town.person("bob").watch(LIES)
    return town


@pytest.fixture
async def visitor(town: SimulatedTraktTown) -> AsyncIterator[Visitor]:
    transport = httpx2.ASGITransport(app=town.auth)
    async with httpx2.AsyncClient(transport=transport, base_url="https://auth.test") as client:
        yield Visitor(town, client)


async def test_each_reads_their_own_history_and_nobody_else_s(visitor: Visitor) -> None:
    ada, bob = await visitor.connect("ada"), await visitor.connect("bob")

    assert await visitor.history(ada) == ["Dune"]
    assert await visitor.history(bob) == ["Lies"]
    people = [(await visitor.read("/users/settings", pair)).json()["user"] for pair in (ada, bob)]
    assert [person["username"] for person in people] == ["ada", "bob"]
    assert people[0]["ids"]["uuid"] != people[1]["ids"]["uuid"]


async def test_a_name_stands_for_one_person(town: SimulatedTraktTown) -> None:
    assert town.person("ada") is town.person("ada")


async def test_each_can_renew_their_pair_once(visitor: Visitor, town: SimulatedTraktTown) -> None:
    for name, title in (("ada", "Dune"), ("bob", "Lies")):
        body = renewal((await visitor.connect(name))["refresh_token"])

        first = await visitor.client.post("/oauth/token", json=body)
        second = await visitor.client.post("/oauth/token", json=body)

        assert await visitor.history(first.json()) == [title]
        assert (second.status_code, second.json()["error"]) == (400, "invalid_grant")
        statuses = [seen.status for seen in town.person(name).requests if "token" in seen.path]
        assert statuses == [200, 200, 400]


async def test_revoking_is_a_matter_of_one_person(visitor: Visitor) -> None:
    ada, bob = await visitor.connect("ada"), await visitor.connect("bob")

    body = {"token": ada["access_token"], "client_id": "client"}
    await visitor.client.post("/oauth/revoke", json=body)

    assert (await visitor.read("/users/settings", ada)).status_code == 401
    assert (await visitor.read("/users/settings", bob)).status_code == 200


async def test_a_token_of_nobody_opens_nothing(visitor: Visitor) -> None:
    invented = {"access_token": "invented"}

    read = await visitor.read("/sync/history", invented)
    renewed = await visitor.client.post("/oauth/token", json=renewal("invented"))
    nonsense = await visitor.client.post("/oauth/token", content=b"[", headers=HEADERS)

    assert read.status_code == 401
    assert (renewed.status_code, renewed.json()["error"]) == (400, "invalid_grant")
    assert nonsense.status_code == 400


async def test_an_expired_token_is_refused_at_its_owner_s_door(
    visitor: Visitor, town: SimulatedTraktTown, clock: Clock
) -> None:
    ada = await visitor.connect("ada")
    clock.passes(days=7)

    assert (await visitor.read("/sync/history", ada)).status_code == 401
    assert town.person("ada").requests[-1].status == 401


async def test_whoever_is_not_signed_in_is_asked_who_they_are_and_goes_on(
    visitor: Visitor,
) -> None:
    asked = await visitor.client.get("/oauth/authorize", params=authorization())
    links = BeautifulSoup(asked.text, "html.parser").select("main a")
    consent = await visitor.client.get(str(links[1]["href"]), follow_redirects=True)

    assert asked.status_code == 401
    assert [link.text for link in links] == ["ada", "bob"]
    assert consent.status_code == 200
    assert "signed in as bob" in BeautifulSoup(consent.text, "html.parser").text
    assert authorization()["code_challenge"] in consent.text


@pytest.mark.parametrize("then", ["https://evil.test/", "//evil.test/", "/"])
async def test_signing_in_never_leads_to_another_host(visitor: Visitor, then: str) -> None:
    answer = await visitor.client.get("/as/ada", params={"then": then})

    path = answer.headers["Location"]
    assert path.startswith("/")
    assert not path.startswith("//")


async def test_nobody_signs_in_as_a_stranger(visitor: Visitor) -> None:
    assert (await visitor.client.get("/as/eve")).status_code == 404
    assert (await visitor.client.get("/")).status_code == 401


async def test_plays_of_two_people_never_share_an_id(town: SimulatedTraktTown) -> None:
    ada, bob = town.person("ada"), town.person("bob")
    ada.fill(10)
    bob.fill(10)

    assert not {play.id for play in ada.plays} & {play.id for play in bob.plays}


async def test_trouble_of_one_person_leaves_the_other_alone(
    visitor: Visitor, town: SimulatedTraktTown
) -> None:
    ada, bob = await visitor.connect("ada"), await visitor.connect("bob")
    town.person("ada").disable_app()

    assert (await visitor.read("/sync/history", ada)).status_code == 403
    assert await visitor.history(bob) == ["Lies"]


async def test_both_hosts_can_be_served_on_sockets(town: SimulatedTraktTown) -> None:
    for app in (town.api, town.auth):
        listener = listening()
        async with serving(app, [listener]), httpx2.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"{origin(listener)}/sync/history", headers=HEADERS)

        assert answer.status_code == 401
