"""What may be wrong with PostgreSQL is told in one readable line, by a real one."""

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app import migrate
from tests.machine import Machine
from tests.postgres import new_database
from tests.world import listening


@pytest.fixture
def url(postgres: Any) -> str:  # noqa: ANN401 - the server of a library without types
    """A database for the user ada, who needs a password."""
    made = new_database(postgres)
    with psycopg.connect(made, autocommit=True) as connection:
        row = connection.execute("SHOW hba_file").fetchone()
        assert row
        rules = Path(row[0])
        known = rules.read_text(encoding="utf-8")
        if "ada" not in known:
            connection.execute("CREATE ROLE ada LOGIN PASSWORD 'right'")
            rules.write_text(f"local all ada scram-sha-256\n{known}", encoding="utf-8")
            connection.execute("SELECT pg_reload_conf()")
        connection.execute("GRANT ALL ON SCHEMA public TO ada")
    return made


def as_ada(url: str, password: str) -> str:
    return url.replace("postgres:@", f"ada:{password}@")


async def told(machine: Machine, url: str) -> list[str]:
    """The line of each command that needs the database; none repeats a password."""
    ended = await asyncio.gather(
        *(machine.run(word, DATABASE_URL=url) for word in ("serve", "migrate", "doctor"))
    )
    doctor = ended[2]
    assert (doctor.code, doctor.faults, doctor.complaint) == (1, ["database"], "")
    (fault,) = [line for line in doctor.said.splitlines() if "FAIL" in line]
    assert "hush" not in "".join(one.said + one.complaint for one in ended)
    return [ended[0].line, ended[1].line, fault]


async def test_the_right_password_opens_it(machine: Machine, url: str) -> None:
    ended = await machine.run("migrate", DATABASE_URL=as_ada(url, "right"))

    assert (ended.code, ended.complaint) == (0, "")


async def test_a_wrong_password_is_told(machine: Machine, url: str) -> None:
    for line in await told(machine, as_ada(url, "hush")):
        assert 'password authentication failed for user "ada"' in line
        assert "Check the user and the password in DATABASE_URL" in line


async def test_a_missing_password_is_told(machine: Machine, url: str) -> None:
    for line in await told(machine, as_ada(url, "")):
        assert "no password supplied" in line


async def test_a_missing_database_is_told(machine: Machine, url: str) -> None:
    for line in await told(machine, url.replace("/test", "/nowhere")):
        assert "does not exist" in line
        assert "createdb" in line


async def test_a_server_that_does_not_answer_is_told(machine: Machine) -> None:
    listener = listening()
    port = listener.getsockname()[1]
    listener.close()

    for line in await told(machine, f"postgres://ada:hush@127.0.0.1:{port}/x"):
        assert "Connection refused" in line
        assert "Check the host and port in DATABASE_URL" in line


@pytest.mark.parametrize("version", [(12, 22), (9, 6)])
def test_a_server_that_is_too_old_is_told(version: tuple[int, int]) -> None:
    with pytest.raises(migrate.OldServer, match=f"version {version[0]}; .* needs 13 or newer"):
        migrate.check_server(version)


def test_a_server_that_is_new_enough_is_fine() -> None:
    migrate.check_server((13, 0))
    migrate.check_server((18, 1))
