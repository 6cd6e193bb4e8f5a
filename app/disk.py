"""Whether the disk under a SQLite database outlives the process, as far as a machine tells.

Platforms that build a new machine for each start throw away what was written before. They show
themselves by variables that they set, and a volume of theirs by where it is mounted.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.database import sqlite_file
from app.settings import Settings

MOUNTS = Path("/proc/self/mounts")
# File systems that live in memory or in a layer of a container.
FLEETING = {"overlay", "aufs", "tmpfs", "ramfs"}


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform with a disposable disk: what it sets, and how it calls a disk that stays.

    ``unless`` is set by another one that imitates it. ``stays`` is None where there is no such
    disk. ``at`` names the variable that tells where it is, where there is one.
    """

    name: str
    sets: str
    stays: str | None
    at: str | None = None
    unless: str | None = None


PLATFORMS = (
    Platform("Heroku", "DYNO", None, unless="DOKKU_APP_TYPE"),
    Platform("Dokku", "DOKKU_APP_TYPE", "storage that you mount"),
    Platform("Render", "RENDER", "a disk"),
    Platform("Railway", "RAILWAY_PROJECT_ID", "a volume", at="RAILWAY_VOLUME_MOUNT_PATH"),
    Platform("Fly.io", "FLY_APP_NAME", "a volume"),
    Platform("Koyeb", "KOYEB_APP_NAME", "a volume"),
    Platform("Cloud Run", "K_SERVICE", None),
)


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system: where it is mounted, and of which kind it is."""

    place: Path
    kind: str


def loss(environment: Mapping[str, str], path: Path, mounts: Iterable[Mount]) -> str | None:
    """Return what will happen to a database at ``path`` and the ways out; None where it stays."""
    for platform in PLATFORMS:
        if platform.sets not in environment or (platform.unless or "") in environment:
            continue
        if outlives(platform, environment, path, mounts):
            return None
        volume = f", put it on {platform.stays}" if platform.stays else ""
        return (
            f"{platform.name} throws away what is on this disk, and the database is on it "
            f"({path}). Set DATABASE_URL to a PostgreSQL database{volume}, or keep a copy "
            "elsewhere with Litestream (docs/deploy/litestream.md)."
        )
    return None


def outlives(
    platform: Platform, environment: Mapping[str, str], path: Path, mounts: Iterable[Mount]
) -> bool:
    """Tell whether ``path`` is on a disk of the platform that stays."""
    if platform.stays is None:
        return False
    if platform.at:
        volume = environment.get(platform.at)
        return volume is not None and path.is_relative_to(volume)
    under = [mount for mount in mounts if path.is_relative_to(mount.place)]
    # Of two at the same place the later one hides the other.
    innermost = max(reversed(under), key=lambda mount: len(mount.place.parts), default=None)
    return innermost is not None and innermost.place != Path("/") and innermost.kind not in FLEETING


def mounted(text: str) -> list[Mount]:
    """Return the mounts that ``/proc/self/mounts`` lists."""
    rows = (line.split(" ") for line in text.splitlines())
    # A space in a name is written as \\040.
    return [Mount(Path(row[1].replace("\\040", " ")), row[2]) for row in rows if len(row) > 2]


def loss_here(settings: Settings) -> str | None:
    """Return what will happen to the database of this process, see `loss`."""
    path = sqlite_file(settings.database_url)
    if path is None:
        return None
    text = MOUNTS.read_text(encoding="utf-8", errors="replace") if MOUNTS.exists() else ""
    return loss(os.environ, path.absolute(), mounted(text))
