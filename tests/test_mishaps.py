"""What a newcomer may break in the demo, by the buttons of its two neighbours."""

from datetime import timedelta

import httpx2
import pytest

from app.demo.site import SimulatedSite
from app.demo.trakt import SimulatedTrakt
from tests.conftest import NOON
from tests.world import Browser, Clock

ORIGIN = "http://ada.test"


async def on(site: SimulatedSite) -> Browser:
    client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=site.app))
    browser = Browser(client)
    await browser.visit(site.me)
    return browser


@pytest.fixture
def site(clock: Clock) -> SimulatedSite:
    return SimulatedSite(ORIGIN, now=clock, with_mishaps=True)


@pytest.mark.parametrize("button", ["Lose the next answer", "Lose the next post", "Be busy once"])
async def test_a_button_of_the_website_lets_the_next_post_go_wrong(
    site: SimulatedSite, button: str
) -> None:
    browser = await on(site)

    await browser.press(button)

    assert "It will happen to the next post" in browser.text
    ((at, _),) = site.record.one_offs
    assert at == "POST /micropub"


async def test_an_unknown_mishap_is_none(site: SimulatedSite) -> None:
    browser = await on(site)

    answer = await browser.client.post(f"{ORIGIN}/mishap", data={"mishap": "?"})

    assert answer.status_code == 303
    assert site.record.one_offs == []


async def test_a_website_outside_of_the_demo_has_no_such_buttons(clock: Clock) -> None:
    site = SimulatedSite(ORIGIN, now=clock)
    browser = await on(site)

    assert "go wrong" not in browser.text
    assert (await browser.client.post(f"{ORIGIN}/mishap", data={})).status_code == 405


async def test_a_button_of_trakt_marks_a_whole_series(clock: Clock) -> None:
    trakt = SimulatedTrakt(client_id="demo", redirect_uri="http://bridge.test/", now=clock)
    browser = Browser(httpx2.AsyncClient(transport=httpx2.ASGITransport(app=trakt.auth)))
    await browser.visit("http://trakt.test/")

    await browser.press("Mark a whole series")

    plays = trakt.history.latest(100)
    assert len(plays) == len({play.work for play in plays}) == 40
    assert all(play.watched_at >= NOON - timedelta(minutes=1) for play in plays)
