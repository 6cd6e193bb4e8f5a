"""Headers that every answer carries."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    # With "no-referrer" browsers would send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Whoever opens us, or whom we open, gets no hold of our window.
    "Cross-Origin-Opener-Policy": "same-origin",
    # A page without a policy of its own, such as an error of the framework, gets the strictest.
    "Content-Security-Policy": (
        "default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
}
HSTS = "max-age=31536000"


def protect(headers: MutableHeaders, path: str, *, secure: bool) -> None:
    """Add what an answer does not say itself; only static files may be cached."""
    for name, value in ALWAYS.items():
        headers.setdefault(name, value)
    is_static = path.startswith("/static/")
    headers.setdefault("Cache-Control", "max-age=86400" if is_static else "no-store")
    # Websites show our logo where they ask for consent.
    headers.setdefault(
        "Cross-Origin-Resource-Policy", "cross-origin" if is_static else "same-origin"
    )
    if secure:
        headers.setdefault("Strict-Transport-Security", HSTS)


def protection(*, secure: bool) -> dict[str, str]:
    """Return what protects an answer that the server gives by itself."""
    headers = MutableHeaders()
    protect(headers, "", secure=secure)
    return dict(headers)


class SecurityHeaders:
    """Protects each answer of ``app``, and answers HEAD wherever it answers GET."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self.app = app
        self.secure = secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer back with our headers."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                protect(MutableHeaders(scope=message), scope["path"], secure=self.secure)
            await send(message)

        if scope["method"] == "HEAD":
            # The server itself leaves the body out.
            scope = {**scope, "method": "GET"}
        await self.app(scope, receive, send_with_headers)
