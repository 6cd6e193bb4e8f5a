"""``doctor``: what is wrong with this machine and these settings, and how to mend it."""

import asyncio
import os
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from app import database, migrate, private, sentry
from app import settings as config
from app.cli.stops import Json, cure, reason_of, say_json
from app.disk import loss_here
from app.errors import FetchError
from app.http import client, date_of
from app.main import check
from app.migrate import Schema
from app.rotate import LOST, Census, census
from app.settings import Settings, SettingsError
from app.store import lease, workers
from app.vault import Vault

# Tokens last for days; a clock that is off by more than this breaks sign-ins.
WORST_CLOCK = timedelta(minutes=2)
LEAST_ROOM = 200 * 10**6
MOUNTS = Path("/proc/self/mountinfo")
NETWORK_DISKS = {
    *("nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs"),
    *("fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.ceph", "fuse.davfs"),
}
# No clock is right that shows a time before this version was made.
BUILT = datetime(2026, 11, 21, tzinfo=UTC)


def doctor(
    *,
    reach: Annotated[bool, typer.Option(help="Also ask whether Trakt can be reached.")] = False,
    as_json: Json = False,
) -> None:
    """Check settings, database, disk and clock, and say what to mend; change nothing."""
    checks = list(checked(reach=reach))
    if as_json:
        say_json([{"check": name, "fine": fine, "said": said} for name, fine, said in checks])
    else:
        for name, is_fine, words in checks:
            typer.echo(f"{'ok  ' if is_fine else 'FAIL'}  {name}: {words}")
    if not all(is_fine for _, is_fine, _ in checks):
        raise typer.Exit(1)


def checked(*, reach: bool) -> Iterator["Check"]:
    """Check one thing after the other; wrong settings say nothing about the rest."""
    try:
        settings = config.load()
        sentry.start(settings)
        check(settings)
    except SettingsError as error:
        yield ("settings", False, str(error))
        return
    yield ("settings", True, f"the bridge is at {settings.base_url}")
    yield check_trakt_app(settings)
    yield check_files(settings)
    yield from check_disk(loss_here(settings))
    yield from check_database(settings)
    if path := database.sqlite_file(settings.database_url):
        yield from check_room(path)
    yield from asyncio.run(check_reach(settings)) if reach else [check_clock(datetime.now(UTC))]


Check = tuple[str, bool, str]


def check_trakt_app(settings: Settings) -> Check:
    """Tell whether there is a Trakt app to connect with."""
    if settings.trakt_client_id:
        return ("trakt app", True, f"its redirect URI must be {settings.redirect_uri}")
    return (
        "trakt app",
        False,
        "TRAKT_CLIENT_ID is missing; .env.example and the dashboard say how to get one",
    )


def check_files(settings: Settings) -> Check:
    """Tell whether `.env`, the database and what lies beside it are for their owner alone."""
    found = private.exposed(database.sqlite_file(settings.database_url))
    if not found:
        return ("files", True, "only their owner can read them")
    names = " ".join(shlex.quote(str(path)) for path, _ in found)
    return ("files", False, f"others on this machine can read them; run: chmod go= {names}")


def check_database(settings: Settings) -> Iterator[Check]:
    """Tell whether the database can be written and has the newest schema; change nothing."""
    path = database.sqlite_file(settings.database_url)
    where = str(path) if path else "PostgreSQL"
    if path and not path.exists():
        yield check_place(path)
        return
    try:
        with migrate.alone(settings.database_url) as connection:
            step = migrate.current(connection)
            length = settings.waits.scheduler_lease
            holder = lease.found(connection, datetime.now(UTC), length)
    except migrate.OldServer as error:
        yield ("database", False, str(error))
        return
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        reason = reason_of(error)
        words = f"{where} cannot be used: {reason}. {cure(reason, 'DATABASE_URL')}"
        yield ("database", False, words)
        return
    yield ("database", True, f"{where} can be written")
    yield check_schema(step)
    if step == migrate.newest():
        found, interval = asyncio.run(counted(settings))
        yield from check_keys(found)
        yield from check_pace(interval)
    yield ("scheduler", True, holder or "none is at work now; serve brings one")


def check_place(path: Path) -> Check:
    """Tell whether the first start will be able to make the database at ``path``."""
    folder = nearest(path)
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return ("database", True, f"{path} will be made by the first start")
    return ("database", False, f"{path} cannot be made: {folder} is not a folder we can write in")


def nearest(path: Path) -> Path:
    """Return the innermost folder around ``path`` that exists already."""
    return next(parent for parent in path.absolute().parents if parent.exists())


def check_disk(loss: str | None) -> Iterator[Check]:
    """Tell when the disk will be thrown away with the database on it."""
    if loss:
        yield ("disk", False, loss)


def check_room(path: Path) -> Iterator[Check]:
    """Tell whether the disk has room for the database, made or not, and can keep it whole."""
    free = shutil.disk_usage(nearest(path)).free
    words = f"{free / 10**6:,.0f} MB are free for {path}"
    yield ("room", free >= LEAST_ROOM, words if free >= LEAST_ROOM else f"only {words}")
    if MOUNTS.exists():
        yield check_file_system(path.resolve(), MOUNTS.read_text(encoding="utf-8"))


def check_file_system(path: Path, mounts: str) -> Check:
    """Tell whether SQLite's log works where a file lies, by the text of Linux's mountinfo.

    It needs memory that all processes share, which no network file system offers.
    """
    kind = "unknown"
    deepest = -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        # Blanks in names are written as octal numbers.
        place = Path(before.split()[4].encode().decode("unicode_escape"))
        if path.is_relative_to(place) and len(place.parts) >= deepest:
            kind, deepest = after.split()[0], len(place.parts)
    if kind in NETWORK_DISKS:
        words = f"{path} is on a network disk ({kind}), where SQLite may lose or spoil data"
        return ("file system", False, f"{words}; use a local disk, or PostgreSQL by DATABASE_URL")
    return ("file system", True, kind)


def check_schema(step: str | None) -> Check:
    """Tell whether a database at this step of the migrations is one that we can work with."""
    match migrate.schema_at(step):
        case Schema.CURRENT:
            return ("migrations", True, "up to date")
        case Schema.OLD:
            return ("migrations", False, "out of date; run: ownyourtrakt migrate")
        case Schema.NEWER:
            return ("migrations", False, "made by a newer OwnYourTrakt; update the program")


async def counted(settings: Settings) -> tuple[Census, timedelta | None]:
    """Return by which key what is sealed in the database, and the interval if it is stretched."""
    opened = database.Database(settings.database_url)
    try:
        async with opened.reading() as session:
            interval = await workers.stretched(session)
        return await census(opened, Vault(settings.secret_key)), interval
    finally:
        await opened.close()


def check_keys(found: Census) -> Iterator[Check]:
    """Tell whether all that is sealed can be opened, and whether an older key is still needed."""
    for one in found.lost:
        yield ("keys", False, f"{LOST}; {one}")
    if found.older:
        words = "an older SECRET_KEY is still needed; to change that, run: ownyourtrakt rotate-keys"
        yield ("keys", True, f"{words} ({found.older} of {found.older + found.newest})")
    elif not found.lost:
        yield ("keys", True, "all are sealed by the newest SECRET_KEY")


def check_pace(stretched: timedelta | None) -> Iterator[Check]:
    """Tell how often Trakt is asked, where its limit is too low for as often as wished."""
    if stretched:
        minutes = stretched // timedelta(minutes=1)
        words = f"each connection is asked every {minutes} minutes; Trakt allows no more"
        yield ("pace", True, f"{words} from these addresses (docs/scale.md)")


def check_clock(now: datetime, theirs: datetime | None = None) -> Check:
    """Tell whether the clock is plausible: not before this version, and near Trakt's."""
    if now < BUILT:
        return ("clock", False, f"it says {now:%Y-%m-%d}, before this version was made; set it")
    if theirs is not None and abs(now - theirs) > WORST_CLOCK:
        return ("clock", False, f"it differs from Trakt's by {abs(now - theirs)}; set it")
    return ("clock", True, f"{now:%Y-%m-%d %H:%M:%S} UTC")


async def check_reach(settings: Settings) -> list[Check]:
    """Tell whether Trakt's two hosts answer, and compare its clock with ours."""
    checks: list[Check] = []
    theirs = None
    async with client(settings.allow_private_networks) as http:
        for name, url in (("api", settings.trakt_api_url), ("sign-in", settings.trakt_auth_url)):
            try:
                answer = await http.get(url)
            except FetchError as error:
                checks.append((f"trakt {name}", False, str(error)))
            else:
                theirs = date_of(answer) or theirs
                checks.append((f"trakt {name}", True, f"{url} answers"))
    return [*checks, check_clock(datetime.now(UTC), theirs)]
