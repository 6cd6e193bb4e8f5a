"""What holds keys, or what people watched, is for its owner alone: `.env`, database and copies."""

import stat
from collections.abc import Iterator
from pathlib import Path

DOTENV = Path(".env")


def exposed(database: Path | None) -> list[tuple[Path, int]]:
    """Return what others on this machine may read or change, and its mode."""
    found = [(path, stat.S_IMODE(path.stat().st_mode)) for path in ours(database) if path.exists()]
    return [(path, mode) for path, mode in found if mode & 0o077]


def ours(database: Path | None) -> Iterator[Path]:
    """Yield what is for its owner alone, also what SQLite and copies put beside the database."""
    yield DOTENV
    if database is None or not database.parent.is_dir():
        return
    beside, copies = [*database.parent.iterdir()], database.parent / "backups"
    mine = [path for path in beside if path.name.startswith(database.stem) or path == copies]
    # A folder that holds other things, or that many share (as /tmp, by its sticky bit), is not
    # ours to close.
    if len(mine) == len(beside) and not database.parent.stat().st_mode & stat.S_ISVTX:
        yield database.parent
    yield from mine
    if copies.is_dir():
        yield from copies.glob(f"{database.stem}-*")


def mend(database: Path | None) -> tuple[list[str], list[str]]:
    """Take from others what is not theirs; return what was mended and what could not be."""
    mended, left = [], []
    for path, mode in exposed(database):
        try:
            path.chmod(mode & 0o700)
        except OSError as error:
            left.append(f"{path} ({error.strerror})")
        else:
            mended.append(f"{path} (was {mode:04o})")
    return mended, left
