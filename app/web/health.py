"""What machines ask: whether it is alive (``/healthz``), and how it does (``/metrics``)."""

import asyncio
import hmac
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from app import migrate
from app.errors import SignInError
from app.migrate import Schema
from app.notices import Kind
from app.outbox import State
from app.settings import is_loopback_host
from app.store import instance
from app.store.instance import Counts, Pulse, age
from app.web.bridge import Bridge, TheBridge
from app.web.door import tell_refusal

router = APIRouter()

# A platform's check waits for a few seconds only.
PATIENCE = timedelta(seconds=5)
# So many beats may be missed: a slow disk, or a process that is just being replaced.
MISSED_BEATS = 5
# For so long counted figures are good enough; whoever asks more often costs nothing.
FRESH = timedelta(seconds=15)
# Whoever comes through a proxy is not on this machine, however near the proxy is.
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")


@dataclass(frozen=True, slots=True)
class Health:
    """How this process is, in fields that anybody may read."""

    status: str
    reason: str | None
    database_answers: bool
    migrated: bool | None = None
    scheduler_beat_seconds_ago: int | None = None
    poll_interval_seconds: int | None = None
    oldest_overdue_poll_seconds: int | None = None


@router.api_route("/healthz", methods=["GET", "HEAD"])
async def healthz(bridge: TheBridge) -> Response:
    """Tell a platform whether this process does its work: 200, or 503 and why not."""
    health = await examined(bridge)
    return JSONResponse(asdict(health), 200 if health.reason is None else 503)


async def examined(bridge: Bridge) -> Health:
    """Return how this process is."""
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()), bridge.database.reading() as reading:
            pulse = await instance.pulse(reading, bridge.now())
    except (SQLAlchemyError, OSError, TimeoutError):
        return Health("trouble", "The database does not answer.", database_answers=False)
    return judged(pulse, bridge)


def judged(pulse: Pulse, bridge: Bridge) -> Health:
    """Return what the signs of life mean.

    A database newer than this process is no trouble: a newer process is taking over, and until
    then this one answers. Overdue polls are none either: starting again would not speed them up.
    Nobody's beat is missed before this process itself had the time to beat, nor at a process that
    shows pages only: to start that one again would not bring the workers back.
    """
    now, schema = bridge.now(), migrate.schema_at(pulse.revision)
    silence = MISSED_BEATS * bridge.settings.waits.heartbeat
    reasons = []
    if schema is Schema.OLD:
        reasons.append("The database is out of date; run: ownyourtrakt migrate")
    beat_at = max(pulse.beat_at or bridge.started_at, bridge.started_at)
    if bridge.has_scheduler and age(beat_at, now) > silence:
        reasons.append("The scheduler has shown no sign of life for minutes.")
    return Health(
        status="trouble" if reasons else "ok",
        reason=" ".join(reasons) or None,
        database_answers=True,
        migrated=schema is not Schema.OLD,
        scheduler_beat_seconds_ago=seconds(pulse.beat_at, now) if pulse.beat_at else None,
        poll_interval_seconds=pulse.stretched or bridge.settings.poll_interval,
        oldest_overdue_poll_seconds=seconds(pulse.overdue_since, now),
    )


def seconds(since: datetime | None, now: datetime) -> int:
    """Return how many whole seconds ago something was."""
    return int(age(since, now).total_seconds())


@router.get("/metrics")
async def metrics(request: Request, bridge: TheBridge) -> Response:
    """Return all figures, to those who hold METRICS_TOKEN or, without one, are on this machine."""
    token = bridge.settings.metrics_token
    if token and not holds(request, token):
        tell_refusal(request, bridge, "wrong_token")
        return PlainTextResponse(
            "Send METRICS_TOKEN as: Authorization: Bearer …\n",
            status_code=401,
            headers={"WWW-Authenticate": 'Bearer realm="metrics"'},
        )
    if not token and not is_near(request):
        raise SignInError("not_found")
    await measure(bridge)
    return Response(generate_latest(bridge.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def holds(request: Request, token: str) -> bool:
    """Tell, in a time that tells nothing, whether a request carries the token."""
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    return same and kind.lower() == "bearer"


def is_near(request: Request) -> bool:
    """Tell whether a request comes from this machine, and not from afar through a proxy on it.

    A proxy gives itself away by a header or by the name that it was asked for. One that hides
    both cannot be told from a neighbour; docs/metrics.md says so.
    """
    client = request.client.host if request.client else ""
    try:
        is_local = ip_address(client).is_loopback
    except ValueError:
        return False
    is_forwarded = any(name in request.headers for name in FORWARDED)
    return is_local and not is_forwarded and is_loopback_host(request.url.hostname or "")


async def measure(bridge: Bridge) -> None:
    """Set the gauges to what is so now, or was a few seconds ago."""
    now, figures = bridge.now(), bridge.metrics
    gauges, budget = figures.gauges, bridge.trakt.budget
    gauges.budget_left.set(budget.left())
    gauges.budget.set(budget.limit)
    if figures.measured_at and figures.measured_at <= now < figures.measured_at + FRESH:
        return
    figures.measured_at = now
    async with bridge.database.reading() as reading:
        pulse = await instance.pulse(reading, now)
        counts = await instance.counts(reading, now)
    write(bridge, pulse, counts)


def write(bridge: Bridge, pulse: Pulse, counts: Counts) -> None:
    """Write what the database tells into the gauges; what is no more there is zero."""
    now, gauges = bridge.now(), bridge.metrics.gauges
    gauges.accounts.set(counts.accounts)
    for gauge, known, found in (
        (gauges.posts, tuple(State), counts.posts),
        (gauges.connections, instance.CONNECTION_WORDS, counts.connections),
        (gauges.sites, instance.SITE_WORDS, counts.sites),
        (gauges.notices, tuple(Kind), counts.notices),
    ):
        for word in {*known, *found}:
            gauge.labels(word).set(found.get(word, 0))
    gauges.overdue.set(counts.overdue)
    gauges.overdue_seconds.set(seconds(pulse.overdue_since, now))
    gauges.queue_seconds.set(seconds(counts.due_post_since, now))
    gauges.beat_seconds.set(seconds(pulse.beat_at or bridge.started_at, now))
