"""A simulated Trakt, and clients for both of its hosts."""

import httpx2

from app.demo.trakt import SimulatedTrakt
from app.demo.trakt_oauth import challenge
from tests.world import Clock

RETURN = "https://bridge.test/trakt/callback"
VERIFIER = "v" * 64


def a_trakt(clock: Clock, gets_per_5_min: int = 500) -> SimulatedTrakt:
    return SimulatedTrakt(
        client_id="client",
        redirect_uri=RETURN,
        now=clock,
        client_secret="s3",
        gets_per_5_min=gets_per_5_min,
    )


def an_api_client(trakt: SimulatedTrakt) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=trakt.api),
        base_url="https://api.test",
        headers={
            "Content-Type": "application/json",
            "trakt-api-key": "client",
            "trakt-api-version": "2",
            "Authorization": f"Bearer {trakt.tokens.issue().access}",
        },
    )


def an_auth_client(trakt: SimulatedTrakt) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=trakt.auth)
    return httpx2.AsyncClient(transport=transport, base_url="https://auth.test")


def authorization(**changes: str) -> dict[str, str]:
    asked = {
        "response_type": "code",
        "client_id": "client",
        "redirect_uri": RETURN,
        "state": "xyz",
        "code_challenge": challenge(VERIFIER),
        "code_challenge_method": "S256",
    }
    return asked | changes


def renewal(refresh_token: str, **changes: str) -> dict[str, str]:
    body = {
        "refresh_token": refresh_token,
        "client_id": "client",
        "redirect_uri": RETURN,
        "grant_type": "refresh_token",
    }
    return body | changes
