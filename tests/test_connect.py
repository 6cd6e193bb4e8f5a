"""Connecting Trakt, with all that may go wrong on the way."""

from pathlib import Path

import httpx2
import pytest

from app.demo import trakt_door
from app.demo.trakt_door import Dropped, Status
from app.store import connections
from tests.trakt_contract import errors
from tests.world import BRIDGE, Browser, Clock, World, browser_for, running_world


async def asked(world: World) -> httpx2.URL:
    """Press “Connect Trakt” and return the consent page's URL instead of going there."""
    await world.browser.visit("/")
    form, _ = world.browser.form_with("Connect Trakt")
    csrf = form.find("input", attrs={"name": "csrf"})
    assert csrf is not None
    response = await world.browser.client.post(
        f"{BRIDGE}/trakt/connect", data={"csrf": str(csrf["value"])}
    )
    return httpx2.URL(response.headers["Location"])


async def consented(world: World) -> str:
    """Approve at Trakt and return the URL of our callback, not yet visited."""
    url = await asked(world)
    answer = await world.browser.client.post(
        str(url.copy_with(query=None)), data={**url.params, "decision": "approve"}
    )
    return answer.headers["Location"]


async def is_connected(world: World) -> bool:
    async with world.bridge.database.reading() as session:
        rows = await connections.of_account(session, 1)
    return bool(rows and rows[0].sealed_tokens)


async def test_the_request_is_what_trakt_wants(world: World) -> None:
    await world.sign_in()

    url = await asked(world)

    assert str(url).startswith(f"{world.settings.trakt_auth_url}/oauth/authorize?")
    query = dict(url.params)
    assert query.pop("state")
    assert query.pop("code_challenge")
    assert query == {
        "response_type": "code",
        "client_id": "client",
        "redirect_uri": f"{BRIDGE}/trakt/callback",
        "code_challenge_method": "S256",
    }


async def test_the_trakt_user_is_shown_and_known_by_a_stable_id(world: World) -> None:
    await world.sign_in()

    await world.connect()

    assert "Trakt is connected" in world.browser.text
    async with world.bridge.database.reading() as session:
        (row,) = await connections.of_account(session, 1)
    assert (row.source_name, row.source_user) == ("ada", world.trakt.person.uuid)


async def test_a_person_who_says_no_is_told_that_nothing_was_connected(world: World) -> None:
    await world.sign_in()
    await world.browser.visit("/")
    await world.browser.press("Connect Trakt")

    await world.browser.press("Deny")

    assert "You said no to Trakt" in world.browser.text
    assert not await is_connected(world)


async def test_a_callback_works_once(world: World) -> None:
    await world.sign_in()
    url = await consented(world)
    kept = httpx2.Cookies(world.browser.client.cookies)
    await world.browser.visit(url)
    world.browser.client.cookies = kept

    await world.browser.visit(url)

    assert "done already" in world.browser.text
    assert await is_connected(world)


async def test_a_callback_in_another_browser_connects_nothing(world: World) -> None:
    await world.sign_in()
    url = await consented(world)
    async with browser_for(world.app) as client:
        await Browser(client).visit(url)

    assert not await is_connected(world)


async def test_a_callback_that_comes_too_late_connects_nothing(world: World) -> None:
    await world.sign_in()
    url = await consented(world)
    world.clock.passes(minutes=16)

    await world.browser.visit(url)

    assert "too long ago" in world.browser.text
    assert not await is_connected(world)


async def test_the_state_of_one_flow_never_serves_the_other(world: World) -> None:
    await world.sign_in()
    url = httpx2.URL(await consented(world))
    (flow,) = [one for one in world.browser.client.cookies.jar if one.name.startswith("flow-")]
    # A browser keeps it to the path it was made for; one that is bent to do otherwise gets
    # no further.
    world.browser.client.cookies.set(
        flow.name, str(flow.value), domain="localhost.local", path="/callback"
    )
    so_far = len(world.site.requests)

    await world.browser.visit(str(url.copy_with(path="/callback")))

    assert "another browser" in world.browser.text
    assert len(world.site.requests) == so_far
    assert not await is_connected(world)


@pytest.mark.parametrize("closed", ["disabled", "deleted", "426"])
async def test_an_app_that_trakt_refuses_is_explained(world: World, closed: str) -> None:
    await world.sign_in()
    url = await consented(world)
    if closed == "disabled":
        world.trakt.disable_app()
    elif closed == "deleted":
        world.trakt.delete_app()
    else:
        world.trakt.then(trakt_door.VIP_ONLY, at="/users/settings")

    await world.browser.visit(url)

    assert "Trakt VIP" in world.browser.text
    assert f"{BRIDGE}/trakt/callback" in world.browser.text
    assert not await is_connected(world)


@pytest.mark.parametrize(
    "fault",
    [Status(500), Status(429), Dropped(), trakt_door.CLOUDFLARE_504, trakt_door.HTML_200],
    ids=["500", "429", "dropped", "504", "html"],
)
@pytest.mark.parametrize("at", ["/oauth/token", "/users/settings"])
async def test_a_bad_day_at_trakt_is_explained_and_leaves_nothing_half_done(
    world: World, fault: trakt_door.Fault, at: str
) -> None:
    await world.sign_in()
    url = await consented(world)
    # A read that broke off is asked once more; the key is not.
    world.trakt.then(fault, fault, at=at)

    response = await world.browser.visit(url)

    assert response.status_code in {400, 502}
    assert "Trakt" in world.browser.text
    assert not await is_connected(world)


async def test_a_token_whose_person_cannot_be_told_is_given_back(world: World) -> None:
    await world.sign_in()
    url = await consented(world)
    world.trakt.then(Status(500), at="/users/settings")

    await world.browser.visit(url)

    assert world.trakt.requests[-1].path == "/oauth/revoke"


async def test_without_an_app_connecting_is_explained(tmp_path: Path, clock: Clock) -> None:
    async with running_world(tmp_path, clock, trakt_client_id="") as world:
        await world.sign_in()
        await world.browser.visit("/settings")
        csrf = world.browser.document.find("input", attrs={"name": "csrf"})
        assert csrf is not None

        response = await world.browser.client.post(
            f"{BRIDGE}/trakt/connect", data={"csrf": str(csrf["value"])}
        )

        assert response.status_code == 409
        assert "no Trakt app yet" in response.text


async def test_our_questions_follow_trakt_s_contract(world: World) -> None:
    await world.ready()

    for seen in world.trakt.requests:
        if seen.path == "/sync/history":
            # The contract has numbers, which travel as text.
            query = {k: int(v) if v.isdecimal() else v for k, v in seen.query.items()}
            needed = {"page", "limit", "extended"}
            assert needed <= set(query) <= needed | {"start_at", "end_at"}
            assert errors("users.history.all", None, query, part="query") == []
