"""Whatever we fetch because a stranger named it goes through the guard, or does not go at all."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from app.errors import NeverSent, SignInError, SiteBusy, SiteRefused
from app.http import GuardedTransport
from app.indieweb import feed, indieauth, micropub, source
from app.indieweb.discovery import discover, discover_typed
from app.indieweb.profile import web_url

INSIDE = [
    "http://127.0.0.1:{port}/",
    "http://127.0.0.1/",
    "HTTP://127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[0:0:0:0:0:ffff:7f00:1]:{port}/",
    "http://[::ffff:0:127.0.0.1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://127.255.255.254:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://[64:ff9b:1::7f00:1]:{port}/",
    "http://①②⑦.0.0.1:{port}/",
    "http://127。0。0。1:{port}/",
    "http://[fe80::1]:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[2002:7f00:1::1]:{port}/",
    "http://169.254.169.254/",
    "http://[fd00:ec2::254]/",
    "http://10.0.0.1/",
    "http://100.64.0.1/",
    "http://192.0.2.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://[ff02::1]/",
    "http://user:p@127.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://127.0.0.1:{port}#@example.com/",
    "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/",
    "file:///etc/passwd",
    "http+unix://%2Frun%2Fsecret.sock/",
]
ME = "https://good.example/"
SECOND = timedelta(seconds=5)


class GoodSite(httpx2.AsyncBaseTransport):
    """The pages of a public website that names ``inside``; all else goes through the real guard."""

    def __init__(self, inside: str, guard: GuardedTransport) -> None:
        named = f'<link rel="{{}}" href="{inside}">'
        self.pages = {
            "/moved": httpx2.Response(302, headers=[(b"Location", inside.encode())]),
            "/far": httpx2.Response(307, headers={"Location": "/moved"}),
            "/header": page("", f'<{inside}>; rel="indieauth-metadata"'),
            "/element": page(named.format("indieauth-metadata")),
            "/metadata": page(named.format("indieauth-metadata").replace(inside, "/moved")),
        }
        self.guard = guard

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.host == "good.example":
            return self.pages[request.url.path]
        return await self.guard.handle_async_request(request)


def page(html: str, link: str = "") -> httpx2.Response:
    headers = [(b"Content-Type", b"text/html"), (b"Link", link.encode())]
    return httpx2.Response(200, headers=headers, text=html)


async def typed(http: httpx2.AsyncClient, url: str) -> object:
    return await discover_typed(http, url)


async def typed_without_its_scheme(http: httpx2.AsyncClient, url: str) -> object:
    return await discover_typed(http, url.rpartition("//")[2])


async def profile(http: httpx2.AsyncClient, url: str) -> object:
    return await discover(http, url)


def at(path: str) -> Callable[[httpx2.AsyncClient, str], Awaitable[object]]:
    async def find(http: httpx2.AsyncClient, _: str) -> object:
        return await discover(http, ME.rstrip("/") + path)

    return find


async def confirmed(http: httpx2.AsyncClient, url: str) -> object:
    return await indieauth.confirmed_me(
        http, url, entered=ME, seen=[ME], authorization_endpoint=ME, token_endpoint=ME
    )


async def token(http: httpx2.AsyncClient, url: str) -> object:
    return await indieauth.redeem(
        http, url, client_id=ME, redirect_uri=ME, code="c", verifier="v" * 43, scope="create"
    )


async def renewal(http: httpx2.AsyncClient, url: str) -> object:
    return await indieauth.refresh(http, url, client_id=ME, refresh_token="r", scope="create")


async def revocation(http: httpx2.AsyncClient, url: str) -> object:
    return await indieauth.revoke(
        http, revocation_endpoint=url, token_endpoint=url, client_id=ME, tokens=["t"]
    )


async def post(http: httpx2.AsyncClient, url: str) -> object:
    return await micropub.create(http, url, "t", "{}", SECOND)


async def post_list(http: httpx2.AsyncClient, url: str) -> object:
    return await source.listed(http, url, "t", None, SECOND)


async def one_post(http: httpx2.AsyncClient, url: str) -> object:
    return await source.source(http, url, "t", ME, SECOND)


async def feed_page(http: httpx2.AsyncClient, url: str) -> object:
    return await feed.feed_page(http, url, SECOND)


async def moved_feed_page(http: httpx2.AsyncClient, _: str) -> object:
    return await feed.feed_page(http, f"{ME}moved", SECOND)


# Each kind of fetch, and how it ends when the address is refused.
FETCHES: list[tuple[Callable[[httpx2.AsyncClient, str], Awaitable[object]], type[Exception]]] = [
    (typed, SignInError),
    (typed_without_its_scheme, SignInError),
    (profile, SignInError),
    (at("/moved"), SignInError),
    (at("/far"), SignInError),
    (at("/header"), SignInError),
    (at("/element"), SignInError),
    (at("/metadata"), SignInError),
    (confirmed, SignInError),
    (token, SignInError),
    (renewal, NeverSent),
    (post, SiteRefused),
    (post_list, SiteRefused),
    (one_post, SiteRefused),
    (feed_page, SiteBusy),
    (moved_feed_page, SiteBusy),
]
NAMES = [
    "typed",
    "typed without scheme",
    "profile page",
    "redirect of the profile page",
    "redirect after a redirect",
    "metadata named in a header",
    "metadata named in the page",
    "redirect of the metadata",
    "page of the returned me",
    "token endpoint",
    "renewal of a token",
    "Micropub endpoint",
    "list of posts",
    "one post",
    "feed page",
    "redirect of a feed page",
]
# These are stored in canonical form only, so what has none never gets so far.
STORED = {profile, token, renewal, post, post_list, one_post, feed_page}


@pytest.mark.parametrize(("fetch", "error"), FETCHES, ids=NAMES)
async def test_no_kind_of_fetch_contacts_an_address_inside(
    fetch: Callable[[httpx2.AsyncClient, str], Awaitable[object]], error: type[Exception]
) -> None:
    async for http, url in addresses_inside():
        if fetch not in STORED or is_canonical(url):
            with pytest.raises(error):
                await fetch(http, url)


async def test_a_key_is_given_back_to_no_address_inside() -> None:
    async for http, url in addresses_inside():
        if is_canonical(url):
            assert not await revocation(http, url)


async def test_what_the_client_itself_is_asked_for_is_refused_too() -> None:
    async for http, url in addresses_inside():
        # httpx2 itself refuses what looks like an address and is none.
        with pytest.raises((NeverSent, httpx2.InvalidURL)):
            await http.get(url)


async def addresses_inside() -> AsyncIterator[tuple[httpx2.AsyncClient, str]]:
    """Each address that leads inside, and a client on whose good website it is named."""
    guard = GuardedTransport((), keepalive=0)
    async with untouched() as port:
        for template in INSIDE:
            url = template.format(port=port)
            yield httpx2.AsyncClient(transport=GoodSite(url, guard), trust_env=False), url


def is_canonical(url: str) -> bool:
    with suppress(ValueError):
        web_url(url)
        return True
    return False


@asynccontextmanager
async def untouched() -> AsyncIterator[int]:
    """A listener on every address of this machine; fails if anybody but the test comes."""
    came: list[object] = []
    seen = asyncio.Event()

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer.get_extra_info("peername"))
        seen.set()
        writer.close()

    if socket.has_dualstack_ipv6():
        listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    else:
        listener = socket.create_server(("0.0.0.0", 0))
    server = await asyncio.start_server(handle, sock=listener)
    port = listener.getsockname()[1]
    yield port
    # Connections are accepted in their order: when this one is seen, so is any before it.
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    await seen.wait()
    writer.close()
    server.close()
    await server.wait_closed()
    assert len(came) == 1


ROOT = Path(__file__).parents[1] / "app"
# Ways to reach the network, or a process that could.
WAYS = re.compile(
    r"httpx2\.(?:Async)?Client\(|httpx2\.(?:get|post|put|request|stream)\(|OAuth2Client\b"
    r"|urllib\.request|http\.client\b|\baiohttp\b|(?<![\w.])requests\.\w+\(|create_connection|open_connection"
    r"|\.getaddrinfo|\bsubprocess\b|from apprise import"
)


def test_no_answer_chooses_how_it_is_decoded() -> None:
    # What httpx2 does by itself: an answer may name “zlib”, or an encoding that takes minutes.
    decoding = re.compile(r"\b(?:answer|response|page|reply)\.(?:text\b|json\(|encoding\b)")
    outside_the_demo = [path for path in ROOT.rglob("*.py") if "demo" not in path.parts]

    assert [p.name for p in outside_the_demo if decoding.search(p.read_text("utf-8"))] == []


def test_only_the_guarded_client_and_the_notifications_reach_out() -> None:
    outside_the_demo = [path for path in ROOT.rglob("*.py") if "demo" not in path.parts]
    found = {
        str(path.relative_to(ROOT))
        for path in outside_the_demo
        if WAYS.search(path.read_text(encoding="utf-8"))
    }

    # `oauth` borrows a client's network, see `test_borrowing_a_client_…`; Apprise has its own.
    assert found == {"http.py", "oauth/client.py", "notify.py"}
