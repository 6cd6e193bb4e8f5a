"""The parts a request needs, as one value, and how a request gets hold of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, cast

import httpx2
from fastapi import Depends, Request

from app.database import Database
from app.learn import Learner
from app.metrics import Metrics
from app.notify import Notifier
from app.settings import Settings
from app.sources.trakt import Trakt
from app.tester import Tester
from app.vault import Vault
from app.web.limits import Limits


@dataclass(frozen=True, slots=True)
class Bridge:
    """The running program, as the pages see it. ``poke`` makes it look for due work at once."""

    settings: Settings
    database: Database
    vault: Vault
    http: httpx2.AsyncClient
    trakt: Trakt
    now: Callable[[], datetime]
    poke: Callable[[], None]
    notifier: Notifier
    learner: Learner
    tester: Tester
    metrics: Metrics
    started_at: datetime
    limits: Limits = field(default_factory=Limits)
    # What the owner must know of the disk, see `app.disk`.
    loss: str | None = None
    # Whether this process does the work, too, or leaves it to workers.
    has_scheduler: bool = True

    @property
    def client_id(self) -> str:
        """Return the URL by which websites know us (IndieAuth §4.2)."""
        return f"{self.settings.base_url}/id"

    @property
    def callback(self) -> str:
        """Return where websites send people back to; it has no query of its own."""
        return f"{self.settings.base_url}/callback"

    async def close(self) -> None:
        """Close what keeps connections; the client of the scheduler's work keeps none."""
        for client in (self.http, self.trakt.http, self.trakt.auth):
            await client.aclose()
        await self.database.close()


def the_bridge(request: Request) -> Bridge:
    """Return the bridge that serves ``request``."""
    return cast("Bridge", request.app.state.bridge)


TheBridge = Annotated[Bridge, Depends(the_bridge)]
