"""Each request gets an id that all lines of its log carry, and its time is taken."""

import secrets
from time import perf_counter

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars

from app.metrics import Metrics, status_class

# What a person may quote, and the operator looks for in the log.
HEADER = "X-Request-Id"


class Observed:
    """Gives each request of ``app`` an id of our own, and counts its answer.

    An id from outside is never taken: whoever asks could otherwise write into the log, or give two
    requests the same one.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer back with the id."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # Never unbound: the server logs a bug after this has ended, in the same task.
        clear_contextvars()
        bind_contextvars(request=secrets.token_hex(6))
        began, status = perf_counter(), 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id()
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            taken = perf_counter() - began
            self.metrics.page_seconds.labels(status_class(status)).observe(taken)


def request_id() -> str:
    """Return the id of the request that is being answered."""
    return str(get_contextvars().get("request", ""))
