"""A sign of life for somebody outside: the operator's address is fetched after a good round.

A process that has died cannot tell anyone. Whoever waits for this sign notices that it is missing.
"""

from dataclasses import dataclass
from datetime import timedelta

import httpx2
import structlog

from app.errors import FetchError
from app.http import MIB, caps

log = structlog.get_logger()


@dataclass(slots=True)
class Pulse:
    """Fetches ``url``, HEARTBEAT_URL; without one there is nothing to do.

    Whether it could be reached changes nothing else, and is logged once, until it changes.
    """

    url: str
    http: httpx2.AsyncClient
    deadline: timedelta
    is_missed: bool = False

    async def beat(self) -> None:
        """Fetch the address."""
        trouble = await self.trouble()
        if trouble and not self.is_missed:
            # Its path may hold a key, so that is not logged.
            log.warning("HEARTBEAT_URL did not take the sign of life", trouble=trouble)
        self.is_missed = trouble is not None

    async def trouble(self) -> str | None:
        """Fetch the address and return what was wrong, None when it was taken."""
        try:
            answer = await self.http.get(self.url, extensions=caps(MIB, self.deadline))
        except FetchError as error:
            return str(error)
        if answer.is_success:
            return None
        return f"{answer.url.host} answered {answer.status_code}"
