"""What the torture asks the bridge's database before it strikes."""

import sqlite3
from contextlib import closing
from pathlib import Path


def is_second_try_under_way(database: Path) -> bool:
    """Tell whether a post is being sent for the second time since its answer was lost."""
    return asked(database, "SELECT 1 FROM post WHERE state = 'sending' AND is_resent")


def is_second_try(database: Path, slug: str) -> bool:
    """Tell whether the post with this slug was sent before and is sent again now."""
    return asked(database, "SELECT 1 FROM post WHERE slug = ? AND is_resent", slug)


def asked(database: Path, question: str, *values: str) -> bool:
    """Tell whether the database has a row for ``question``; it may not even have the table."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return connection.execute(question, values).fetchone() is not None
    except sqlite3.OperationalError:
        return False
