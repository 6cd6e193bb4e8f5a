"""OAuth as auth.trakt.tv does it: PKCE, JSON bodies, refresh tokens that work once.

What Trakt answers to an unknown app is not verified: 401 here.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from fastapi import APIRouter, Request, Response

from app.demo.trakt_door import refused, told

CODE_LIFETIME = timedelta(minutes=10)


@dataclass(slots=True)
class App:
    """The app that the operator of the bridge registered at Trakt.

    ``disabled`` by Trakt it cannot read any more, though its token calls still work;
    ``deleted`` it is unknown everywhere.
    """

    client_id: str
    redirect_uri: str
    client_secret: str | None = None
    state: Literal["active", "disabled", "deleted"] = "active"


@dataclass(frozen=True, slots=True)
class Asked:
    """The authorization request of an app, as its query has it."""

    response_type: str = ""
    client_id: str = ""
    redirect_uri: str = ""
    state: str = ""
    code_challenge: str = ""
    code_challenge_method: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Asked":
        """Return the request in ``query``; unknown parameters are ignored."""
        return cls(**{name: query[name] for name in cls.__slots__ if name in query})

    def problem(self, app: App) -> str | None:
        """Return why nobody may be sent back to the app, or None when all is well."""
        if app.state == "deleted" or self.client_id != app.client_id:
            return "Trakt does not know this app (client_id)."
        if self.redirect_uri != app.redirect_uri:
            return "The address to return to is not the one this app registered (redirect_uri)."
        if self.response_type != "code":
            return "This app asks for something other than a code (response_type)."
        if self.code_challenge and self.code_challenge_method != "S256":
            return "Only S256 is accepted (code_challenge_method)."
        return None


@dataclass(frozen=True, slots=True)
class Pair:
    """An access token, good until ``expires_at``, and the refresh token that replaces both."""

    access: str
    refresh: str
    created_at: datetime
    lifetime: timedelta

    @property
    def expires_at(self) -> datetime:
        """When the access token stops working."""
        return self.created_at + self.lifetime

    def json(self) -> dict[str, object]:
        """Return the answer of the token endpoint."""
        return {
            "access_token": self.access,
            "token_type": "bearer",
            "expires_in": int(self.lifetime.total_seconds()),
            "refresh_token": self.refresh,
            "scope": "public",
            "created_at": int(self.created_at.timestamp()),
        }


class Refusal(Exception):
    """The token endpoint says no, in the words of RFC 6749 §5.2."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.status = status
        self.body = {"error": error, "error_description": description}


NO_SESSION = "session not found"


class Tokens:
    """All codes and tokens in force; ``pairs`` is keyed by refresh token.

    ``given_out`` holds all there ever were, whatever became of them.
    """

    def __init__(self, app: App, now: Callable[[], datetime], lifetime: timedelta) -> None:
        self.app = app
        self.now = now
        self.lifetime = lifetime
        self.codes: dict[str, tuple[Asked, datetime]] = {}
        self.pairs: dict[str, Pair] = {}
        self.given_out: set[str] = set()

    def code(self, asked: Asked) -> str:
        """Return a new code for an app that the person approved."""
        code = secrets.token_hex(32)
        self.given_out.add(code)
        self.codes[code] = (asked, self.now() + CODE_LIFETIME)
        return code

    def issue(self) -> Pair:
        """Return a new pair, as if the person had just approved the app."""
        pair = Pair(secrets.token_hex(32), secrets.token_hex(32), self.now(), self.lifetime)
        self.pairs[pair.refresh] = pair
        self.given_out |= {pair.access, pair.refresh}
        return pair

    def accepts(self, authorization: str) -> bool:
        """Tell whether an ``Authorization`` header carries a token in force."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return False
        return any(
            secrets.compare_digest(pair.access.encode(), token.encode())
            and self.now() < pair.expires_at
            for pair in self.pairs.values()
        )

    def grant(self, body: Mapping[str, str]) -> Pair:
        """Return the pair that ``body`` asks for.

        Raises:
            Refusal: it has no right to one.

        """
        match body.get("grant_type"):
            case "authorization_code":
                return self.exchange(body)
            case "refresh_token":
                return self.renew(body)
            case _:
                raise Refusal("unsupported_grant_type", "grant_type is missing or unknown")

    def exchange(self, body: Mapping[str, str]) -> Pair:
        """Return a pair for the code in ``body``, which is used up.

        Raises:
            Refusal: wrong code, verifier, secret or redirect_uri.

        """
        asked, until = self.codes.pop(body.get("code", ""), (Asked(), self.now()))
        if self.now() >= until or body.get("redirect_uri") != asked.redirect_uri:
            raise Refusal("invalid_grant", "The code is unknown, used, expired or not yours.")
        if asked.code_challenge:
            if challenge(body.get("code_verifier", "")) != asked.code_challenge:
                raise Refusal("invalid_grant", "The code_verifier does not match.")
        elif "client_secret" not in body:
            raise Refusal("invalid_client", "Without PKCE the client_secret is needed.", 401)
        return self.issue()

    def renew(self, body: Mapping[str, str]) -> Pair:
        """Return a pair for the refresh token in ``body``; the old pair is dead at once.

        Raises:
            Refusal: the token is unknown or was used before, or redirect_uri is missing.

        """
        if body.get("redirect_uri") != self.app.redirect_uri:
            raise Refusal("invalid_request", "redirect_uri is missing or wrong")
        if self.pairs.pop(body.get("refresh_token", ""), None) is None:
            raise Refusal("invalid_grant", NO_SESSION)
        return self.issue()

    def check_client(self, request: Request, body: Mapping[str, str]) -> None:
        """Raise `Refusal` unless ``body`` names the app, and names it in the body alone."""
        if request.headers.get("authorization", "").lower().startswith("basic"):
            raise Refusal("invalid_client", "HTTP Basic is not accepted", 401)
        if "client_id" not in body:
            raise Refusal("invalid_request", "client_id is required")
        known = self.app.state != "deleted" and body["client_id"] == self.app.client_id
        if not known or body.get("client_secret") not in {None, self.app.client_secret}:
            raise Refusal("invalid_client", "Client authentication failed", 401)

    def revoke(self, token: str) -> None:
        """Forget the pair that ``token`` belongs to, if there is one."""
        self.pairs = {
            refresh: pair
            for refresh, pair in self.pairs.items()
            if token not in {pair.access, refresh}
        }

    def revoke_everything(self) -> None:
        """Forget all codes and tokens."""
        self.codes.clear()
        self.pairs.clear()


def token_routes(tokens: Tokens) -> APIRouter:
    """Return ``/oauth/token`` and ``/oauth/revoke``."""
    router = APIRouter()

    @router.post("/oauth/token")
    async def token(request: Request) -> Response:
        try:
            body = await json_body(request)
            tokens.check_client(request, body)
            return told(200, tokens.grant(body).json())
        except Refusal as refusal:
            return told(refusal.status, refusal.body)

    @router.post("/oauth/revoke")
    async def revoke(request: Request) -> Response:
        try:
            tokens.revoke((await json_body(request)).get("token", ""))
        except Refusal:
            # Revoking is always a success, whatever was sent.
            return refused(200)
        return refused(200)

    return router


async def json_body(request: Request) -> dict[str, str]:
    """Return the texts of a JSON body.

    Raises:
        Refusal: the body is no JSON object, or does not say that it is one.

    """
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise Refusal("invalid_request", "the body has to be application/json")
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        raise Refusal("invalid_request", "the body is not JSON") from error
    if not isinstance(body, dict):
        raise Refusal("invalid_request", "the body is not a JSON object")
    return {name: value for name, value in body.items() if isinstance(value, str)}


def challenge(verifier: str) -> str:
    """Return the S256 challenge of ``verifier`` (RFC 7636 §4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
