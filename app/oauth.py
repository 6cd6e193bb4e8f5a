"""OAuth as a client: single calls to a token endpoint, made by Authlib, judged by us.

Authlib builds and authenticates the requests. It never holds a token: with one it would refresh
by itself, and would refuse to send an expired one. Every answer comes back as it is, for a
pure parser to read: servers answer with forms, with 201 and with bare words.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode

import httpx2
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc7636 import create_s256_code_challenge

# Without it some servers answer with a form, and explain errors on a page.
ACCEPT = {"Accept": "application/json"}


@dataclass(frozen=True, slots=True)
class Registration:
    """How a server knows us, and how it wants to be asked.

    IndieAuth: a public client that sends forms. ``as_json`` sends one JSON object instead,
    secret included if there is one, as Trakt wants it.
    """

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    as_json: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


def authorization_url(endpoint: str, verifier: str, parameters: Mapping[str, str]) -> str:
    """Return where to send the browser: ``endpoint`` with ``parameters`` and a PKCE challenge.

    The endpoint's own query stays as it is, to the letter (RFC 6749 §3.1); Authlib would
    write it anew. A space becomes ``%20``, which every server reads, unlike ``+``.
    """
    query = urlencode(
        {
            "response_type": "code",
            **parameters,
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
        },
        quote_via=quote,
    )
    separator = "" if endpoint.endswith(("?", "&")) else "&" if "?" in endpoint else "?"
    return f"{endpoint}{separator}{query}"


async def token_request(
    client: httpx2.AsyncClient, url: str, known_as: Registration, grant: Mapping[str, str]
) -> httpx2.Response:
    """Ask the token endpoint at ``url`` for what ``grant`` describes, once, and return its answer.

    ``grant`` holds ``grant_type`` and its parameters (RFC 6749 §4.1.3 and §6). A redirect is
    an answer too: following it would give code and verifier away.

    Raises:
        NeverSent, AnswerLost: from ``client``, unchanged.

    """
    async with oauth_client(client, known_as) as asking:
        answer: httpx2.Response = await asking.fetch_token(url, headers=dict(ACCEPT), **grant)
        return answer


async def revoke_request(
    client: httpx2.AsyncClient, url: str, known_as: Registration, token: str, **parameters: str
) -> httpx2.Response:
    """Ask the endpoint at ``url`` to forget ``token`` (RFC 7009 §2.1), once.

    Raises:
        NeverSent, AnswerLost: from ``client``, unchanged.

    """
    async with oauth_client(client, known_as) as asking:
        answer: httpx2.Response = await asking.revoke_token(
            url, token=token, body=urlencode(parameters), headers=dict(ACCEPT)
        )
        return answer


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
