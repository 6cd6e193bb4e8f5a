"""The authorization server of the simulated website (IndieAuth, 2024-07-11).

The person is always signed in at their own simulated website, so the consent page asks for
nothing but a decision.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode, urlsplit

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import JSONResponse, RedirectResponse, Response

from app.demo.site_habits import Habits

# The longest life the specification recommends.
CODE_LIFE = timedelta(minutes=10)
SCOPES = {
    "create": "publish posts",
    "draft": "save posts as drafts",
    "update": "change posts and list them",
    "delete": "delete posts",
    "undelete": "bring deleted posts back",
    "profile": "see your name and photo",
}


class Refused(Exception):
    """An answer of the kind ``{"error": …, "error_description": …}``."""

    def __init__(
        self, error: str, description: str, status: int = 400, scope: str | None = None
    ) -> None:
        super().__init__(description)
        self.error = error
        self.status = status
        self.scope = scope


def refusal(_: Request, error: Exception) -> Response:
    """Return ``error`` as JSON, and for 401 with the challenge RFC 6750 §3 asks for."""
    if not isinstance(error, Refused):
        raise error
    body = {"error": error.error, "error_description": str(error)}
    if error.scope:
        body["scope"] = error.scope
    headers = {"WWW-Authenticate": f'Bearer error="{error.error}"'} if error.status == 401 else None
    return JSONResponse(body, error.status, headers)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for at the authorization endpoint (section 5.2)."""

    client_id: str
    redirect_uri: str
    state: str
    code_challenge: str
    scope: tuple[str, ...]

    def back(self, issuer: str | None, **answer: str) -> Response:
        """Return the redirect that takes the person, and ``answer``, to the client."""
        params = answer | {"state": self.state} | ({"iss": issuer} if issuer else {})
        joint = "&" if urlsplit(self.redirect_uri).query else "?"
        return RedirectResponse(f"{self.redirect_uri}{joint}{urlencode(params)}", 302)


@dataclass(frozen=True, slots=True)
class Granted:
    """An authorization code that waits to be redeemed, once."""

    client_id: str
    redirect_uri: str
    code_challenge: str
    scope: tuple[str, ...]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """What the bearer of an access token, or of a refresh token, may do."""

    client_id: str
    scope: tuple[str, ...]
    expires_at: datetime | None = None


class IndieAuth:
    """Asks the person for consent and keeps the tokens given out."""

    def __init__(
        self,
        origin: str,
        *,
        now: Callable[[], datetime],
        habits: Habits,
        profile: Mapping[str, str],
        page: Callable[..., Response],
    ) -> None:
        self.origin = origin
        self.now = now
        self.habits = habits
        self.profile = profile
        self.page = page
        self.issuer = f"{origin}/"
        self.codes: dict[str, Granted] = {}
        self.tokens: dict[str, Token] = {}
        self.refresh_tokens: dict[str, Token] = {}

    def routes(self) -> APIRouter:
        """Return the endpoints, ready to be included in an app."""
        router = APIRouter()
        router.add_api_route("/.well-known/oauth-authorization-server", self.metadata)
        router.add_api_route("/auth", self.ask)
        router.add_api_route("/auth", self.redeem_for_profile, methods=["POST"])
        router.add_api_route("/consent", self.decide, methods=["POST"])
        router.add_api_route("/token", self.redeem, methods=["POST"])
        router.add_api_route("/revoke", self.revoke, methods=["POST"])
        router.add_api_route("/introspect", self.introspect, methods=["POST"])
        return router

    async def metadata(self) -> Response:
        """Return the metadata document (section 4.1.1)."""
        return JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.origin}/auth",
                "token_endpoint": f"{self.origin}/token",
                "introspection_endpoint": f"{self.origin}/introspect",
                "revocation_endpoint": f"{self.origin}/revoke",
                "revocation_endpoint_auth_methods_supported": ["none"],
                "scopes_supported": list(SCOPES),
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": self.habits.send_iss,
            }
        )

    async def ask(self, request: Request) -> Response:
        """Show the consent page, or send the client away when its request is faulty."""
        params = dict(request.query_params)
        asked = what_is_asked(params, tuple(params.get("scope", "").split()))
        if asked is None:
            return self.page("site_problem.html", 400)
        error = fault(params)
        if error:
            return asked.back(self.iss, error=error)
        return self.page("site_consent.html", asked=asked, meanings=SCOPES)

    async def decide(self, request: Request) -> Response:
        """Send the person back with a code, or with the news that they said no."""
        form = await request.form()
        scope = tuple(str(name) for name in form.getlist("scope"))
        asked = what_is_asked(texts(form), scope)
        if asked is None:
            return self.page("site_problem.html", 400)
        if form.get("decision") != "approve":
            return asked.back(self.iss, error="access_denied")
        return asked.back(self.iss, code=self.code_for(asked))

    @property
    def iss(self) -> str | None:
        """Return the issuer as it goes into a redirect, if it does."""
        return self.issuer if self.habits.send_iss else None

    def code_for(self, asked: Asked) -> str:
        """Return a new code for what the person approved."""
        code = secrets.token_urlsafe(24)
        wanted = self.habits.scope_granted
        self.codes[code] = Granted(
            client_id=asked.client_id,
            redirect_uri=asked.redirect_uri,
            code_challenge=asked.code_challenge,
            scope=asked.scope if wanted is None else tuple(wanted.split()),
            expires_at=self.now() + CODE_LIFE,
        )
        return code

    def granted(self, params: Mapping[str, str]) -> Granted:
        """Return what a code stands for; afterwards the code is worthless, also if it failed.

        Raises:
            Refused: the code is unknown, used or too old, or another client's (section 5.3).

        """
        granted = self.codes.pop(params.get("code", ""), None)
        if granted is None or granted.expires_at <= self.now():
            raise Refused("invalid_grant", "This code is unknown, used or too old.")
        if granted.client_id != params.get("client_id"):
            raise Refused("invalid_grant", "This code was given to another client.")
        if granted.redirect_uri != params.get("redirect_uri"):
            raise Refused("invalid_grant", "This code was sent to another redirect_uri.")
        challenge = create_s256_code_challenge(params.get("code_verifier", ""))
        if granted.code_challenge != challenge:
            raise Refused("invalid_grant", "The code_verifier does not match.")
        return granted

    async def redeem_for_profile(self, request: Request) -> Response:
        """Exchange a code for the profile alone, without a token (section 5.3.2)."""
        params = texts(await request.form())
        if params.get("grant_type") != "authorization_code":
            raise Refused("unsupported_grant_type", "Only authorization_code is served here.")
        return JSONResponse(self.identity(self.granted(params).scope))

    async def redeem(self, request: Request) -> Response:
        """Exchange a code, or a refresh token, for an access token (sections 5.3 and 5.5)."""
        params = texts(await request.form())
        match params.get("grant_type"):
            case "authorization_code":
                granted = self.granted(params)
                token = Token(granted.client_id, granted.scope)
            case "refresh_token":
                token = self.refreshed(params)
            case _:
                raise Refused("unsupported_grant_type", "Send a code or a refresh token.")
        if not token.scope:
            raise Refused("invalid_grant", "The person approved nothing a token is needed for.")
        return self.token_answer(token)

    def refreshed(self, params: Mapping[str, str]) -> Token:
        """Return what a refresh token stands for; afterwards it is worthless.

        Raises:
            Refused: it is unknown, used, or another client's.

        """
        token = self.refresh_tokens.pop(params.get("refresh_token", ""), None)
        if token is None or token.client_id != params.get("client_id"):
            raise Refused("invalid_grant", "This refresh token is unknown or used.")
        return token

    def token_answer(self, token: Token) -> Response:
        """Give out an access token, and return it as this website's habits have it."""
        life = self.habits.expires_in
        text = secrets.token_urlsafe(24)
        expires_at = self.now() + life if life else None
        self.tokens[text] = Token(token.client_id, token.scope, expires_at)
        answer: dict[str, object] = {
            "access_token": text,
            "token_type": "Bearer",
            "scope": " ".join(token.scope),
            **self.identity(token.scope),
        }
        if life:
            answer["expires_in"] = int(life.total_seconds())
        if self.habits.with_refresh_token:
            answer["refresh_token"] = refresh_token = secrets.token_urlsafe(24)
            self.refresh_tokens[refresh_token] = token
        return self.encoded(answer)

    def encoded(self, answer: dict[str, object]) -> Response:
        """Return a token answer as JSON, or as a form, which has no place for a profile."""
        headers = {"Cache-Control": "no-store"}
        status = self.habits.token_status
        if not self.habits.token_form_encoded:
            return JSONResponse(answer, status, headers)
        flat = {name: value for name, value in answer.items() if name != "profile"}
        media_type = "application/x-www-form-urlencoded"
        return Response(urlencode(flat), status, headers, media_type)

    def identity(self, scope: tuple[str, ...]) -> dict[str, object]:
        """Return ``me``, and the profile when the person agreed to show it."""
        me = self.habits.me or f"{self.origin}/"
        return {"me": me} | ({"profile": dict(self.profile)} if "profile" in scope else {})

    async def revoke(self, request: Request) -> Response:
        """Forget a token; the answer is 200 whether it existed or not (RFC 7009 §2.2)."""
        text = texts(await request.form()).get("token", "")
        self.tokens.pop(text, None)
        self.refresh_tokens.pop(text, None)
        return Response(status_code=200)

    async def introspect(self, request: Request) -> Response:
        """Tell a bearer of a token what some token may do (section 6)."""
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or self.token(text) is None:
            raise Refused("invalid_token", "Introspection needs a valid token.", 401)
        token = self.token(texts(await request.form()).get("token", ""))
        if token is None:
            return JSONResponse({"active": False})
        answer = {"active": True, "me": f"{self.origin}/", "client_id": token.client_id}
        return JSONResponse(answer | {"scope": " ".join(token.scope)})

    def token(self, text: str) -> Token | None:
        """Return what the access token ``text`` may do; None when it may do nothing any more."""
        token = self.tokens.get(text)
        if token and token.expires_at and token.expires_at <= self.now():
            return None
        return token

    def revoke_tokens(self) -> None:
        """Forget every token, as a person does who withdraws all access."""
        self.tokens.clear()
        self.refresh_tokens.clear()


def texts(form: FormData) -> dict[str, str]:
    """Return the fields of a form that hold text."""
    return {name: value for name, value in form.items() if isinstance(value, str)}


def what_is_asked(params: Mapping[str, str], scope: tuple[str, ...]) -> Asked | None:
    """Return the request, or None when it is not safe to send anyone to its redirect_uri."""
    client_id = params.get("client_id", "")
    redirect_uri = params.get("redirect_uri", "")
    try:
        if not is_client_id(client_id) or origin(redirect_uri) != origin(client_id):
            return None
    except ValueError:
        # `urlsplit` cannot read it, for instance half an IPv6 address.
        return None
    state, challenge = params.get("state", ""), params.get("code_challenge", "")
    return Asked(client_id, redirect_uri, state, challenge, scope)


def is_client_id(text: str) -> bool:
    """Tell whether ``text`` is a URL that section 3.3 allows as client identifier."""
    url = urlsplit(text)
    is_web = url.scheme in {"http", "https"} and bool(url.hostname) and bool(url.path)
    return is_web and "#" not in text and "@" not in url.netloc


def origin(text: str) -> tuple[str, str]:
    """Return scheme and authority of a URL, in lower case."""
    url = urlsplit(text)
    return url.scheme.lower(), url.netloc.lower()


def fault(params: Mapping[str, str]) -> str | None:
    """Return the error code for a request that asks wrongly, None for a good one."""
    if params.get("response_type") != "code":
        return "unsupported_response_type"
    if not params.get("state") or not params.get("code_challenge"):
        return "invalid_request"
    return None if params.get("code_challenge_method") == "S256" else "invalid_request"
