"""The pictures of the simulated Trakt: a WebP of one colour for each title.

As with Trakt's own hosts, no website may show them from here: whoever asks on behalf of a page is
refused. `app.demo.trakt_full` names their addresses, without a scheme.
"""

import hashlib

from fastapi import APIRouter, Request, Response

WIDTH, HEIGHT = 300, 450
LONG = {"Cache-Control": "public, max-age=31536000"}


def image_routes() -> APIRouter:
    """Return where pictures are."""
    router = APIRouter()

    @router.get("/images/{path:path}")
    async def image(request: Request, path: str) -> Response:
        if is_hotlinked(request):
            return Response("Hotlinking is not allowed.", 403)
        if not path.endswith(".webp"):
            return Response(status_code=404)
        red, green, blue = hashlib.sha256(path.encode()).digest()[:3]
        return Response(webp(red, green, blue), media_type="image/webp", headers=LONG)

    return router


def is_hotlinked(request: Request) -> bool:
    """Tell whether a browser asks for it because some page shows it."""
    headers = request.headers
    return "referer" in headers or headers.get("sec-fetch-site", "none") != "none"


def webp(red: int, green: int, blue: int) -> bytes:
    """Return a picture of one colour: WebP, lossless, of a few bytes whatever its size.

    Each of the five alphabets has a single symbol, so no pixel takes a bit.
    """
    bits = Bits()
    bits.put(WIDTH - 1, 14)
    bits.put(HEIGHT - 1, 14)
    # No alpha, version 0, no transform, no colour cache, one set of codes.
    bits.put(0, 1 + 3 + 1 + 1 + 1)
    for symbol in (green, red, blue, 255):
        # A simple code, with one symbol, of eight bits.
        bits.put(0b101, 3)
        bits.put(symbol, 8)
    # That of the distances: one symbol of one bit, which is never used.
    bits.put(0b0001, 4)
    chunk = b"\x2f" + bits.whole()
    chunk += b"\0" * (len(chunk) % 2)
    body = b"WEBPVP8L" + len(chunk).to_bytes(4, "little") + chunk
    return b"RIFF" + len(body).to_bytes(4, "little") + body


class Bits:
    """Numbers one behind the other, the lowest bit of each first."""

    def __init__(self) -> None:
        self.number = 0
        self.length = 0

    def put(self, number: int, length: int) -> None:
        """Add a number of so many bits."""
        self.number |= number << self.length
        self.length += length

    def whole(self) -> bytes:
        """Return all of them, the last byte filled up with zeros."""
        return self.number.to_bytes(-(-self.length // 8), "little")
