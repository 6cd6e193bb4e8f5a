"""What holds keys, or what people watched, is for its owner alone: `.env`, database and copies."""

import stat
from collections.abc import Iterable, Iterator, Sequence
from glob import escape
from pathlib import Path

DOTENV = Path(".env")
HEADER = b"SQLite format 3\0"


def exposed(database: Path | None) -> list[tuple[Path, int]]:
    """Return what others on this machine may read or change, and its mode."""
    found = [(path, stat.S_IMODE(path.stat().st_mode)) for path in ours(database) if path.exists()]
    return [(path, mode) for path, mode in found if mode & 0o077]


def ours(database: Path | None) -> Iterator[Path]:
    """Yield what is for its owner alone, also what SQLite and copies put beside the database.

    Nothing of this where another file or folder was named by mistake. To be called before SQLite
    has the database open here: to read it otherwise takes this process's locks away.
    """
    yield DOTENV
    if database is None or (database.exists() and not is_sqlite(database)):
        return
    stem, folder, copies = escape(database.stem), database.parent, database.parent / "backups"
    kept = sqlite_in(copies, {f"{stem}-*", "ownyourtrakt-*"})
    mine = sqlite_in(folder, {escape(database.name), f"{stem}-replaced-*"})
    mine += [path for path in map(database.with_name, beside(database.name)) if path.is_file()]
    if holds_only(copies, kept):
        mine.append(copies)
    if holds_only(folder, mine):
        yield folder
    yield from mine
    yield from kept


def beside(name: str) -> list[str]:
    """Return the names that SQLite gives to files beside a database."""
    return [f"{name}-{end}" for end in ("wal", "shm", "journal")]


def sqlite_in(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Return the SQLite databases in a folder whose names match."""
    return [path for pattern in patterns for path in folder.glob(pattern) if is_sqlite(path)]


def is_sqlite(path: Path) -> bool:
    """Tell whether a file is a database of SQLite, or empty, as one is at first."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(HEADER)) in {b"", HEADER}
    except OSError:
        return False


def holds_only(folder: Path, mine: Sequence[Path]) -> bool:
    """Tell whether a folder is ours to close: it holds nothing else, and is none that many share.

    Such a one, as /tmp, has the sticky bit.
    """
    is_all = bool(mine) and len(mine) == len([*folder.iterdir()])
    return is_all and not folder.stat().st_mode & stat.S_ISVTX


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
