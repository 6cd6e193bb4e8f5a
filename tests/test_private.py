"""Files that are for their owner alone, as the real commands make and mend them."""

import asyncio
import os
import re
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from app import private
from tests.machine import ROOT, Machine
from tests.test_serve import free_port

KEY = "a secret key that only the tests know"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}


@asynccontextmanager
async def serving(machine: Machine, url: str) -> AsyncIterator[str]:
    """Run the real bridge under the widest umask; yield what it said until it served."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "serve",
        cwd=machine.folder,
        env={
            "PATH": os.defpath, "PYTHONPATH": str(ROOT), "SECRET_KEY": KEY,
            "DATABASE_URL": url, "PORT": str(port),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        umask=0,
    )  # fmt: skip
    said = ""
    try:
        assert process.stderr is not None
        while "serving" not in said:
            line = await process.stderr.readline()
            assert line, said
            said += line.decode()
        async with httpx2.AsyncClient(trust_env=False) as client:
            health = await client.get(f"http://127.0.0.1:{port}/healthz")
        assert health.status_code == 200
        yield said
    finally:
        process.kill()
        await process.wait()


async def test_all_files_of_a_bridge_are_their_owners_alone_whatever_the_umask(
    machine: Machine,
) -> None:
    data = machine.folder / "data"

    async with serving(machine, f"sqlite:///{data / 'bridge.db'}") as said:
        found = modes(data)

    assert found.pop("data") == 0o700
    assert "bridge.db-wal" in found
    assert set(found.values()) == {0o600}
    assert "others could read" not in said


async def test_what_an_older_version_left_open_is_closed_at_the_start_and_told_in_one_line(
    machine: Machine,
) -> None:
    data = machine.folder / "data"
    url = f"sqlite:///{data / 'bridge.db'}"
    assert (await machine.run("migrate", DATABASE_URL=url)).code == 0
    (machine.folder / ".env").touch()
    (data / "backups").mkdir()
    (data / "backups" / "bridge-2026-11-20.db").touch()
    for path in (data, machine.folder / ".env", *data.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)

    before = await machine.run("doctor", DATABASE_URL=url)
    async with serving(machine, url) as said:
        found = modes(data) | modes(data / "backups") | modes(machine.folder)
    after = await machine.run("doctor", DATABASE_URL=url)

    assert before.faults == ["files"]
    assert "chmod go= " in before.said
    (line,) = [line for line in said.splitlines() if "others could read" in line]
    for name in (".env (was 0644)", "data (was 0755)", "bridge.db (was 0644)", "20.db (was 0644)"):
        assert name in line
    assert [name for name, mode in found.items() if mode & 0o077] == []
    assert after.faults == []


async def test_migrate_closes_them_too(machine: Machine) -> None:
    machine.migrate()
    machine.database.chmod(0o666)

    ended = await machine.run("migrate")

    assert "bridge.db (was 0666)" in ended.said
    assert stat.S_IMODE(machine.database.stat().st_mode) == 0o600


async def test_what_cannot_be_closed_is_told_and_stops_nothing(machine: Machine) -> None:
    # Not even root may change the mode of this one.
    (machine.folder / ".env").symlink_to("/proc/self/status")

    ended = await machine.run("migrate")
    seen = await machine.run("doctor")

    assert ended.code == 0
    assert re.search(r"it cannot be mended: .env \(\w+", ended.said)
    assert seen.faults == ["files"]


def test_a_folder_that_holds_other_things_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "bridge.db").touch(mode=0o600)
    (tmp_path / "holiday.jpg").touch()
    tmp_path.chmod(0o755)

    assert private.mend(tmp_path / "bridge.db") == ([], [])
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_neighbours_whose_names_only_begin_alike_are_left_as_they_are(tmp_path: Path) -> None:
    database = tmp_path / "www.db"
    database.touch(mode=0o644)
    (tmp_path / "www-site").mkdir(mode=0o755)
    (tmp_path / "backups").mkdir(mode=0o755)
    (tmp_path / "backups" / "www-site").mkdir(mode=0o755)
    for name in ("www.db.txt", "www-replaced-notes.txt", "backups/www-site.tar"):
        (tmp_path / name).write_text("a text of somebody else", encoding="utf-8")
    before = modes(tmp_path) | modes(tmp_path / "backups")

    mended, left = private.mend(database)

    assert (mended, left) == ([f"{database} (was 0644)"], [])
    assert modes(tmp_path) | modes(tmp_path / "backups") == before | {"www.db": 0o600}


@pytest.mark.parametrize("is_folder", [True, False], ids=["folder", "text"])
async def test_what_is_named_as_the_database_by_mistake_is_refused_and_left_as_it_is(
    machine: Machine, *, is_folder: bool
) -> None:
    named = machine.folder / "home" / "notes"
    named.parent.mkdir(mode=0o755)
    if is_folder:
        named.mkdir(mode=0o755)
    else:
        named.write_text("Dear diary, today I watched Dune.\n" * 50, encoding="utf-8")
    (named.parent / "notes-wal").touch(mode=0o644)
    before = modes(named.parent)

    ended = await machine.run("migrate", DATABASE_URL=f"sqlite:///{named}")

    assert "cannot be used" in ended.line
    assert modes(named.parent) == before


def test_a_folder_that_many_share_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "bridge.db").touch(mode=0o600)
    tmp_path.chmod(0o1777)

    assert private.mend(tmp_path / "bridge.db") == ([], [])
