"""Where a SQLite database would be lost: judged by what platforms set and what is mounted."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from app import settings as config
from app.disk import Mount, loss, loss_here, mounted
from tests.machine import Machine

HEROKU = {"DYNO": "web.1"}
DOKKU = {"DYNO": "web.1", "DOKKU_APP_TYPE": "dockerfile"}
RENDER = {"RENDER": "true", "RENDER_EXTERNAL_URL": "https://watch.onrender.com"}
RAILWAY = {"RAILWAY_PROJECT_ID": "8f"}
FLY = {"FLY_APP_NAME": "watch"}
CONTAINER = Mount(Path("/"), "overlay")
VOLUME = Mount(Path("/data"), "ext4")


@pytest.mark.parametrize(
    ("environment", "path", "mounts", "names"),
    [
        ({}, "/home/pi/bridge.db", [Mount(Path("/"), "ext4")], None),
        ({}, "/app/data/bridge.db", [CONTAINER], None),
        (HEROKU, "/app/data/bridge.db", [CONTAINER], "Heroku"),
        (HEROKU, "/app/data/bridge.db", [CONTAINER, Mount(Path("/app"), "ext4")], "Heroku"),
        (DOKKU, "/app/data/bridge.db", [CONTAINER], "Dokku"),
        (DOKKU, "/data/bridge.db", [CONTAINER, VOLUME], None),
        (RENDER, "/opt/render/project/src/data/bridge.db", [CONTAINER], "Render"),
        (RENDER, "/data/bridge.db", [CONTAINER, VOLUME], None),
        (RENDER, "/database/bridge.db", [CONTAINER, VOLUME], "Render"),
        (RENDER, "/data/bridge.db", [VOLUME, Mount(Path("/data"), "tmpfs")], "Render"),
        (RENDER, "/data/tmp/x.db", [VOLUME, Mount(Path("/data/tmp"), "tmpfs")], "Render"),
        (RAILWAY, "/data/bridge.db", [CONTAINER, VOLUME], "Railway"),
        ({**RAILWAY, "RAILWAY_VOLUME_MOUNT_PATH": "/data"}, "/data/bridge.db", [], None),
        ({**RAILWAY, "RAILWAY_VOLUME_MOUNT_PATH": "/other"}, "/data/bridge.db", [], "Railway"),
        (FLY, "/app/data/bridge.db", [Mount(Path("/"), "ext4")], "Fly.io"),
        (FLY, "/data/bridge.db", [Mount(Path("/"), "ext4"), VOLUME], None),
        ({"KOYEB_APP_NAME": "watch"}, "/app/bridge.db", [CONTAINER], "Koyeb"),
        ({"K_SERVICE": "watch"}, "/data/bridge.db", [CONTAINER, VOLUME], "Cloud Run"),
    ],
)
def test_a_database_is_lost_where_a_platform_throws_its_disk_away(
    environment: Mapping[str, str], path: str, mounts: list[Mount], names: str | None
) -> None:
    told = loss(environment, Path(path), mounts)

    assert (told or "").startswith(f"{names} " if names else "")
    assert (told is None) is (names is None)


@pytest.mark.parametrize("environment", [HEROKU, DOKKU, RENDER, RAILWAY, FLY])
def test_the_ways_out_are_named(environment: Mapping[str, str]) -> None:
    told = loss(environment, Path("/app/data/bridge.db"), [CONTAINER]) or ""

    assert "/app/data/bridge.db" in told
    for way in ("DATABASE_URL", "PostgreSQL", "Litestream"):
        assert way in told
    assert ("volume" in told or "disk that" in told or "a disk," in told or "storage" in told) is (
        environment is not HEROKU
    )


def test_a_mount_with_a_space_in_its_name_is_read() -> None:
    text = "overlay / overlay rw,relatime 0 0\n/dev/sdb /my\\040data ext4 rw 0 0\n\n"

    assert mounted(text) == [CONTAINER, Mount(Path("/my data"), "ext4")]


def test_postgresql_is_nobody_s_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNO", "web.1")

    found = config.load(_env_file=None, secret_key="k" * 32, database_url="postgres://db/x")

    assert loss_here(found) is None


async def test_the_doctor_says_it(machine: Machine) -> None:
    machine.migrate()

    ended = await machine.run("doctor", DYNO="web.1")

    assert (ended.code, ended.faults) == (1, ["disk"])
    assert "Heroku throws away" in ended.said


async def test_a_command_that_works_says_it_loudly(machine: Machine) -> None:
    ended = await machine.run("poll", "--due", DYNO="web.1")

    assert ended.code == 0
    assert "EVERYTHING WILL BE LOST AT THE NEXT RESTART: Heroku throws away" in ended.complaint
