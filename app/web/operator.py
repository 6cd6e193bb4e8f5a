"""The page of whoever runs the instance: how it and all its accounts are doing, and no secret."""

import math
import platform
from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from app import __version__
from app.errors import SignInError
from app.settings import Settings
from app.store import instance
from app.store.instance import Counts, Doing, Engine, Pulse
from app.web import admission
from app.web.bridge import Bridge, TheBridge
from app.web.health import Health, judged
from app.web.history import page_number
from app.web.pages import show
from app.web.session import ThePerson

router = APIRouter()

PER_PAGE = 50
# Settings whose values may be shown; of any other it is only told whether it is set.
HARMLESS = frozenset(
    {
        "allow_private_networks",
        "allowed_sites",
        "base_url",
        "log_format",
        "poll_interval",
        "port",
        "trakt_api_url",
        "trakt_auth_url",
        "trakt_gets_per_5_min",
        "trusted_proxies",
    }
)
# No settings of an operator: one is for tests, the other for the demo.
INNER = frozenset({"waits", "demo_site"})


@dataclass(frozen=True, slots=True)
class State:
    """The state of the whole instance at one moment."""

    health: Health
    pulse: Pulse
    counts: Counts
    engine: Engine
    holder: str | None


@router.get("/operator")
async def operator(request: Request, bridge: TheBridge, person: ThePerson) -> Response:
    """Show how the instance is doing, to its operator; for anybody else there is no such page."""
    troubled = request.query_params.get("show") == "trouble"
    number = page_number(request.query_params.get("page", ""))
    async with bridge.database.reading() as reading:
        if not await admission.is_owner(reading, bridge.settings, person.account.me):
            raise SignInError("not_found")
        total, found = await instance.doing(reading, number, troubled=troubled, most=PER_PAGE)
    return show(
        request,
        bridge,
        person,
        "operator.html",
        state=await state_of_all(bridge),
        found=found,
        troubles=troubles,
        tone=tone,
        troubled=troubled,
        total=total,
        number=number,
        last=max(1, math.ceil(total / PER_PAGE)),
        bugs=list(reversed(bridge.metrics.bugs)),
        has_scheduler=bridge.has_scheduler,
        started_at=bridge.started_at,
        budget=bridge.trakt.budget,
        effective=list(in_effect(bridge.settings)),
        versions=(("OwnYourTrakt", __version__), ("Python", platform.python_version())),
        size=size,
    )


async def state_of_all(bridge: Bridge) -> State:
    """Return the state of the whole instance."""
    now = bridge.now()
    async with bridge.database.reading() as reading:
        pulse = await instance.pulse(reading, now)
        return State(
            health=judged(pulse, bridge),
            pulse=pulse,
            counts=await instance.counts(reading, now),
            engine=await instance.engine(reading),
            holder=await instance.holder(reading),
        )


def troubles(doing: Doing) -> list[str]:
    """Return what is in an account's way, in sentences, each once."""
    site, connection = doing.site, doing.connection
    found = [connection.locked, connection.trouble] if connection else []
    found += [site.locked, site.paused, site.trouble]
    if site.gate_at is not None:
        found.append("Its site is read first: the database may be an old copy.")
    return list(dict.fromkeys(one for one in found if one))


def tone(doing: Doing) -> tuple[str, str]:
    """Return how an account is doing, as a tone and a word."""
    site, connection = doing.site, doing.connection
    if site.locked or site.paused or (connection and connection.locked):
        return "bad", "stopped"
    if connection is None:
        return "calm", "not connected"
    return ("wait", "has trouble") if troubles(doing) else ("good", "well")


def in_effect(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each setting and what may be told of it.

    A setting that this page does not know is treated as a secret.
    """
    for name in sorted(type(settings).model_fields.keys() - INNER):
        value = getattr(settings, name)
        if name not in HARMLESS:
            yield name.upper(), "set" if value else "not set"
        elif isinstance(value, tuple):
            yield name.upper(), ", ".join(str(one) for one in value) or "–"
        else:
            yield name.upper(), str(value)


def size(number: int) -> str:
    """Return a number of bytes as one says it: ``12.5 MB``."""
    return f"{number / 1_000_000:,.1f} MB"
