"""Attacks on signing in, each as the whole way of a browser, with a website that lies.

What the lying website says is a value here; everything else is real: the bridge, a good website,
and the connections between them.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlencode

import httpx2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlmodel import select
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.demo.catalogue import DUNE
from app.demo.site import Habits
from app.errors import SignInError
from app.indieweb import indieauth
from app.tables import AccountRow, ClaimRow, SiteRow
from tests.world import BRIDGE, Browser, Clock, World, browser_for, running_world, serving
from tests.world import listening as a_listener
from tests.world import origin as origin_of


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    form: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass
class Liar:
    """A website whose every answer is chosen by the test; it keeps what it was asked."""

    origin: str
    answers: dict[str, Response] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    @property
    def me(self) -> str:
        return f"{self.origin}/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        form = dict(parse_qsl((await request.body()).decode()))
        self.asked.append(Asked(request.method, request.url.path, form, request.headers))
        answer = self.answers.get(request.url.path) or Response(status_code=404)
        await answer(scope, receive, send)

    def shows(self, html: str, at: str = "/", **headers: str) -> None:
        self.answers[at] = Response(html, media_type="text/html", headers=headers)

    def tells(self, at: str, **document: object) -> None:
        self.answers[at] = Response(json.dumps(document), media_type="application/json")

    def is_honest(self, at: str = "/", **changes: str) -> None:
        """Behave like any good website whose person has just said yes."""
        ends = {
            "authorization_endpoint": f"{self.origin}/auth",
            "token_endpoint": f"{self.origin}/token",
            "micropub": f"{self.origin}/micropub",
            **changes,
        }
        self.shows("".join(f'<link rel="{rel}" href="{url}">' for rel, url in ends.items()), at)
        self.says_who(f"{self.origin}{at}")

    def says_who(self, me: str, **more: object) -> None:
        self.tells("/token", access_token="a-token", me=me, scope="create update", **more)

    def paths(self) -> list[str]:
        return [one.path for one in self.asked]


@asynccontextmanager
async def a_liar() -> AsyncIterator[Liar]:
    listener = a_listener()
    liar = Liar(origin_of(listener))
    liar.is_honest()
    async with serving(liar, [listener]):
        yield liar


@pytest.fixture
async def liar() -> AsyncIterator[Liar]:
    async with a_liar() as running:
        yield running


async def begun(browser: Browser, me: str) -> httpx2.Response:
    """Type the address and press the button; the answer, not followed."""
    await browser.visit("/")
    form, _ = browser.form_with("Sign in")
    csrf = form.find("input", attrs={"name": "csrf"})
    assert csrf is not None
    return await browser.client.post(
        f"{BRIDGE}/signin", data={"csrf": str(csrf["value"]), "me": me}
    )


async def consented(browser: Browser, me: str, **answer: str) -> str:
    """Where the person's browser is sent after they said yes at their website."""
    asked = parse_qs(httpx2.URL((await begun(browser, me)).headers["Location"]).query.decode())
    (state,), (redirect_uri,) = asked["state"], asked["redirect_uri"]
    return f"{redirect_uri}?{urlencode({'state': state, 'code': 'a-code'} | answer)}"


async def people(world: World) -> list[str]:
    """Who has an account."""
    async with world.bridge.database.reading() as session:
        return sorted((await session.scalars(select(AccountRow.me))).all())


async def signed_in(world: World, liar: Liar, me: str | None = None) -> httpx2.Response:
    """Try to sign in at the liar's; the page that the person ends at."""
    url = await consented(world.browser, me or liar.me)
    return await world.browser.visit(url)


async def test_a_person_of_another_website_signs_in_as_themselves(world: World, liar: Liar) -> None:
    await signed_in(world, liar)

    assert await people(world) == [liar.me]


async def test_a_website_cannot_say_that_its_person_is_somebody_else(
    world: World, liar: Liar
) -> None:
    liar.says_who(world.me)

    await signed_in(world, liar)

    assert "could not be confirmed" in world.browser.text
    assert await people(world) == []
    # The token leads to nothing here, so it is given back; no other site hears of it.
    assert [one.form.get("action") for one in liar.asked if one.path == "/token"] == [
        None,
        "revoke",
    ]
    assert [seen.path for seen in world.site.requests] == ["/", METADATA]


METADATA = "/.well-known/oauth-authorization-server"


async def test_a_profile_never_says_who_somebody_is(world: World, liar: Liar) -> None:
    claimed = {"me": world.me, "url": world.me, "name": "Ada", "email": "ada@example.com"}
    liar.says_who(liar.me, profile=claimed, sub=world.me, url=world.me)

    await signed_in(world, liar)

    assert await people(world) == [liar.me]


async def test_on_a_shared_host_nobody_signs_in_as_the_person_they_typed(
    world: World, liar: Liar
) -> None:
    for person in ("/ada", "/eve"):
        liar.is_honest(person)

    # The server has just asked Eve, whatever address she had typed.
    await signed_in(world, liar, f"{liar.origin}/ada")

    assert await people(world) == [f"{liar.origin}/eve"]


@pytest.mark.parametrize("send_iss", [True, False], ids=["iss", "no iss"])
async def test_a_page_that_mixes_in_a_good_server_learns_no_key_of_its_people(
    tmp_path: Path, clock: Clock, liar: Liar, *, send_iss: bool
) -> None:
    async with running_world(tmp_path, clock, Habits(legacy_rels_only=True)) as world:
        liar.is_honest(authorization_endpoint=f"{world.me}auth")
        liar.says_who(world.me)
        iss = {"iss": world.me} if send_iss else {}

        await world.browser.visit(await consented(world.browser, liar.me, **iss))

        assert await people(world) == []
        # Where the good server says who it is, the code is not even sent.
        assert ("/token" in liar.paths()) is not send_iss


@pytest.mark.parametrize("how", ["digit", "host", "path", "query", "fragment", "user"])
async def test_an_issuer_that_only_looks_like_the_beginning_of_its_metadata_is_refused(
    world: World, liar: Liar, how: str
) -> None:
    issuer = {
        "digit": liar.origin[:-1],
        "host": f"{liar.origin}.evil.example/",
        "path": f"{liar.origin}/met",
        "query": f"{liar.me}?",
        "fragment": f"{liar.me}#",
        "user": liar.me.replace("//", "//user@"),
    }[how]
    liar.shows("<link rel=indieauth-metadata href=/metadata><link rel=micropub href=/m>")
    ends = {name: f"{liar.origin}/{name}" for name in ("authorization_endpoint", "token_endpoint")}
    liar.tells("/metadata", issuer=issuer, **ends)

    answer = await begun(world.browser, liar.me)

    assert (answer.status_code, "flow-" in str(answer.headers)) == (502, False)
    assert "issuer" in answer.text
    liar.tells("/metadata", issuer=liar.me, **ends)
    assert (await begun(world.browser, liar.me)).status_code == 303


async def test_metadata_that_is_broken_never_leads_back_to_the_old_ways(
    world: World, liar: Liar
) -> None:
    for broken in ("missing", "nonsense", "no issuer"):
        liar.is_honest(**{"indieauth-metadata": f"{liar.origin}/metadata"})
        liar.answers.pop("/metadata", None)
        if broken == "nonsense":
            liar.shows("<p>moved", "/metadata")
        elif broken == "no issuer":
            liar.tells("/metadata", authorization_endpoint=liar.me, token_endpoint=liar.me)

        answer = await begun(world.browser, liar.me)

        assert answer.status_code in {400, 502}
    assert "/auth" not in liar.paths()


async def test_what_a_visitor_may_write_into_a_page_chooses_no_endpoint(
    world: World, liar: Liar
) -> None:
    evil = "https://evil.example/x"
    rels = ("indieauth-metadata", "authorization_endpoint", "token_endpoint", "micropub")
    comment = "".join(
        f'<a rel="{rel}" href="{evil}">x</a><area rel="{rel}" href="{evil}">'
        f'<template><link rel="{rel}" href="{evil}"></template>'
        f'<svg><link rel="{rel}" href="{evil}" /></svg><!-- <link rel="{rel}" href="{evil}"> -->'
        for rel in rels
    )
    liar.shows(comment)
    assert (await begun(world.browser, liar.me)).status_code == 400

    good = liar.answers["/"]
    liar.is_honest()
    honest = bytes(liar.answers["/"].body).decode()
    assert good is not liar.answers["/"]
    liar.shows(comment + honest)
    await signed_in(world, liar)

    async with world.bridge.database.reading() as session:
        (site,) = (await session.scalars(select(SiteRow))).all()
    assert (site.micropub, site.token_endpoint) == (f"{liar.me}micropub", f"{liar.me}token")


@pytest.mark.parametrize("name", ["next", "redirect", "redirect_uri", "return_to", "url"])
async def test_after_signing_in_nobody_is_led_to_another_website(
    world: World, liar: Liar, name: str
) -> None:
    url = await consented(world.browser, liar.me, **{name: "https://evil.example/"})

    answer = await world.browser.client.get(url)

    assert answer.headers["Location"] == "/"


@pytest.mark.parametrize(
    "path",
    [
        *("//evil.example/", "//evil.example", "/\\evil.example/", "/%2f/evil.example/"),
        *("//evil.example/signin/", "/signin/", "/watches/", "/.//evil.example/%2e%2e/"),
        *("/@evil.example/", "/static//evil.example/", "/static/..//evil.example/"),
    ],
)
async def test_no_address_of_ours_leads_to_another_website(world: World, path: str) -> None:
    answer = await world.browser.client.get(f"{BRIDGE}{path}")

    place = httpx2.URL(BRIDGE).join(answer.headers.get("Location", "/"))
    assert str(place).startswith(f"{BRIDGE}/")
    assert not place.path.startswith("//")


async def test_of_two_people_who_claim_at_once_one_gets_in(world: World) -> None:
    async with AsyncExitStack() as stack:
        liars = [await stack.enter_async_context(a_liar()) for _ in range(4)]
        browsers = [Browser(await stack.enter_async_context(browser_for(world.app))) for _ in liars]
        urls = [
            await consented(*both) for both in zip(browsers, (it.me for it in liars), strict=True)
        ]
        pages = await asyncio.gather(
            *(browser.visit(url) for browser, url in zip(browsers, urls, strict=True))
        )

        (owner,) = await people(world)
        assert sorted(page.status_code for page in pages) == [200, 403, 403, 403]
        async with world.bridge.database.reading() as session:
            claim = await session.get(ClaimRow, 1)
        assert claim is not None
        assert claim.me == owner
        # Whoever was turned away gets the key back.
        for one in liars:
            actions = [asked.form.get("action") for asked in one.asked if asked.path == "/token"]
            assert actions == ([None] if one.me == owner else [None, "revoke"])


async def test_who_began_before_a_code_was_needed_still_needs_it(world: World, liar: Liar) -> None:
    async with browser_for(world.app) as client:
        early = Browser(client)
        url = await consented(early, liar.me)
        # Meanwhile an owner came and left, so that the door is guarded from now on.
        await world.sign_in()
        await world.browser.visit("/settings/delete")
        await world.browser.press("Delete my account")

        await early.visit(url)

        assert "setup code" in early.text
    assert await people(world) == []


async def test_another_website_cannot_start_a_sign_in(world: World, liar: Liar) -> None:
    await world.browser.visit("/")
    answer = await world.browser.client.post(
        f"{BRIDGE}/signin", data={"me": liar.me}, headers={"Origin": "https://evil.example"}
    )

    assert answer.status_code == 400
    assert liar.asked == []


async def test_a_planted_flow_signs_nobody_in_as_somebody_else(world: World, liar: Liar) -> None:
    async with browser_for(world.app) as client:
        attacker = Browser(client)
        url = await consented(attacker, liar.me)
        planted = [one for one in client.cookies.jar if one.name.startswith("flow-")]
    # A site beside ours can set cookies for all of the domain, but none with the prefix __Host-.
    victim = world.browser
    for one in planted:
        victim.client.cookies.set(one.name, str(one.value), domain=one.domain, path=one.path)

    await victim.visit(url)

    assert "another browser" in victim.text
    assert await people(world) == []
    await victim.visit("/watches")
    assert "Sign in with your website" in victim.text


async def test_behind_https_no_neighbour_can_plant_what_a_flow_is_bound_to(
    tmp_path: Path, clock: Clock, liar: Liar
) -> None:
    async with running_world(tmp_path, clock, base_url="https://localhost") as world:
        client = world.browser.client
        world.browser.page = await client.get("https://localhost/")
        form, _ = world.browser.form_with("Sign in")
        csrf = form.find("input", attrs={"name": "csrf"})
        assert csrf is not None
        answer = await client.post(
            "https://localhost/signin", data={"csrf": str(csrf["value"]), "me": liar.me}
        )

    cookies = answer.headers.get_list("Set-Cookie")
    (bound_to,) = [one for one in cookies if one.startswith("__Host-browser=")]
    (carries,) = [one for one in cookies if one.startswith("__Secure-flow-")]
    assert "Domain" not in bound_to + carries
    for one, path in ((bound_to, "/"), (carries, "/callback")):
        told = {part.strip() for part in one.split(";")}
        assert {"Secure", "HttpOnly", "SameSite=lax", f"Path={path}"} <= told


async def test_a_code_and_a_key_are_sent_to_one_place_each(world: World, liar: Liar) -> None:
    url = await consented(world.browser, liar.me)
    await world.browser.visit(url)
    await world.connect()
    await world.work()
    world.clock.passes(minutes=5)
    world.trakt.watch(DUNE)
    await world.check_now()

    with_code = [(one.method, one.path) for one in liar.asked if "a-code" in str(one)]
    with_key = {(one.method, one.path) for one in liar.asked if "a-token" in str(one)}
    assert with_code == [("POST", "/token")]
    assert {path for _, path in with_key} == {"/micropub"}
    assert not [one for one in world.trakt.requests if "a-token" in str(one)]
    assert world.site.requests == []


async def test_a_key_never_follows_a_redirect(world: World, liar: Liar) -> None:
    await signed_in(world, liar)
    await world.connect()
    await world.work()
    async with a_liar() as thief:
        for path in ("/micropub", "/token"):
            liar.answers[path] = Response(status_code=307, headers={"Location": thief.me})
        world.clock.passes(minutes=5)
        world.trakt.watch(DUNE)
        await world.check_now()

        assert "/micropub" in liar.paths()
        assert thief.asked == []


NAMES = st.sampled_from(["state", "code", "iss", "error", "error_description", "me", "next"])
QUERY = st.lists(st.tuples(NAMES | st.text(max_size=5), st.text(max_size=30)), max_size=6)


@example([("state", "S"), ("code", "c"), ("iss", "i")], "i")
@example([("state", "S"), ("code", "c")], "i")
@given(QUERY, st.none() | st.text(max_size=20))
def test_any_callback_is_a_code_or_a_sign_in_error(
    query: list[tuple[str, str]], issuer: str | None
) -> None:
    code = None
    with suppress(SignInError):
        code = indieauth.callback_code(query, state="S", issuer=issuer, token_endpoint=BRIDGE)

    wanted = {("code", code), ("state", "S"), *([("iss", issuer)] if issuer is not None else [])}
    assert code is None or wanted <= set(query)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=QUERY, cookie=st.text(alphabet=st.characters(max_codepoint=126, min_codepoint=33)))
async def test_no_callback_breaks_a_page(
    world: World, query: list[tuple[str, str]], cookie: str
) -> None:
    for path in ("/callback", "/trakt/callback"):
        answer = await world.browser.client.get(
            f"{BRIDGE}{path}?{urlencode(query)}", headers={"Cookie": f"flow-x={cookie}"}
        )

        assert answer.status_code in {303, 400, 429}
    async with world.bridge.database.reading() as session:
        assert not (await session.scalars(select(AccountRow))).all()
