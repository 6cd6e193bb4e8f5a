"""Who asks, how often they may, and that nobody is kept out for good by it."""

from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx2
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.store import accounts
from app.vault import digest
from app.web.address import client_address, neighbourhood
from app.web.limits import (
    ACT,
    ASK,
    LOOK,
    POSTER,
    STATIC,
    TOLD,
    WRONG_CODES,
    Limits,
    Rate,
    rate_of,
    taken,
)
from app.web.session import cookie_name
from tests.conftest import NOON
from tests.world import BRIDGE, Clock, World, browser_for, running_world

ADDRESSES = st.ip_addresses().map(str)
RATES = [LOOK, ACT, ASK, STATIC, POSTER, WRONG_CODES, TOLD]
PEER = "203.0.113.9"


@given(st.lists(st.text(max_size=20)), ADDRESSES)
def test_without_a_proxy_nothing_but_the_peer_counts(forwarded: list[str], peer: str) -> None:
    assert client_address(peer, forwarded, 0) == peer


@given(st.lists(st.text(max_size=20)), ADDRESSES, st.lists(ADDRESSES, max_size=4))
def test_whatever_a_client_sends_the_outermost_proxy_s_word_counts(
    made_up: list[str], client: str, proxies: list[str]
) -> None:
    # The client sends what it likes; each proxy adds at the right whom it heard.
    forwarded = [*made_up, ", ".join([client, *proxies])]

    assert client_address(PEER, forwarded, 1 + len(proxies)) == bare(client)


def bare(text: str) -> str:
    found = ip_address(text)
    return str(getattr(found, "ipv4_mapped", None) or found)


@pytest.mark.parametrize(
    ("forwarded", "proxies", "found"),
    [
        (["198.51.100.7"], 1, "198.51.100.7"),
        (["10.0.0.1, 198.51.100.7"], 1, "198.51.100.7"),
        (["10.0.0.1", "198.51.100.7, 192.0.2.1"], 2, "198.51.100.7"),
        (["198.51.100.7:51234"], 1, "198.51.100.7"),
        (["[2001:db8::7]:51234"], 1, "2001:db8::7"),
        (["::ffff:198.51.100.7"], 1, "198.51.100.7"),
        ([], 1, PEER),
        (["198.51.100.7"], 2, PEER),
        (["198.51.100.7, unknown"], 1, PEER),
        (["198.51.100.7,"], 1, PEER),
    ],
)
def test_the_client_is_counted_from_the_right(
    forwarded: list[str], proxies: int, found: str
) -> None:
    assert client_address(PEER, forwarded, proxies) == found


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_whole_ipv6_network_of_one_customer_counts_once(one: int, other: int) -> None:
    network = int(ip_address("2001:db8:1:2::"))

    assert neighbourhood(str(ip_address(network + one))) == neighbourhood(
        str(ip_address(network + other))
    )
    assert neighbourhood("2001:db8:1:3::1") != neighbourhood("2001:db8:1:2::1")


@given(
    st.sampled_from(RATES),
    st.lists(st.timedeltas(timedelta(days=-400), timedelta(days=400)), max_size=200),
)
def test_nobody_ever_waits_longer_than_for_one_more_request(
    rate: Rate, steps: list[timedelta]
) -> None:
    # Also where the clock jumps.
    now, full_at = NOON, None
    for step in steps:
        now += step if abs(now + step - NOON) < timedelta(days=4000) else timedelta()
        full_at, wait = taken(rate, full_at, now)
        assert timedelta() <= wait <= rate.every
        assert full_at - now <= rate.burst * rate.every


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: rate.name)
def test_a_burst_passes_then_one_after_the_other(rate: Rate) -> None:
    limits = Limits()

    waits = [limits.wait(rate, "somebody", NOON) for _ in range(rate.burst + 3)]

    assert [wait == timedelta() for wait in waits] == [True] * rate.burst + [False] * 3
    assert not limits.wait(rate, "somebody else", NOON)
    assert not limits.wait(rate, "somebody", NOON + rate.every)
    assert limits.wait(rate, "somebody", NOON + rate.every)


@given(st.lists(st.integers(0, 500), max_size=300))
def test_the_table_never_grows_beyond_its_cap(who: list[int]) -> None:
    limits = Limits(most=20)
    for one in who:
        limits.wait(ACT, str(one), NOON)
        assert (ACT.name, str(one)) in limits.buckets

    assert len(limits.buckets) <= 20


@pytest.mark.parametrize(
    ("method", "path", "rate"),
    [
        ("POST", "/signin", ASK),
        ("GET", "/callback", ASK),
        ("GET", "/trakt/callback", ASK),
        ("POST", "/poll", ASK),
        ("POST", "/watches/7/look", ASK),
        ("POST", "/settings/notifications/test", ASK),
        ("POST", "/settings", ACT),
        ("POST", "/made-up", ACT),
        ("GET", "/", LOOK),
        ("HEAD", "/made-up", LOOK),
        ("GET", "/static/style.css", STATIC),
        ("GET", "/healthz", STATIC),
        ("GET", "/posters/a1b2.webp", POSTER),
    ],
)
def test_what_costs_more_is_allowed_less_often(method: str, path: str, rate: Rate) -> None:
    assert rate_of(method, path) is rate


def told(response: httpx2.Response) -> str:
    return " ".join(BeautifulSoup(response.text, "html5lib").get_text(" ").split())


async def test_who_asks_too_often_is_told_when_to_come_again_and_then_may(world: World) -> None:
    for _ in range(ASK.burst):
        await world.browser.client.get(f"{BRIDGE}/callback")

    refused = await world.browser.client.get(f"{BRIDGE}/callback")

    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
    assert "You can go on in 5 seconds" in told(refused)
    world.clock.passes(seconds=5)
    assert (await world.browser.client.get(f"{BRIDGE}/callback")).status_code == 400


async def test_a_form_of_countless_fields_is_not_read(world: World) -> None:
    await world.sign_in()
    await world.browser.visit("/settings")

    fields = "a=&" * 30_000
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await world.browser.client.post(f"{BRIDGE}/settings", content=fields, headers=form)

    assert (answer.status_code, "could not be read" in told(answer)) == (400, True)


async def test_a_flood_is_told_in_the_log_once_a_minute(world: World) -> None:
    for _ in range(ASK.burst):
        world.bridge.limits.wait(ASK, "127.0.0.1", world.clock())

    with capture_logs() as log:
        for _ in range(5):
            await world.browser.client.get(f"{BRIDGE}/callback?code=made-up")
        world.clock.passes(seconds=61)
        for _ in range(ASK.burst):
            world.bridge.limits.wait(ASK, "127.0.0.1", world.clock())
        await world.browser.client.get(f"{BRIDGE}/callback?code=made-up")

    line = {"path": "/callback", "code": "too_many", "client": "127.0.0.1"}
    assert log == [{"event": "refused", "log_level": "info", **line}] * 2


@pytest.mark.parametrize("path", ["/signin", "/", "/made-up", "/healthz", "/id", "/robots.txt"])
async def test_every_way_for_strangers_is_limited(world: World, path: str) -> None:
    method = "POST" if path == "/signin" else "GET"
    for _ in range(rate_of(method, path).burst):
        world.bridge.limits.wait(rate_of(method, path), "127.0.0.1", world.clock())

    response = await world.browser.client.request(method, BRIDGE + path)

    assert response.status_code == 429
    assert response.headers["Cache-Control"] == "no-store"


async def test_a_flood_from_the_same_address_does_not_keep_out_who_is_signed_in(
    world: World,
) -> None:
    await world.ready()
    world.clock.passes(minutes=5)
    async with browser_for(world.app) as stranger:
        # A cookie that is made up makes nobody a person.
        stranger.cookies.set(cookie_name(world.settings), "made up", domain="localhost.local")
        for _ in range(ASK.burst):
            await stranger.get(f"{BRIDGE}/callback")
        assert (await stranger.get(f"{BRIDGE}/callback")).status_code == 429

    await world.check_now()

    assert world.browser.page.status_code == 200
    assert "Trakt is being checked" in world.browser.text


async def test_a_person_who_presses_a_button_without_end_is_stopped_too(world: World) -> None:
    await world.ready()
    for _ in range(ASK.burst):
        world.bridge.limits.wait(ASK, "account 1", world.clock())

    await world.browser.press("Check now")

    assert world.browser.page.status_code == 429


async def test_behind_a_proxy_each_client_is_counted_by_its_own_address(
    tmp_path: Path, clock: Clock
) -> None:
    async with running_world(tmp_path, clock, trusted_proxies=1) as world:

        async def ask(forwarded: str) -> int:
            headers = {"X-Forwarded-For": forwarded}
            answer = await world.browser.client.get(f"{BRIDGE}/callback", headers=headers)
            return answer.status_code

        for number in range(ASK.burst):
            await ask(f"192.0.2.{number}, 198.51.100.7")

        assert await ask("192.0.2.99, 198.51.100.7") == 429
        assert await ask("198.51.100.8") == 400


async def test_the_right_setup_code_opens_whatever_others_have_tried(
    tmp_path: Path, clock: Clock
) -> None:
    async with running_world(tmp_path, clock) as world:
        async with world.bridge.database.writing() as session:
            await accounts.set_claim_code(session, digest("the-right-code"))
        for _ in range(WRONG_CODES.burst):
            world.bridge.limits.wait(WRONG_CODES, "everybody", clock())
        await world.browser.visit("/")

        await world.browser.press("Sign in", me=world.me, code="wrong")
        assert world.browser.page.status_code == 429
        await world.browser.visit("/")
        await world.browser.press("Sign in", me=world.me, code="the-right-code")
        await world.browser.press("Approve")

        assert "Ada Example" in world.browser.text
