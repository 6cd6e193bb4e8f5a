"""Signing in from the profile URL to the confirmed person, against a small server of our own."""

import asyncio
import hashlib
import socket
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_network
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app import http, oauth
from app.errors import AnswerLost, NeverSent, SignInError
from app.indieweb import discovery, indieauth
from app.indieweb.discovery import Endpoints, discover, discover_typed
from app.indieweb.indieauth import Token

SITE = "https://ann.example/"
HERE = "https://bridge.example/"
TOKEN = {"access_token": "secret-a", "token_type": "Bearer", "me": SITE, "scope": "create"}
SERVER = Endpoints(f"{SITE}auth", f"{SITE}token", issuer=SITE)


@dataclass
class Server:
    """A website that is its own authorization server; it keeps the rules and a list of forms."""

    answer: Mapping[str, object] = field(default_factory=lambda: dict(TOKEN))
    encoding: str = "json"
    base: str = SITE
    pages: dict[str, str] = field(default_factory=dict)
    moved: str | None = None
    challenges: dict[str, str] = field(default_factory=dict)
    renewals: set[str] = field(default_factory=set)
    forms: list[dict[str, str]] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def consent(self, url: str) -> list[tuple[str, str]]:
        """Do what the person's browser does at the authorization endpoint."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        self.challenges["code-1"] = query["code_challenge"]
        return [("code", "code-1"), ("state", query["state"]), ("iss", self.base)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"].decode()
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.asked.append((scope["method"], scope["path"], headers))
        form = {name: values[0] for name, values in parse_qs(body).items()}
        answer = self.respond(scope["path"], form)
        start = {"type": "http.response.start", "status": answer.status_code}
        await send({**start, "headers": [(k.lower(), v) for k, v in answer.headers.raw]})
        await send({"type": "http.response.body", "body": answer.content})

    def respond(self, path: str, form: dict[str, str]) -> httpx2.Response:
        if path == "/token":
            self.forms.append(form)
            return self.moved_away() if self.moved else self.token(form)
        if path == "/revoke":
            self.forms.append(form)
            return httpx2.Response(200)
        if path == "/meta":
            return httpx2.Response(200, json=self.metadata())
        page = self.pages.get(path, '<link rel="indieauth-metadata" href="/meta">')
        return httpx2.Response(200, html=page + '<link rel="micropub" href="/micropub">')

    def metadata(self) -> dict[str, str]:
        names = {"authorization_endpoint": "auth", "token_endpoint": "token"}
        return {"issuer": self.base} | {name: self.base + path for name, path in names.items()}

    def moved_away(self) -> httpx2.Response:
        return httpx2.Response(307, headers={"Location": self.moved or ""})

    def token(self, form: dict[str, str]) -> httpx2.Response:
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = self.challenges.pop(form.get("code", ""), None)
        proven = challenge == urlsafe_b64encode(digest).rstrip(b"=").decode()
        renewed = form.get("refresh_token") in self.renewals
        self.renewals.discard(form.get("refresh_token", ""))
        if not proven and not renewed:
            return httpx2.Response(400, json={"error": "invalid_grant"})
        if self.encoding == "form":
            return httpx2.Response(201, html=urlencode(self.answer))
        return httpx2.Response(200, json=self.answer)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx2.AsyncClient]:
    network = httpx2.ASGITransport(app=server)
    async with httpx2.AsyncClient(transport=network, headers={"User-Agent": "Bridge"}) as ours:
        yield ours


def consent_url(endpoints: Endpoints = SERVER, me: str = SITE) -> str:
    return indieauth.authorization_url(
        endpoints,
        client_id=f"{HERE}id",
        redirect_uri=f"{HERE}callback",
        state="state-1",
        verifier="v" * 64,
        scope="create update",
        me=me,
    )


async def redeemed(client: httpx2.AsyncClient, code: str, verifier: str = "v" * 64) -> Token:
    return await indieauth.redeem(
        client,
        SERVER.token_endpoint,
        client_id=f"{HERE}id",
        redirect_uri=f"{HERE}callback",
        code=code,
        verifier=verifier,
        scope="create update",
    )


async def confirmed(
    client: httpx2.AsyncClient, me: str, entered: str = f"{SITE}ann"
) -> tuple[str, discovery.Discovery | None]:
    return await indieauth.confirmed_me(
        client,
        me,
        entered=entered,
        seen=[entered],
        authorization_endpoint=SERVER.authorization_endpoint,
        token_endpoint=SERVER.token_endpoint,
    )


async def test_a_person_signs_in_with_their_own_site(
    server: Server, client: httpx2.AsyncClient
) -> None:
    found = await discover_typed(client, "ann.example")
    params = server.consent(consent_url(found.endpoints))
    code = indieauth.callback_code(params, state="state-1", issuer=found.endpoints.issuer)
    token = await redeemed(client, code)
    me, rediscovered = await confirmed(client, token.me or "", found.seen[0])

    assert (me, rediscovered, token.scope) == (SITE, None, ("create",))
    assert found.required_micropub() == f"{SITE}micropub"
    assert server.forms == [
        {
            "grant_type": "authorization_code",
            "code": "code-1",
            "client_id": f"{HERE}id",
            "redirect_uri": f"{HERE}callback",
            "code_verifier": "v" * 64,
        }
    ]


async def test_the_token_request_asks_for_json_by_our_name_and_without_secrets_in_headers(
    server: Server, client: httpx2.AsyncClient
) -> None:
    server.consent(consent_url())

    await redeemed(client, "code-1")

    method, path, headers = server.asked[-1]
    assert (method, path) == ("POST", "/token")
    assert headers["accept"] == "application/json"
    assert headers["user-agent"] == "Bridge"
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert not {"authorization", "cookie"} & set(headers)


async def test_a_token_may_come_as_a_form(server: Server, client: httpx2.AsyncClient) -> None:
    server.encoding = "form"
    server.consent(consent_url())

    token = await redeemed(client, "code-1")

    assert (token.access_token, token.me, token.scope) == ("secret-a", SITE, ("create",))


async def test_a_code_needs_its_verifier_and_works_once(
    server: Server, client: httpx2.AsyncClient
) -> None:
    server.consent(consent_url())

    with pytest.raises(SignInError) as stolen:
        await redeemed(client, "code-1", verifier="w" * 64)
    with pytest.raises(SignInError) as again:
        await redeemed(client, "code-1")

    assert (stolen.value.code, again.value.code) == ("invalid_grant", "invalid_grant")


async def test_a_redirecting_token_endpoint_learns_nothing_more(
    server: Server, client: httpx2.AsyncClient
) -> None:
    server.moved = "https://evil.example/token"
    server.consent(consent_url())

    with pytest.raises(SignInError) as stopped:
        await redeemed(client, "code-1")

    assert stopped.value.code == "token_endpoint_error"
    assert len(server.forms) == 1


async def test_a_refresh_token_is_used_once_and_what_is_not_said_stays(
    server: Server, client: httpx2.AsyncClient
) -> None:
    server.renewals = {"r-1"}
    server.answer = {"access_token": "secret-b", "refresh_token": "r-2", "expires_in": 60}
    known = {"client_id": f"{HERE}id", "refresh_token": "r-1", "scope": "create update"}

    token = await indieauth.refresh(client, SERVER.token_endpoint, **known)
    with pytest.raises(SignInError) as dead:
        await indieauth.refresh(client, SERVER.token_endpoint, **known)

    assert token == Token("secret-b", "r-2", 60, ("create", "update"))
    assert dead.value.code == "invalid_grant"


@pytest.mark.parametrize("failure", [NeverSent("x"), AnswerLost("x")], ids=["never sent", "lost"])
async def test_a_refresh_that_failed_on_the_way_says_how(failure: Exception) -> None:
    async with httpx2.AsyncClient(transport=Failing(failure)) as client:
        with pytest.raises(type(failure)):
            await indieauth.refresh(
                client, SERVER.token_endpoint, client_id="c", refresh_token="r", scope=""
            )


@pytest.mark.parametrize(
    ("endpoint", "form"),
    [
        (f"{SITE}revoke", {"token": "t", "client_id": "c"}),
        (None, {"action": "revoke", "token": "t", "client_id": "c"}),
    ],
    ids=["endpoint of its own", "older servers"],
)
async def test_a_token_is_given_back(
    server: Server, client: httpx2.AsyncClient, endpoint: str | None, form: dict[str, str]
) -> None:
    await indieauth.revoke(
        client,
        revocation_endpoint=endpoint,
        token_endpoint=SERVER.token_endpoint,
        client_id="c",
        tokens=["t"],
    )

    assert server.forms == [form]


async def test_a_server_that_is_gone_keeps_nobody_from_leaving() -> None:
    async with httpx2.AsyncClient(transport=Failing(NeverSent("x"))) as client:
        done = await indieauth.revoke(
            client, revocation_endpoint=None, token_endpoint=SITE, client_id="c", tokens=["t"]
        )

    assert not done


async def test_borrowing_a_client_leaves_it_open_and_its_cookies_alone(
    server: Server, client: httpx2.AsyncClient
) -> None:
    known_as = oauth.Registration("c", "s", as_json=True, headers={"trakt-api-key": "c"})

    answer = await oauth.token_request(client, f"{SITE}token", known_as, {"grant_type": "x"})

    assert answer.status_code == 400
    assert server.asked[-1][2]["content-type"] == "application/json"
    assert server.asked[-1][2]["trakt-api-key"] == "c"
    assert not client.is_closed
    assert not client.cookies


async def test_json_bodies_hold_id_and_secret() -> None:
    echo = httpx2.MockTransport(lambda request: httpx2.Response(200, content=request.content))
    grant = {"grant_type": "refresh_token", "refresh_token": "é+&"}
    async with httpx2.AsyncClient(transport=echo) as client:
        known_as = oauth.Registration("c", "s", as_json=True)
        answer = await oauth.token_request(client, f"{SITE}token", known_as, grant)
        revoked = await oauth.revoke_request(client, f"{SITE}revoke", known_as, "t")

    assert answer.json() == {**grant, "client_id": "c", "client_secret": "s"}
    assert revoked.json() == {"token": "t", "client_id": "c", "client_secret": "s"}


def test_neither_tokens_nor_secrets_are_shown_by_accident() -> None:
    shown = repr(Token("secret-a", "secret-r")) + repr(oauth.Registration("c", "secret-s"))

    assert "secret-" not in shown


def test_the_authorization_endpoint_keeps_its_own_query() -> None:
    url = consent_url(Endpoints(f"{SITE}?rest_route=/auth,1&x", f"{SITE}token"))

    assert url.startswith(f"{SITE}?rest_route=/auth,1&x&response_type=code&client_id=https%3A")
    assert "&scope=create%20update&" in url
    assert url.endswith("&code_challenge_method=S256")


@pytest.mark.parametrize(
    ("endpoint", "me", "sent"),
    [
        (f"{SITE}wp-json/indieauth/1.0/auth", "http://127.0.0.1:8080/", False),
        (f"{SITE}wp-json/indieauth/1.0/auth", SITE, True),
        (f"{SITE}auth", "http://127.0.0.1:8080/", True),
    ],
    ids=["WordPress refuses ports", "WordPress", "django-indieweb wants it"],
)
def test_me_is_sent_where_it_is_wanted(endpoint: str, me: str, *, sent: bool) -> None:
    assert ("&me=" in consent_url(Endpoints(endpoint, f"{SITE}token"), me)) is sent


@pytest.mark.parametrize(
    ("params", "issuer", "code"),
    [
        ([("code", "c"), ("code", "d"), ("state", "S")], None, "invalid_response"),
        ([("code", "c"), ("state", "")], None, "missing_state"),
        ([("code", "c"), ("state", "\ud800")], None, "invalid_state"),
        ([("code", "c"), ("state", "S")], SITE, "missing_iss"),
        ([("code", "c"), ("state", "S"), ("iss", SITE[:-1])], SITE, "invalid_iss"),
        ([("error", "access_denied"), ("state", "X")], SITE, "invalid_state"),
        ([("error", "access_denied"), ("state", "S")], SITE, "access_denied"),
        ([("error", 'a"\n'), ("state", "S")], SITE, "invalid_response"),
        ([("code", "c"), ("state", "S"), ("iss", "https://else.example/")], None, "invalid_iss"),
        ([("code", "c"), ("state", "S"), ("iss", "nonsense")], None, "invalid_iss"),
    ],
    ids=[
        "repeated",
        "no state",
        "strange state",
        "no iss",
        "iss differs by a slash",
        "somebody else's error",
        "denied, without iss",
        "an error that is no error code",
        "mix-up: a legacy page with another server's authorization endpoint",
        "mix-up: an iss that is no URL",
    ],
)
def test_an_answer_of_somebody_else_is_refused(
    params: list[tuple[str, str]], issuer: str | None, code: str
) -> None:
    with pytest.raises(SignInError) as stopped:
        indieauth.callback_code(params, state="S", issuer=issuer, token_endpoint=f"{SITE}token")

    assert stopped.value.code == code


def test_a_legacy_server_may_say_who_it_is() -> None:
    params = [("code", "c"), ("state", "S"), ("iss", f"{SITE}indieweb/")]

    code = indieauth.callback_code(params, state="S", issuer=None, token_endpoint=f"{SITE}token")

    assert code == "c"


def test_a_used_state_never_matches() -> None:
    with pytest.raises(SignInError, match="no sign-in of this browser"):
        indieauth.callback_code([("code", "c"), ("state", "S")], state="", issuer=None)


async def test_on_a_shared_host_the_person_is_who_the_server_says_not_who_was_typed(
    server: Server, client: httpx2.AsyncClient
) -> None:
    me, found = await confirmed(client, f"{SITE}bob")

    assert me == f"{SITE}bob"
    assert found is not None
    assert found.micropub == f"{SITE}micropub"


@pytest.mark.parametrize(
    "page",
    [
        "<p>no server</p>",
        '<link rel="authorization_endpoint" href="/else"><link rel="token_endpoint" href="/token">',
        '<link rel="authorization_endpoint" href="/auth"><link rel="token_endpoint" href="/else">',
    ],
    ids=["no server", "another server", "the same server, but another one made the claim"],
)
async def test_a_person_whose_page_does_not_agree_is_not_signed_in(
    server: Server, client: httpx2.AsyncClient, page: str
) -> None:
    server.pages["/victim"] = page

    with pytest.raises(SignInError) as stopped:
        await confirmed(client, f"{SITE}victim")

    assert stopped.value.code == "me_not_confirmed"


@pytest.mark.parametrize(
    ("rel", "href", "code"),
    [
        ("token_endpoint", "http://ann.example/token", "invalid_endpoint"),
        ("authorization_endpoint", "/auth#x", "invalid_endpoint"),
        ("micropub", "http://ann.example/micropub", "invalid_endpoint"),
        ("micropub", "https://a:b@ann.example/micropub", "invalid_endpoint"),
        ("indieauth-metadata", "http://ann.example/meta", "invalid_endpoint"),
    ],
)
async def test_a_site_with_https_gives_its_secrets_to_no_listener(
    server: Server, client: httpx2.AsyncClient, rel: str, href: str, code: str
) -> None:
    rest = "<link rel=authorization_endpoint href=/auth><link rel=token_endpoint href=/token>"
    server.pages["/"] = f'<link rel="{rel}" href="{href}">{rest}'

    with pytest.raises(SignInError) as stopped:
        await discover(client, SITE)

    assert stopped.value.code == code


@pytest.mark.parametrize(
    ("issuer", "private", "good"),
    [
        ("https://ann.example/indie", False, True),
        ("https://ANN.example/indie/", False, True),
        ("https://ann.example/ind", False, False),
        ("http://ann.example/", False, False),
        ("https://ann.example:8443/", False, False),
        ("https://ann.example/#", False, False),
        (["https://ann.example/"], False, False),
        ("http://ann.example:8000/", True, False),
    ],
)
def test_an_issuer_owns_its_metadata_by_origin_and_path(
    issuer: object, *, private: bool, good: bool
) -> None:
    url = "https://ann.example/indie/meta"
    if good:
        assert discovery.checked_issuer(issuer, url, private=private) == issuer
    else:
        with pytest.raises(SignInError):
            discovery.checked_issuer(issuer, url, private=private)


@pytest.mark.parametrize(
    ("scope", "missing"),
    [
        (("create", "update"), ("profile",)),
        (("post", "profile"), ("update",)),
        (("draft",), ("create", "update", "profile")),
        ((), ("create", "update", "profile")),
    ],
)
def test_what_was_not_granted_is_named(scope: tuple[str, ...], missing: tuple[str, ...]) -> None:
    indieauth.required_creation(scope)

    assert indieauth.missing_scopes(scope, ("create", "update", "profile")) == missing


def test_a_token_that_cannot_create_is_no_use() -> None:
    with pytest.raises(SignInError) as stopped:
        indieauth.required_creation(("profile",))

    assert stopped.value.code == "insufficient_scope"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"invalid_grant", "invalid_grant"),
        (b'{"code": "rest_forbidden", "message": "no"}', "rest_forbidden"),
        (b"<h1>Bad</h1>", "token_endpoint_error"),
        (b'{"code": 17}', "token_endpoint_error"),
    ],
    ids=["django-indieweb's bare word", "WordPress", "a page", "nonsense"],
)
def test_an_error_keeps_the_name_its_server_gave_it(body: bytes, code: str) -> None:
    with pytest.raises(SignInError) as stopped:
        indieauth.token_answer(400, body, "create")

    assert stopped.value.code == code


@dataclass
class Failing(httpx2.AsyncBaseTransport):
    """A network on which every request ends in the same way; ``tried`` are the URLs."""

    failure: Exception
    tried: list[str] = field(default_factory=list)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.tried.append(str(request.url))
        raise self.failure


@pytest.mark.parametrize(
    ("typed", "tried"),
    [
        ("ann.example", ["https://ann.example/", "http://ann.example/"]),
        ("https://ann.example", ["https://ann.example/"]),
    ],
    ids=["host only", "scheme chosen"],
)
async def test_http_is_tried_only_where_nobody_chose_https(typed: str, tried: list[str]) -> None:
    network = Failing(NeverSent("ann.example could not be reached"))
    async with httpx2.AsyncClient(transport=network) as client:
        with pytest.raises(SignInError) as stopped:
            await discover_typed(client, typed)

    assert (stopped.value.code, network.tried) == ("http_error", tried)


@dataclass
class Wandering(httpx2.AsyncBaseTransport):
    """A network that leads on and on, until it is silent."""

    hops: int

    async def handle_async_request(self, _: httpx2.Request) -> httpx2.Response:
        if not self.hops:
            await asyncio.get_running_loop().create_future()
        self.hops -= 1
        return httpx2.Response(302, headers={"Location": f"/{self.hops}"})


@pytest.mark.parametrize("hops", [0, 3])
async def test_a_site_that_is_slow_at_every_turn_is_left_in_good_time(hops: int) -> None:
    async with httpx2.AsyncClient(transport=Wandering(hops)) as client:
        for find in (discover, discover_typed):
            with pytest.raises(SignInError, match="took longer"):
                await find(client, "https://slow.example/", within=timedelta(milliseconds=20))


async def test_inside_the_allowed_networks_an_issuer_may_have_no_certificate() -> None:
    server = Server()
    async with listening(server) as port, http.client([ip_network("127.0.0.0/8")]) as client:
        server.base = f"http://127.0.0.1:{port}/"
        found = await discover_typed(client, server.base, (ip_network("127.0.0.0/8"),))

    assert found.endpoints.issuer == server.base


async def test_outside_of_them_nothing_on_this_machine_is_contacted() -> None:
    server = Server()
    async with listening(server) as port, http.client() as client:
        with pytest.raises(SignInError) as stopped:
            await discover(client, f"http://127.0.0.1:{port}/")

    assert (stopped.value.code, server.asked) == ("blocked_address", [])


@asynccontextmanager
async def listening(app: Server) -> AsyncIterator[int]:
    """Serve ``app`` on a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none")
        running = uvicorn.Server(config)
        task = asyncio.create_task(running.serve(sockets=[listener]))
        yield listener.getsockname()[1]
        running.should_exit = True
        await task


@dataclass
class Pages(httpx2.AsyncBaseTransport):
    """A network of a few answers."""

    answers: dict[str, httpx2.Response]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return self.answers[str(request.url)]


async def test_a_redirect_lends_no_server_s_name_to_a_document_elsewhere() -> None:
    named = {"Link": '<https://server.example/away>; rel="indieauth-metadata"'}
    document = {
        "issuer": "https://server.example/",
        "authorization_endpoint": "https://server.example/auth",
        "token_endpoint": "https://evil.example/token",
    }
    network = Pages(
        {
            "https://ann.example/": httpx2.Response(200, headers=named),
            "https://server.example/away": httpx2.Response(
                302, headers={"Location": "https://evil.example/meta"}
            ),
            "https://evil.example/meta": httpx2.Response(200, json=document),
        }
    )
    async with httpx2.AsyncClient(transport=network) as client:
        with pytest.raises(SignInError) as stopped:
            await discover(client, "https://ann.example/")

    assert stopped.value.code == "invalid_issuer"
