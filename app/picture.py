"""What counts as a picture that a post may show. Values and decisions only."""

from dataclasses import dataclass

LARGEST = 1024 * 1024
# What Trakt's pictures are or ever were; whatever else an answer calls itself, its first bytes
# decide.
ENDINGS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as its bytes."""

    data: bytes
    media_type: str


def picture_in(data: bytes) -> Picture | None:
    """Return the picture that ``data`` is, None for anything else."""
    kind = media_type(data)
    return Picture(data, kind) if kind and len(data) <= LARGEST else None


def media_type(data: bytes) -> str | None:
    """Return what a file is by its first bytes; None for what no post shows."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return None
