"""The one place where requests are counted, before anything else is done for them."""

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.web.address import client_address, neighbourhood
from app.web.bridge import Bridge
from app.web.limits import FOR_ALL, TOLD, rate_of
from app.web.session import Visitor, the_visitor
from app.web.views import too_many

log = structlog.get_logger()


class Door:
    """Lets requests pass to ``app``, but for those of somebody who asks too often.

    A signed-in person is counted as such, wherever they are: whoever floods us from the same
    address does not keep them out.
    """

    def __init__(self, app: ASGIApp, *, bridge: Bridge) -> None:
        self.app = app
        self.bridge = bridge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer when to come again."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        rate = rate_of(request.method, request.url.path)
        who = address_of(request, self.bridge)
        if rate not in FOR_ALL:
            visitor = request.state.visitor = await the_visitor(request, self.bridge)
            who = who if visitor.account_id is None else f"account {visitor.account_id}"
        if wait := self.bridge.limits.wait(rate, who, self.bridge.now()):
            if not self.bridge.limits.wait(TOLD, who, self.bridge.now()):
                tell_refusal(request, self.bridge, "too_many")
            await too_many(request, wait)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def tell_refusal(request: Request, bridge: Bridge, code: str) -> None:
    """Write into the log that somebody was refused something: who, from where, and why."""
    told: dict[str, object] = {
        "path": request.url.path,
        "code": code,
        "client": address_of(request, bridge),
    }
    visitor = getattr(request.state, "visitor", None)
    if isinstance(visitor, Visitor) and visitor.account_id is not None:
        told["account"] = visitor.account_id
    log.info("refused", **told)


def address_of(request: Request, bridge: Bridge) -> str:
    """Return what the browser's address counts as."""
    peer = request.client.host if request.client else ""
    forwarded = request.headers.getlist("X-Forwarded-For")
    return neighbourhood(client_address(peer, forwarded, bridge.settings.trusted_proxies))
