"""From a profile URL to the endpoints behind it (IndieAuth 4.1): one fetch of the page.

    page ──rel indieauth-metadata──► metadata document ──► Endpoints with an issuer
      ├────rel authorization_endpoint, token_endpoint────► Endpoints without one (legacy)
      └────rel micropub, h-card────────────────────────► where to post; name and photo

Metadata that is named but broken is an error. Falling back to the legacy rels would drop the
check of ``iss``, so whoever can break the document could downgrade the sign-in.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx2

from app.abilities import Server, by_page
from app.errors import AddressBlocked, FetchError, NeverSent, NotTrusted, SignInError
from app.indieweb.card import Card
from app.indieweb.profile import has_scheme, profile_url, web_url
from app.indieweb.rels import apart, resolved
from app.settings import Network

MOST_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# All of it together: a browser waits for the answer, and Heroku stops waiting after 30 s.
WITHIN = timedelta(seconds=25)
PAGE = "text/html, application/xhtml+xml;q=0.9, */*;q=0.1"
JSON = "application/json"
# Headers in which software gives its name.
SIGNED = ("X-Generator", "X-Powered-By", "Server")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """An authorization server. Without an ``issuer`` it was found by the legacy rels."""

    authorization_endpoint: str
    token_endpoint: str
    issuer: str | None = None
    revocation_endpoint: str | None = None
    introspection_endpoint: str | None = None
    userinfo_endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a profile page says. ``seen`` is the way to ``url``, from the entered URL on.

    ``server`` is the kind of server to which posts go, as far as the page gives it away.
    """

    url: str
    seen: tuple[str, ...]
    endpoints: Endpoints
    micropub: str | None
    name: str | None
    photo: str | None
    server: Server = Server.UNKNOWN

    def required_micropub(self) -> str:
        """Return the Micropub endpoint, or raise SignInError ``missing_micropub``."""
        return required_micropub(self.url, self.micropub)


@dataclass(frozen=True, slots=True)
class Page:
    """A page after its redirects; ``links`` holds the first target of each rel, unchecked.

    ``named`` is how the software behind it calls itself; ``private``: it came from inside the
    networks that the operator allowed.
    """

    url: str
    seen: tuple[str, ...]
    links: Mapping[str, str]
    card: Card
    named: tuple[str, ...]
    private: bool

    @property
    def https_only(self) -> bool:
        """Whether the page may name https endpoints only, lest it give tokens to a listener."""
        return self.url.startswith("https:") and not self.private


async def discover_typed(
    client: httpx2.AsyncClient,
    text: str,
    allowed: tuple[Network, ...] = (),
    within: timedelta = WITHIN,
) -> Discovery:
    """Return what the page at the address ``text`` that somebody typed says.

    A host alone is tried by https, and by http when nobody answers there. A bad certificate
    is no reason: whoever forges one would be trusted next.

    Raises:
        SignInError: see `profile_url` and `discover`.

    """
    url = profile_url(text, allowed)
    async with finished(within, url):
        with explained():
            try:
                page = await visit(client, url)
            except (AddressBlocked, NotTrusted):
                raise
            except NeverSent:
                if has_scheme(text):
                    raise
                page = await visit(client, profile_url(f"http://{text.strip()}", allowed))
        return await discovery(client, page)


async def discover(client: httpx2.AsyncClient, url: str, within: timedelta = WITHIN) -> Discovery:
    """Return what the page at the profile URL ``url`` says.

    Raises:
        SignInError: what kept us from finding an authorization server; a page without a Micropub
            endpoint is no error here, see `Discovery.required_micropub`.

    """
    async with finished(within, url):
        with explained():
            page = await visit(client, url)
        return await discovery(client, page)


@asynccontextmanager
async def finished(within: timedelta, url: str) -> AsyncIterator[None]:
    """Stop what is not done in time: each redirect may be slow in its own right."""
    try:
        async with asyncio.timeout(within.total_seconds()):
            yield
    except TimeoutError as error:
        problem = f"{url} and what it names took longer than {within.total_seconds():.0f} s."
        raise SignInError("http_error", problem) from error


async def discovery(client: httpx2.AsyncClient, page: Page) -> Discovery:
    """Return what ``page`` and the metadata document it names say."""
    micropub = micropub_of(page)
    return Discovery(
        url=page.url,
        seen=page.seen,
        endpoints=await metadata_of(client, page) or legacy_endpoints(page),
        micropub=micropub,
        name=page.card.name,
        photo=page.card.photo,
        server=by_page(micropub or "", page.named, page.links),
    )


async def visit(client: httpx2.AsyncClient, url: str) -> Page:
    """Fetch and read the page at ``url``. Raises FetchError or SignInError."""
    seen, response = await fetched(client, url, PAGE)
    links, card, named = await apart(read_page, seen[-1], response)
    return Page(seen[-1], seen, links, card, named, is_private(response))


async def fetched(
    client: httpx2.AsyncClient, url: str, accept: str
) -> tuple[tuple[str, ...], httpx2.Response]:
    """Return the URLs on the way to a successful answer, and that answer."""
    seen = [url]
    for _ in range(1 + MOST_REDIRECTS):
        response = await client.get(seen[-1], headers={"Accept": accept}, follow_redirects=False)
        target = redirect_target(response, seen[-1])
        if target is None:
            return tuple(seen), response
        refuse_downgrade(seen[-1], target, response)
        seen.append(target)
    raise SignInError("too_many_redirects", f"{url} redirects more than {MOST_REDIRECTS} times.")


def redirect_target(response: httpx2.Response, url: str) -> str | None:
    """Return where the answer of ``url`` leads, or None when it is the page itself.

    Raises:
        SignInError: it is neither.

    """
    location = response.headers.get("Location")
    if response.status_code in REDIRECTS and location:
        try:
            return web_url(resolved(url, location))
        except ValueError as error:
            problem = f"{url} redirects to {location[:200]!r}: {error}."
            raise SignInError("invalid_redirect", problem) from error
    if not response.is_success:
        raise SignInError("http_error", f"{url} answered {response.status_code}.")
    return None


def refuse_downgrade(url: str, target: str, response: httpx2.Response) -> None:
    """Stop at a redirect from https to http.

    Whoever sits on the line would write the rest, and could sign in as the https address.
    """
    if url.startswith("https:") and target.startswith("http:") and not is_private(response):
        problem = f"{url} redirects to {target}, which is not encrypted."
        raise SignInError("invalid_redirect", problem)


def read_page(url: str, response: httpx2.Response) -> tuple[dict[str, str], Card, tuple[str, ...]]:
    """Return the links of a page, its representative h-card, and what its software calls itself.

    Slow: call it in a thread.
    """
    # Parsers take 10 MB, and an idle bridge needs none.
    from app.indieweb import hcard, page  # noqa: PLC0415 - see above

    document = page.html_document(response.content, response.headers.get("Content-Type", ""))
    links = page.page_links(document, url, response.headers.get_list("Link"))
    card = hcard.representative(document, url) if document else Card()
    named = [response.headers.get(name, "") for name in SIGNED]
    return links, card, (*named, *(page.generators(document) if document else ()))


def is_private(response: httpx2.Response) -> bool:
    """Tell whether the answer came from inside the allowed networks."""
    return bool(response.extensions.get("private", False))


@contextmanager
def explained() -> Iterator[None]:
    """Turn the failure of a request into the sign-in problem it is."""
    try:
        yield
    except FetchError as error:
        code = "blocked_address" if isinstance(error, AddressBlocked) else "http_error"
        raise SignInError(code, f"{error}.") from error


async def metadata_of(client: httpx2.AsyncClient, page: Page) -> Endpoints | None:
    """Return what the metadata document of ``page`` says, None when it names none.

    Raises:
        SignInError: the document is out of reach or says something we must not accept.

    """
    if "indieauth-metadata" not in page.links:
        return None
    url = endpoint(page.links["indieauth-metadata"], https_only=page.https_only)
    try:
        seen, response = await fetched(client, url, JSON)
    except AddressBlocked as error:
        raise SignInError("blocked_address", f"{error}.") from error
    except (FetchError, SignInError) as error:
        problem = f"The metadata of your authorization server is out of reach: {error}"
        raise SignInError("metadata_unavailable", problem) from error
    # The issuer must own the last URL, not the first: an open redirect on somebody else's
    # server would otherwise lend its name to a document written elsewhere.
    return metadata_endpoints(seen[-1], response.content, private=is_private(response))


def metadata_endpoints(url: str, body: bytes, *, private: bool) -> Endpoints:
    """Read the metadata document ``body`` of ``url`` (IndieAuth 4.1.1), whatever its type.

    ``private``: it came from inside the allowed networks, where http is good enough.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise SignInError("metadata_invalid", f"{url} holds no valid JSON.") from error
    if not isinstance(document, dict):
        raise SignInError("metadata_invalid", f"{url} holds no JSON object.")
    issuer = checked_issuer(document.get("issuer"), url, private=private)
    check_pkce(document.get("code_challenge_methods_supported"), url)
    found = {
        name: metadata_endpoint(document.get(name), name, https_only=not private)
        for name in Endpoints.__dataclass_fields__
        if name != "issuer"
    }
    authorization, token = found.pop("authorization_endpoint"), found.pop("token_endpoint")
    return Endpoints(
        required("authorization_endpoint", authorization, url),
        required("token_endpoint", token, url),
        issuer,
        **found,
    )


def check_pkce(methods: object, url: str) -> None:
    """Stop at a server that names challenge methods, but not ours. Silence is consent."""
    if methods is not None and not (isinstance(methods, list) and "S256" in methods):
        raise SignInError("pkce_s256_unsupported", f"{url} does not offer PKCE with S256.")


def checked_issuer(issuer: object, url: str, *, private: bool) -> str:
    """Return the issuer, exactly as written, if it may speak in the metadata at ``url``.

    It must be https, without query or fragment, and lead to ``url`` by whole path segments:
    ``https://example.com`` does not own ``https://example.com.evil.test/``.
    """
    try:
        if isinstance(issuer, str) and "?" not in issuer and "#" not in issuer:
            canonical = web_url(issuer)
            if is_prefix(canonical, url) and (private or canonical.startswith("https:")):
                return issuer
    except ValueError as error:
        raise SignInError("invalid_issuer", f"The issuer in {url} is no URL: {error}.") from error
    raise SignInError("invalid_issuer", f"The issuer {issuer!r} does not belong to {url}.")


def is_prefix(issuer: str, url: str) -> bool:
    """Tell whether two canonical URLs share their origin and the first one's path segments."""
    return url == issuer or url.startswith(issuer.removesuffix("/") + "/")


def metadata_endpoint(value: object, name: str, *, https_only: bool) -> str | None:
    """Return an endpoint of a metadata document, which must be absolute, or None."""
    if value is None:
        return None
    try:
        return endpoint(value if isinstance(value, str) else "", https_only=https_only)
    except SignInError as error:
        raise SignInError("metadata_invalid", f"{name}: {error}") from error


def legacy_endpoints(page: Page) -> Endpoints:
    """Return the endpoints that ``page`` names itself, as it was before metadata documents."""
    found = {
        name: endpoint(page.links[name], https_only=page.https_only)
        for name in ("authorization_endpoint", "token_endpoint")
        if name in page.links
    }
    return Endpoints(
        required("authorization_endpoint", found.get("authorization_endpoint"), page.url),
        required("token_endpoint", found.get("token_endpoint"), page.url),
    )


def micropub_of(page: Page) -> str | None:
    """Return the Micropub endpoint of ``page``; the metadata document never names one."""
    target = page.links.get("micropub")
    return None if target is None else endpoint(target, https_only=page.https_only)


def required_micropub(url: str, micropub: str | None) -> str:
    """Return ``micropub``, or say that the page at ``url`` names none."""
    return required("micropub", micropub, url)


def required(name: str, value: str | None, url: str) -> str:
    """Return ``value``, or raise SignInError ``missing_…``."""
    if value is None:
        raise SignInError(f"missing_{name}", f"{url} names no {name}.")
    return value


def endpoint(target: str, *, https_only: bool) -> str:
    """Return the canonical URL of an endpoint, or raise SignInError ``invalid_endpoint``."""
    try:
        url = web_url(target)
    except ValueError as error:
        problem = f"{target[:200]!r} cannot be an endpoint: {error}."
        raise SignInError("invalid_endpoint", problem) from error
    if "#" in target:
        problem = f"{target[:200]!r} cannot be an endpoint: it holds a fragment."
        raise SignInError("invalid_endpoint", problem)
    if https_only and not url.startswith("https:"):
        problem = f"{url} would receive your secrets unencrypted, although your site uses https."
        raise SignInError("invalid_endpoint", problem)
    return url
