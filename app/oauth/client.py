"""Authlib's client for one call to a token endpoint, on the network of another client."""

import json
from urllib.parse import parse_qsl

import httpx2
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from app.oauth import Registration


def challenge(verifier: str) -> str:
    """Return what a verifier is announced by."""
    made: str = create_s256_code_challenge(verifier)
    return made


class AnswerAsIs(AsyncOAuth2Client):  # type: ignore[misc]  # Authlib ships no types
    """Authlib's client, without its judgement of the answer."""

    def parse_response_token(self, answer: httpx2.Response) -> httpx2.Response:
        """Return ``answer``; it is read where the grant was asked for."""
        return answer


def oauth_client(client: httpx2.AsyncClient, known_as: Registration) -> AnswerAsIs:
    """Return a client for one call, on the network of ``client`` and without a memory."""
    method = "json" if known_as.as_json else "none"
    asking = AnswerAsIs(
        known_as.client_id,
        known_as.client_secret,
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
        transport=Through(client),
        headers={**client.headers, **known_as.headers},
        timeout=client.timeout,
        trust_env=False,
        follow_redirects=False,
    )
    asking.register_client_auth_method(("json", json_body))
    return asking


class Through(httpx2.AsyncBaseTransport):
    """A transport that lends another client's network, and leaves it open."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request`` as it is."""
        return await self.client.send(request, auth=None, follow_redirects=False)


def json_body(
    known_as: ClientAuth, method: str, url: str, headers: dict[str, str], body: bytes | str
) -> tuple[str, dict[str, str], str]:
    """Turn a form into JSON, with the client's id and secret (a client-auth method of Authlib)."""
    del method
    text = body.decode() if isinstance(body, bytes) else body
    fields = dict(parse_qsl(text, keep_blank_values=True)) | {"client_id": known_as.client_id}
    if known_as.client_secret:
        fields["client_secret"] = known_as.client_secret
    headers["Content-Type"] = "application/json"
    return url, headers, json.dumps(fields)
