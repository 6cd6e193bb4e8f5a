"""OAuth as a client: single calls to a token endpoint, made by Authlib, judged by us.

Authlib builds and authenticates the requests. It never holds a token: with one it would refresh
by itself, and would refuse to send an expired one. Every answer comes back as it is, for a
pure parser to read: servers answer with forms, with 201 and with bare words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import httpx2

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
            "code_challenge": challenge(verifier),
            "code_challenge_method": "S256",
        },
        quote_via=quote,
    )
    separator = "" if endpoint.endswith(("?", "&")) else "&" if "?" in endpoint else "?"
    return f"{endpoint}{separator}{query}"


def challenge(verifier: str) -> str:
    """Return what a verifier is announced by (RFC 7636 §4.2)."""
    from app.oauth import client  # noqa: PLC0415 - as in `asking_as`

    return client.challenge(verifier)


async def token_request(
    client: httpx2.AsyncClient, url: str, known_as: Registration, grant: Mapping[str, str]
) -> httpx2.Response:
    """Ask the token endpoint at ``url`` for what ``grant`` describes, once, and return its answer.

    ``grant`` holds ``grant_type`` and its parameters (RFC 6749 §4.1.3 and §6). A redirect is
    an answer too: following it would give code and verifier away.

    Raises:
        NeverSent, AnswerLost: from ``client``, unchanged.

    """
    async with asking_as(client, known_as) as asking:
        answer: httpx2.Response = await asking.fetch_token(url, headers=dict(ACCEPT), **grant)
        return answer


async def revoke_request(
    client: httpx2.AsyncClient, url: str, known_as: Registration, token: str, **parameters: str
) -> httpx2.Response:
    """Ask the endpoint at ``url`` to forget ``token`` (RFC 7009 §2.1), once.

    Raises:
        NeverSent, AnswerLost: from ``client``, unchanged.

    """
    async with asking_as(client, known_as) as asking:
        answer: httpx2.Response = await asking.revoke_token(
            url, token=token, body=urlencode(parameters), headers=dict(ACCEPT)
        )
        return answer


def asking_as(client: httpx2.AsyncClient, known_as: Registration) -> Any:  # noqa: ANN401 - Authlib ships no types
    """Return a client of Authlib's for one call."""
    from app.oauth.client import oauth_client  # noqa: PLC0415 - 5 MB that an idle bridge spares

    return oauth_client(client, known_as)
