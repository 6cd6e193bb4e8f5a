"""``doctor`` and the other commands that end by themselves, run as people run them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app import migrate
from app.cli.doctor import BUILT, WORST_CLOCK, check_clock, check_file_system
from app.demo.trakt import SimulatedTrakt
from app.vault import Vault
from tests.machine import Machine
from tests.world import Street, listening, origin, serving

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)


async def test_all_is_well(machine: Machine) -> None:
    machine.migrate()

    ended = await machine.run("doctor", BASE_URL="https://watch.example")

    assert (ended.code, ended.faults, ended.complaint) == (0, [], "")
    assert "https://watch.example/trakt/callback" in ended.said


async def test_a_database_that_is_not_there_yet_is_no_fault_and_not_made(machine: Machine) -> None:
    ended = await machine.run("doctor")

    assert (ended.code, ended.faults) == (0, [])
    assert "will be made by the first start" in ended.said
    assert list(machine.folder.iterdir()) == []


async def test_the_disk_is_looked_at_where_the_database_will_be_made(machine: Machine) -> None:
    place = machine.folder / "not" / "there" / "yet" / "bridge.db"

    ended = await machine.run("doctor", DATABASE_URL=f"sqlite:///{place}")

    assert f"MB are free for {place}" in ended.said
    assert "ok    file system: " in ended.said
    assert (ended.code, ended.faults) == (0, [])


async def test_a_missing_trakt_app_is_named(machine: Machine) -> None:
    ended = await machine.run("doctor", TRAKT_CLIENT_ID="")

    assert (ended.code, ended.faults) == (1, ["trakt"])
    assert "TRAKT_CLIENT_ID is missing" in ended.said


async def test_a_place_where_no_database_can_be_made_is_a_fault(machine: Machine) -> None:
    (machine.folder / "file").touch()

    url = f"sqlite:///{machine.folder / 'file' / 'bridge.db'}"
    ended = await machine.run("doctor", DATABASE_URL=url)

    assert (ended.code, ended.faults) == (1, ["database"])
    assert "cannot be made" in ended.said


async def test_a_file_that_is_no_database_is_a_fault(machine: Machine) -> None:
    machine.database.write_text("Dear diary, today I watched Dune.\n" * 50, encoding="utf-8")
    machine.database.chmod(0o600)

    ended = await machine.run("doctor")

    assert (ended.code, ended.faults) == (1, ["database"])
    assert "file is not a database" in ended.said


async def test_a_postgresql_that_is_down_is_a_fault(machine: Machine) -> None:
    listener = listening()
    port = listener.getsockname()[1]
    listener.close()

    ended = await machine.run("doctor", DATABASE_URL=f"postgres://ada:hush@127.0.0.1:{port}/x")

    assert (ended.code, ended.faults, ended.complaint) == (1, ["database"], "")
    assert "PostgreSQL cannot be used" in ended.said
    assert "hush" not in ended.said


@pytest.mark.parametrize(
    ("statement", "cure"),
    [
        ("DELETE FROM alembic_version", "ownyourtrakt migrate"),
        ("UPDATE alembic_version SET version_num = '9999'", "update the program"),
    ],
    ids=["older", "newer"],
)
async def test_a_database_of_another_version_is_told_its_cure(
    machine: Machine, statement: str, cure: str
) -> None:
    machine.migrate()
    machine.alter(statement)

    ended = await machine.run("doctor")

    assert (ended.code, ended.faults) == (1, ["migrations"])
    assert cure in ended.said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POLL_INTERVAL", "soon"),
        # These are judged by the parts that use them, as at the start.
        ("NOTIFY_URLS", "bogus://somewhere"),
        ("SENTRY_DSN", "foo"),
        ("ALLOWED_SITES", "not a site"),
    ],
)
async def test_a_wrong_setting_is_its_one_finding(machine: Machine, name: str, value: str) -> None:
    ended = await machine.run("doctor", **{name: value})

    assert (ended.code, ended.faults) == (1, ["settings"])
    assert len(ended.said.splitlines()) == 1
    assert name in ended.said


async def test_it_asks_nobody_unless_told_to(machine: Machine) -> None:
    trakt = SimulatedTrakt(client_id="client", redirect_uri="", now=lambda: datetime.now(UTC))
    listener = listening()
    async with serving(trakt.api, [listener]):
        await machine.run("doctor", TRAKT_API_URL=origin(listener))

    assert trakt.requests == []


@pytest.mark.parametrize("is_up", [True, False], ids=["both up", "one down"])
async def test_it_tells_which_host_of_trakt_can_be_reached(
    machine: Machine, *, is_up: bool
) -> None:
    trakt = SimulatedTrakt(client_id="client", redirect_uri="", now=lambda: datetime.now(UTC))
    api, auth = listening(), listening()
    street = Street()
    for listener, app in ((api, trakt.api), (auth, trakt.auth)):
        street.apps[listener.getsockname()[1]] = app
    hosts = {"TRAKT_API_URL": origin(api), "TRAKT_AUTH_URL": origin(auth)}
    if not is_up:
        auth.close()

    async with serving(street, [api, auth] if is_up else [api]):
        ended = await machine.run(
            "doctor", "--reach", ALLOW_PRIVATE_NETWORKS="127.0.0.0/8", **hosts
        )

    assert f"ok    trakt api: {hosts['TRAKT_API_URL']} answers" in ended.said
    assert ("FAIL  trakt sign-in" in ended.said) is not is_up
    assert (ended.code, ended.complaint) == (0 if is_up else 1, "")


async def test_a_clock_that_differs_from_that_of_trakt_is_a_fault(machine: Machine) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=1)
    trakt = SimulatedTrakt(client_id="client", redirect_uri="", now=lambda: ahead)
    listener = listening()
    host = origin(listener)

    async with serving(trakt.api, [listener]):
        ended = await machine.run(
            "doctor", "--reach",
            TRAKT_API_URL=host, TRAKT_AUTH_URL=host, ALLOW_PRIVATE_NETWORKS="127.0.0.0/8",
        )  # fmt: skip

    assert (ended.code, ended.faults) == (1, ["clock"])


@pytest.mark.parametrize(
    ("now", "theirs", "is_fine"),
    [
        (NOW, None, True),
        (NOW, NOW + WORST_CLOCK, True),
        (NOW, NOW - WORST_CLOCK, True),
        (NOW, NOW + WORST_CLOCK + timedelta(seconds=1), False),
        (NOW, NOW - WORST_CLOCK - timedelta(seconds=1), False),
        (BUILT, None, True),
        (BUILT - timedelta(seconds=1), None, False),
        (datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), False),
    ],
)
def test_a_clock_is_fine_when_it_is_plausible_and_near_that_of_trakt(
    now: datetime, theirs: datetime | None, *, is_fine: bool
) -> None:
    name, found, _ = check_clock(now, theirs)

    assert (name, found) == ("clock", is_fine)


async def test_migrate_makes_the_newest_schema_and_may_be_repeated(machine: Machine) -> None:
    first, second = await machine.run("migrate"), await machine.run("migrate")

    assert (first.code, second.code) == (0, 0)
    assert first.said == second.said == "The database is up to date.\n"
    assert (first.complaint, second.complaint) == ("", "")
    assert machine.database.stat().st_mode & 0o777 == 0o600
    with migrate.alone(machine.url) as connection:
        assert migrate.current(connection) == migrate.newest()


@pytest.mark.parametrize("words", [["--help"], []], ids=["asked", "without a command"])
async def test_the_help_lists_the_commands(machine: Machine, words: list[str]) -> None:
    ended = await machine.run(*words)

    for command in ("serve", "migrate", "demo", "doctor"):
        assert f" {command} " in ended.said + ended.complaint
    assert "Traceback" not in ended.complaint


OLD_KEY, NEW_KEY = "an old key of more than 32 characters", "a new key of more than 32 characters"


async def signed_in(machine: Machine) -> None:
    """Somebody whose site's key was sealed by the old key."""
    machine.migrate()
    machine.alter(
        "INSERT INTO account (id, me, timezone, created_at) VALUES (1, ?, 'UTC', '2026-11-20')",
        "https://ada.example/",
    )
    sealed = Vault([OLD_KEY]).seal({"access": "a token", "refresh": None})
    machine.alter(
        "INSERT INTO site (account_id, micropub, authorization_endpoint, token_endpoint, scope, "
        "failures, unsure_choice, unsure_hours, look_failures, wants_all, sealed_tokens) "
        "VALUES (1, '', '', '', '', 0, 'ask', 24, 0, 1, ?)",
        sealed,
    )


async def test_keys_are_rotated_by_a_command_and_the_doctor_says_how_far_that_is(
    machine: Machine,
) -> None:
    await signed_in(machine)
    both = f"{NEW_KEY},{OLD_KEY}"

    before = await machine.run("doctor", SECRET_KEY=both)
    rotated = await machine.run("rotate-keys", SECRET_KEY=both)
    after = await machine.run("doctor", SECRET_KEY=NEW_KEY)

    assert "an older SECRET_KEY is still needed" in before.said
    assert (rotated.code, rotated.complaint) == (0, "")
    assert "1 of 1 sealed anew" in rotated.said
    assert "The older one may go" in rotated.said
    assert (after.code, after.faults) == (0, [])
    assert "all are sealed by the newest SECRET_KEY" in after.said


async def test_a_program_reads_what_was_migrated_and_sealed_anew(machine: Machine) -> None:
    await signed_in(machine)

    migrated = await machine.run("migrate", "--json")
    rotated = await machine.run("rotate-keys", "--json", SECRET_KEY=f"{NEW_KEY},{OLD_KEY}")

    assert json.loads(migrated.said) == {"copy": None}
    assert json.loads(rotated.said) == {"newest": 1, "older": 0, "lost": []}


async def test_a_key_that_nobody_can_open_is_named_by_doctor_and_rotation(machine: Machine) -> None:
    await signed_in(machine)

    for word in ("doctor", "rotate-keys"):
        ended = await machine.run(word, SECRET_KEY=NEW_KEY)

        assert ended.code == 1
        assert "https://ada.example/ must sign in again" in ended.said


async def test_without_a_database_there_is_nothing_to_rotate(machine: Machine) -> None:
    ended = await machine.run("rotate-keys")

    assert ended.code == 2
    assert "ownyourtrakt migrate" in ended.complaint
    assert list(machine.folder.iterdir()) == []


async def test_keys_are_not_rotated_under_a_bridge_that_does_not_know_the_new_one(
    machine: Machine,
) -> None:
    await signed_in(machine)
    now, name = datetime.now(UTC), Vault([OLD_KEY]).key_name
    values = (f"{now:%F %T.%f}", name)
    machine.alter("INSERT INTO heartbeat (id, at, key_name) VALUES (1, ?, ?)", *values)
    machine.alter("INSERT INTO lease VALUES (1, 'process 7 on web-1', ?)", values[0])

    ended = await machine.run("rotate-keys", SECRET_KEY=f"{NEW_KEY},{OLD_KEY}")

    assert ended.code == 2
    assert "does not know the newest SECRET_KEY yet" in ended.complaint


MOUNTED = """\
22 1 8:1 / / rw - ext4 /dev/root rw
23 22 0:20 / /proc rw - proc proc rw
30 22 0:40 / /srv/my\\040disk rw shared:1 - nfs4 server:/x rw
31 30 0:41 / /srv/my\\040disk/local rw - xfs /dev/sdb rw
32 22 0:42 / /home/ada rw,nosuid - fuse.sshfs host: rw
33 22 0:43 / /mnt rw - cifs //server/share rw
34 22 0:44 / /host rw - 9p share rw
35 22 0:45 / /home/adam rw - btrfs /dev/sdc rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "is_fine"),
    [
        ("/var/lib/bridge.db", "ext4", True),
        ("/srv/my disk/bridge.db", "nfs4", False),
        ("/srv/my disk/local/bridge.db", "xfs", True),
        ("/home/ada/data/bridge.db", "fuse.sshfs", False),
        ("/home/adam/bridge.db", "btrfs", True),
        ("/mnt/bridge.db", "cifs", False),
        ("/host/bridge.db", "9p", False),
    ],
)
def test_a_network_disk_is_a_fault_for_sqlite(path: str, kind: str, *, is_fine: bool) -> None:
    name, found, words = check_file_system(Path(path), MOUNTED)

    assert (name, found) == ("file system", is_fine)
    assert kind in words
    assert ("PostgreSQL" in words) is not is_fine


async def test_it_tells_which_process_is_the_scheduler(machine: Machine) -> None:
    machine.migrate()
    before = await machine.run("doctor")
    soon = (datetime.now(UTC) + timedelta(seconds=20)).isoformat(" ")
    machine.alter("INSERT INTO lease VALUES (1, 'process 7 on web-1', ?)", soon)

    ended = await machine.run("doctor")

    assert "scheduler: none is at work now" in before.said
    assert "ok    scheduler: process 7 on web-1" in ended.said
    assert ended.code == 0


async def test_it_tells_how_often_is_asked_where_trakt_allows_no_more(machine: Machine) -> None:
    machine.migrate()
    machine.alter(
        "INSERT INTO heartbeat (id, at, stretched) VALUES (1, ?, 6000)", "2026-11-26 00:00:00"
    )

    ended = await machine.run("doctor")

    assert "ok    pace: each connection is asked every 100 minutes" in ended.said
    assert ended.code == 0


async def test_a_program_may_read_what_it_found(machine: Machine) -> None:
    ended = await machine.run("doctor", "--json", TRAKT_CLIENT_ID="")

    found = {one["check"]: one["fine"] for one in json.loads(ended.said)}
    assert ended.code == 1
    assert found["settings"]
    assert not found["trakt app"]
