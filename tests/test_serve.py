"""``serve`` as a platform runs it: the Procfile's lines, with nothing but requirements.txt.

Each bridge here is a process of its own, with an environment that holds only what is named.
"""

import asyncio
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from app import migrate
from app.cli import serve
from app.demo.catalogue import DUNE
from app.demo.site import SimulatedSite
from app.demo.trakt import SimulatedTrakt
from app.settings import Settings
from tests.postgres import new_database
from tests.world import Browser, Street, listening, origin, serving

ROOT = Path(__file__).parents[1]
OLD = ROOT / "tests" / "old_database.sql"
KEY = "a secret key that only the tests know"
PUBLIC = "https://watch.example"
# A platform kills whoever has not gone by then (Heroku after 30 seconds, others after 10).
PATIENCE = 10  # seconds


@dataclass(frozen=True)
class Platform:
    """A machine with Python, the packages of requirements.txt, and our files."""

    python: Path
    slug: Path

    def environment(self, folder: Path, **values: str) -> dict[str, str]:
        return {
            "PATH": f"{self.python.parent}:/usr/bin:/bin",
            "PYTHONPATH": str(self.slug),
            "DATABASE_URL": f"sqlite:///{folder / 'bridge.db'}",
            **values,
        }


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Made as Heroku does: hash mode does not install the project itself."""
    folder = tmp_path_factory.mktemp("platform")
    python = folder / "venv" / "bin" / "python"
    install = ["-m", "pip", "install", "--quiet", "--require-hashes", "--disable-pip-version-check"]
    for words in (
        [sys.executable, "-m", "venv", str(folder / "venv")],
        [str(python), *install, "-r", str(ROOT / "requirements.txt")],
    ):
        subprocess.run(words, check=True, capture_output=True)  # noqa: S603 - our own words
    slug = folder / "slug"
    for name in ("app", "migrations"):
        shutil.copytree(ROOT / name, slug / name, ignore=shutil.ignore_patterns("__pycache__"))
    return Platform(python, slug)


def procfile() -> dict[str, str]:
    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(
    platform: Platform, folder: Path, port: int, **values: str
) -> Iterator[tuple["subprocess.Popen[str]", list[str]]]:
    """Run the Procfile's web line until the block ends; yield when it says that it serves."""
    settings = platform.environment(folder, SECRET_KEY=KEY, PORT=str(port), **values)
    with running(shlex.split(procfile()["web"]), folder, settings) as process:
        yield process, lines_until(process, "serving")


@contextmanager
def running(
    words: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator["subprocess.Popen[str]"]:
    """Run ``words`` until the block ends."""
    with subprocess.Popen(  # noqa: S603 - our own words
        words,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_until(process: "subprocess.Popen[str]", word: str) -> list[str]:
    lines: list[str] = []
    assert process.stderr is not None
    while not any(word in line for line in lines):
        lines.append(process.stderr.readline())
        assert lines[-1], f"it ended before it said {word!r}: {lines}"
    return lines


@dataclass(frozen=True)
class Life:
    """One run of the bridge: what it answered, what it said, and how it ended."""

    health: httpx2.Response
    home: httpx2.Response
    callback: httpx2.Response
    schema: str
    children: str
    ended: int
    log: list[str]


def lived(platform: Platform, folder: Path, end: signal.Signals, **values: str) -> Life:
    port = free_port()
    with (
        started(platform, folder, port, **values) as (process, lines),
        # It answers on every address of the machine, of which this is one nobody named.
        httpx2.Client(base_url=f"http://127.0.0.2:{port}", trust_env=False) as client,
    ):
        health = client.get("/healthz")
        database = sqlite3.connect(folder / "bridge.db")
        schema = database.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        database.close()
        home = client.get("/")
        callback = client.get("/callback?code=TOPSECRET&state=HUSH")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("utf-8")
        process.send_signal(end)
        _, rest = process.communicate(timeout=PATIENCE)
        ended = process.returncode
    log = [line for line in "".join([*lines, rest]).splitlines() if line]
    return Life(health, home, callback, schema, children, ended, log)


@pytest.fixture(scope="module")
def public(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Life:
    folder = tmp_path_factory.mktemp("public")
    return lived(platform, folder, signal.SIGTERM, BASE_URL=PUBLIC, WEB_CONCURRENCY="2")


@pytest.fixture(scope="module")
def local(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Life:
    folder = tmp_path_factory.mktemp("local")
    base_url = "http://localhost:8000"
    return lived(platform, folder, signal.SIGINT, BASE_URL=base_url, LOG_FORMAT="json")


def test_the_procfile_line_serves_with_the_requirements_alone(public: Life) -> None:
    assert public.health.status_code == 200
    assert public.home.status_code == 200
    assert "Sign in with your website" in public.home.text


def test_the_database_is_migrated_before_the_first_answer(public: Life) -> None:
    assert public.schema == migrate.newest()


def test_one_process_serves_whatever_web_concurrency_says(public: Life) -> None:
    assert public.children.split() == []


def test_it_ends_when_it_is_asked_to(public: Life) -> None:
    assert public.ended in {0, -signal.SIGTERM}
    assert not any("Traceback" in line for line in public.log)


def test_ctrl_c_ends_it_without_a_word(local: Life) -> None:
    # 128 + 2 is how a shell would put it, too.
    assert local.ended in {0, -signal.SIGINT, 130}
    assert not any("Traceback" in line or "Aborted" in line for line in local.log)


def test_by_https_the_cookie_is_secure_and_bound_to_the_host(public: Life) -> None:
    cookie = public.home.headers["Set-Cookie"]

    assert cookie.startswith("__Host-")
    for word in ("Secure", "HttpOnly", "SameSite=lax", "Path=/"):
        assert word in cookie
    assert "max-age" in public.home.headers["Strict-Transport-Security"]


def test_by_http_the_cookie_works_too(local: Life) -> None:
    cookie = local.home.headers["Set-Cookie"]

    assert "Secure" not in cookie
    assert not cookie.startswith("__Host-")
    assert "Strict-Transport-Security" not in local.home.headers


def test_the_setup_code_stands_in_the_log_of_a_public_bridge_only(
    public: Life, local: Life
) -> None:
    code = re.compile(r"code\W+([a-z2-9]{4}(-[a-z2-9]{4}){3})")

    assert len([line for line in public.log if code.search(line)]) == 1
    assert not [line for line in local.log if code.search(line)]


def test_no_line_of_the_log_holds_a_query(public: Life, local: Life) -> None:
    for life in (public, local):
        assert life.callback.status_code == 400
        assert any("/callback" in line for line in life.log)
        assert not [line for line in life.log if "TOPSECRET" in line or "HUSH" in line]


def test_the_json_log_is_json_on_every_line(local: Life) -> None:
    events = [json.loads(line) for line in local.log]

    assert events[0]["event"] == "serving"
    assert all({"event", "level", "timestamp"} <= event.keys() for event in events)


def failed(platform: Platform, folder: Path, **values: str) -> str:
    """Start it in vain and return the one line that it said."""
    ended = subprocess.run(  # noqa: S603 - our own Procfile
        shlex.split(procfile()["web"]),
        cwd=folder,
        env=platform.environment(folder, **{"SECRET_KEY": KEY, "PORT": "0", **values}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY is missing"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY is too short"),
        ({"POLL_INTERVAL": "soon"}, "POLL_INTERVAL"),
        ({"PORT": "eighty"}, "PORT"),
        ({"DATABASE_URL": "postgres://ada@db.example:port/x"}, "DATABASE_URL"),
    ],
    ids=["no key", "short key", "interval", "port", "database url"],
)
def test_a_wrong_setting_is_told_in_one_line(
    platform: Platform, tmp_path: Path, values: Mapping[str, str], named: str
) -> None:
    assert named in failed(platform, tmp_path, **values)


def test_a_port_that_is_taken_is_told_in_one_line(platform: Platform, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]

        line = failed(platform, tmp_path, PORT=str(port))

    assert f"port {port} cannot be used" in line


def test_a_folder_that_cannot_be_written_is_told_in_one_line(
    platform: Platform, tmp_path: Path
) -> None:
    # Root may write anywhere, but not even root below a file.
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "bridge.db"

    line = failed(platform, tmp_path, DATABASE_URL=f"sqlite:///{path}")

    assert f"the database {path} cannot be used" in line


def test_a_file_that_is_no_database_is_told_in_one_line_and_kept(
    platform: Platform, tmp_path: Path
) -> None:
    path = tmp_path / "bridge.db"
    path.write_text("Dear diary, today I watched Dune.\n" * 50, encoding="utf-8")
    path.chmod(0o600)

    line = failed(platform, tmp_path)

    assert f"the database {path} cannot be used: file is not a database" in line
    assert path.read_text(encoding="utf-8").startswith("Dear diary")


def test_a_database_of_a_newer_version_is_told_in_one_line_and_kept(
    platform: Platform, tmp_path: Path
) -> None:
    path = tmp_path / "bridge.db"
    migrate.upgrade(f"sqlite+aiosqlite:///{path}")
    alter(path, "UPDATE alembic_version SET version_num = '9999'")
    path.chmod(0o600)

    line = failed(platform, tmp_path)

    assert "written by a newer OwnYourTrakt" in line


def alter(path: Path, statement: str) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute(statement)
    database.close()


def test_a_start_that_fails_does_not_look_like_a_good_end(
    platform: Platform, tmp_path: Path
) -> None:
    migrate.upgrade(f"sqlite+aiosqlite:///{tmp_path / 'bridge.db'}")
    alter(tmp_path / "bridge.db", "DROP TABLE claim")

    with started(platform, tmp_path, free_port(), BASE_URL=PUBLIC) as (process, _):
        process.communicate(timeout=PATIENCE)

        assert process.returncode not in {0, None}


class Terminal:
    """A bridge that was started by hand, as by ``make run``, and what its terminal shows."""

    def __init__(self, platform: Platform, folder: Path, **values: str) -> None:
        self.end, theirs = pty.openpty()
        self.shown = ""
        self.process = subprocess.Popen(  # noqa: S603 - our own words
            [platform.python, "-m", "app", "serve"],
            cwd=folder,
            env=platform.environment(folder, **values),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def wait_for(self, words: str) -> None:
        """Read until it shows ``words``."""
        while words not in self.shown:
            read = self.read()
            assert read, f"it ended before it showed {words!r}: {self.shown}"

    def read(self) -> str:
        """Return what is shown next, nothing when it has ended."""
        ready, _, _ = select.select([self.end], [], [], 60)
        assert ready, f"it shows nothing more: {self.shown}"
        read = ""
        # Linux reports the end of the other side as an error.
        with suppress(OSError):
            read = os.read(self.end, 4096).decode(errors="replace")
        self.shown += read
        return read

    def type(self, text: str) -> None:
        os.write(self.end, text.encode())

    def close(self) -> int:
        """Read to the end, and return the exit code."""
        while self.read():
            pass
        os.close(self.end)
        return self.process.wait(PATIENCE)


@contextmanager
def at_a_terminal(platform: Platform, folder: Path, **values: str) -> Iterator[Terminal]:
    terminal = Terminal(platform, folder, **values)
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()


def test_at_a_terminal_it_offers_to_make_a_secret_key_and_starts(
    platform: Platform, tmp_path: Path
) -> None:
    dotenv = tmp_path / ".env"
    shutil.copy(ROOT / ".env.example", dotenv)
    dotenv.chmod(0o644)
    port = free_port()

    with at_a_terminal(platform, tmp_path, PORT=str(port)) as terminal:
        terminal.wait_for("[Y/n]")
        terminal.type("\n")
        terminal.wait_for("serving")
        health = httpx2.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
        terminal.process.terminate()
        terminal.close()

    assert health.status_code == 200
    assert stat.S_IMODE(dotenv.stat().st_mode) == 0o600
    (key,) = Settings(_env_file=dotenv).secret_key  # type: ignore[call-arg] # the key is in the file
    assert len(key) >= 32
    assert key not in terminal.shown


def test_who_declines_a_secret_key_is_told_how_to_make_one(
    platform: Platform, tmp_path: Path
) -> None:
    with at_a_terminal(platform, tmp_path) as terminal:
        terminal.wait_for("[Y/n]")
        terminal.type("n\n")
        ended = terminal.close()

    assert ended == 2
    assert "SECRET_KEY is missing" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert not (tmp_path / ".env").exists()


def test_a_new_key_leaves_the_rest_of_the_file_as_it_was(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("PORT=8123", encoding="utf-8")

    serve.add_secret_key(dotenv)

    found = Settings(_env_file=dotenv)  # type: ignore[call-arg] # the key is in the file
    assert found.port == 8123
    assert len(found.secret_key) == 1


# --- Other ways to start it ---


@pytest.fixture(scope="module")
def installed(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment that holds our wheel and what it requires."""
    folder = tmp_path_factory.mktemp("installed")
    python = folder / "bin" / "python"
    pip = ("-m", "pip", "--python", str(python), "--disable-pip-version-check")
    run(("-m", "venv", "--without-pip", str(folder)))
    run(("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")))
    (wheel,) = (folder / "dist").glob("*.whl")
    run((*pip, "install", "--quiet", "--no-index", "--no-deps", str(wheel)))
    (packages,) = (folder / "lib").glob("*/site-packages")
    (theirs,) = (platform.python.parents[1] / "lib").glob("*/site-packages")
    (packages / "required.pth").write_text(f"{theirs}\n", encoding="utf-8")
    return folder / "bin"


def run(words: Sequence[str]) -> None:
    subprocess.run(  # noqa: S603 - our own words
        [sys.executable, *words], cwd=ROOT, check=True, capture_output=True
    )


def test_an_installed_wheel_migrates(installed: Path, tmp_path: Path) -> None:
    ended = subprocess.run(  # noqa: S603 - our own command
        [installed / "ownyourtrakt", "migrate"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "SECRET_KEY": KEY},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "The database is up to date.\n"
    assert (tmp_path / "data" / "ownyourtrakt.db").exists()


def test_an_installed_wheel_runs_the_demo_with_its_pages_and_pictures(
    installed: Path, tmp_path: Path
) -> None:
    demo = [str(installed / "ownyourtrakt"), "demo", "--no-browser", "--port", "0"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1"}
    with (
        subprocess.Popen(  # noqa: S603 - our own command
            demo,
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
        httpx2.Client(trust_env=False) as client,
    ):
        try:
            assert process.stdout is not None
            urls: list[str] = []
            while len(urls) < 3:
                line = process.stdout.readline()
                assert line
                urls += re.findall(r"http://[^\s]+", line)
            bridge, *others = (url.rstrip("/") for url in urls[:3])
            shown = [client.get(url, follow_redirects=True).status_code for url in others]
            pages = [client.get(f"{bridge}/{path}") for path in ("", "static/style.css", "healthz")]
        finally:
            process.kill()

    assert shown == [200, 200]
    assert [page.status_code for page in pages] == [200] * 3
    assert "Sign in with your website" in pages[0].text


def instructions() -> list[tuple[str, str]]:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    return [
        (line.split(" ", 1)[0], line.split(" ", 1)[1])
        for line in lines
        if line and not line.startswith("#")
    ]


@dataclass(frozen=True)
class Image:
    """What the Dockerfile makes, in a folder instead of ``/``; its packages are the platform's.

    Not done as it says: the user, and who owns ``/data``.
    """

    root: Path
    platform: Platform

    def inside(self, words: str) -> str:
        """Return ``words`` with the image's folders as they are called here."""
        return re.sub(r"(?<![\w.])/(?=(venv|data|app)\b)", f"{self.root}/", words)

    def environment(self, **values: str) -> dict[str, str]:
        own = [shlex.split(rest) for word, rest in instructions() if word == "ENV"]
        pairs = dict(pair.split("=", 1) for row in own for pair in row)
        path = self.inside(pairs.pop("PATH")).replace("$PATH", "/usr/bin:/bin")
        ours = self.inside(pairs.pop("PYTHONPATH"))
        url = pairs.pop("DATABASE_URL").replace("////", f"///{self.root}/")
        return {"PATH": path, "PYTHONPATH": ours, **pairs, "DATABASE_URL": url, **values}

    def build(self) -> list[str]:
        """Do what its lines say; return those of its commands that were not run."""
        left = []
        (self.root / "venv").symlink_to(self.platform.python.parents[1])
        for word, rest in instructions():
            if word == "COPY" and rest.split()[1:] and rest.startswith(("app", "migrations")):
                source, target = rest.split()
                shutil.copytree(ROOT / source, self.root / "app" / target)
            elif word == "RUN" and "compileall" in rest:
                self.run(shlex.split(rest))
            elif word == "RUN" and rest.startswith("install "):
                words = [w for w in shlex.split(self.inside(rest)) if "1000" not in w]
                self.run(words)
            elif word == "RUN":
                left.append(rest)
        return left

    def run(self, words: Sequence[str], folder: str = "app", **values: str) -> int:
        (self.root / folder).mkdir(exist_ok=True)
        return subprocess.run(  # noqa: S603 - our own Dockerfile
            words,
            cwd=self.root / folder,
            env=self.environment(**values),
            capture_output=True,
            check=False,
        ).returncode


def test_the_image_serves_and_knows_whether_it_is_well(platform: Platform, tmp_path: Path) -> None:
    image = Image(tmp_path, platform)
    port = str(free_port())

    left = image.build()

    # The platform of these tests was made by the first two, and the third changes the machine.
    assert [line.split()[0] for line in left] == ["python", "/venv/bin/pip", "useradd"]
    assert left[1].endswith("--no-deps --require-hashes -r requirements.txt")
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    said = dict(instructions())
    healthy = json.loads(said["HEALTHCHECK"].partition("CMD ")[2])
    assert image.run(healthy, PORT=port) != 0
    # A shell that a platform opens in it begins in /.
    doctor = shlex.split("python -m app doctor")
    assert image.run(doctor, "", SECRET_KEY=KEY, TRAKT_CLIENT_ID="client") == 0
    settings = image.environment(SECRET_KEY=KEY, PORT=port)
    with running(json.loads(said["CMD"]), tmp_path / "app", settings) as process:
        lines_until(process, "serving")
        # The socket listens already; the answer comes when the start is through.
        assert image.run(healthy, PORT=port) == 0
    assert (tmp_path / "data" / "ownyourtrakt.db").exists()


LITESTREAM = """#!/bin/sh
# Stands in for Litestream: its copy is a file.
case "$1" in
  restore)
    test "$2" = -if-replica-exists && test "$3" = -o || exit 9
    if [ -e "$REPLICA" ]; then cp "$REPLICA" "$4"; fi;;
  replicate) test "$2" = -exec || exit 9; exec $3;;
esac
"""


def under_litestream(platform: Platform, folder: Path) -> list[str]:
    """Start the bridge as litestream.sh does, until it serves; return what it said."""
    commands = folder / "commands"
    commands.mkdir(exist_ok=True)
    (commands / "litestream").write_text(LITESTREAM, encoding="utf-8")
    (commands / "litestream").chmod(0o755)
    settings = platform.environment(
        folder,
        SECRET_KEY=KEY,
        PORT=str(free_port()),
        REPLICA=str(folder / "replica.db"),
        TMPDIR=str(folder),
    )
    settings["PATH"] = f"{commands}:{settings['PATH']}"
    script = str(ROOT / "docs" / "deploy" / "litestream.sh")
    with running([script], folder, settings) as process:
        return lines_until(process, "serving")


def gate(path: Path) -> list[object]:
    database = sqlite3.connect(path)
    found = database.execute("SELECT gate_at FROM site").fetchall()
    database.close()
    return [row[0] for row in found]


def test_under_litestream_a_copy_from_afar_posts_nothing_before_it_has_looked(
    platform: Platform, tmp_path: Path
) -> None:
    with migrate.alone(f"sqlite:///{tmp_path / 'replica.db'}") as connection:
        migrate.go(connection, "0001")
        for statement in OLD.read_text(encoding="utf-8").split(";\n"):
            connection.execute(text(statement))

    under_litestream(platform, tmp_path)

    (shut,) = gate(tmp_path / "bridge.db")
    assert shut is not None
    assert not (tmp_path / "ownyourtrakt-copy.db").exists()


def test_under_litestream_the_first_start_and_a_disk_that_stayed_need_no_copy(
    platform: Platform, tmp_path: Path
) -> None:
    under_litestream(platform, tmp_path)
    # Now there is a copy, which nobody must take: what is here is newer.
    (tmp_path / "replica.db").write_text("not to be read", encoding="utf-8")

    under_litestream(platform, tmp_path)

    assert gate(tmp_path / "bridge.db") == []


# --- The whole job, by a Procfile runner, on PostgreSQL ---


def by_honcho(platform: Platform, name: str, *options: str) -> list[str]:
    """How a Procfile runner starts one of its lines."""
    procfile = ("-f", str(ROOT / "Procfile"), "-d", str(platform.slug), "-e", os.devnull)
    return [sys.executable, "-m", "honcho", *procfile, "start", *options, name]


@dataclass(frozen=True)
class Neighbours:
    """Trakt and a website, and what a bridge at ``bridge`` must be told of them."""

    trakt: SimulatedTrakt
    site: SimulatedSite
    settings: dict[str, str]


@asynccontextmanager
async def neighbours_of(bridge: str) -> AsyncIterator[Neighbours]:
    listeners = [listening() for _ in range(3)]
    api, auth, home = (origin(listener) for listener in listeners)
    now = partial(datetime.now, UTC)
    trakt = SimulatedTrakt(client_id="client", redirect_uri=f"{bridge}/trakt/callback", now=now)
    site = SimulatedSite(home, now=now)
    street = Street()
    for listener, app in zip(listeners, (trakt.api, trakt.auth, site.app), strict=True):
        street.apps[listener.getsockname()[1]] = app
    settings = {
        "SECRET_KEY": KEY,
        "BASE_URL": bridge,
        "TRAKT_CLIENT_ID": "client",
        "TRAKT_API_URL": api,
        "TRAKT_AUTH_URL": auth,
        "ALLOW_PRIVATE_NETWORKS": "127.0.0.0/8",
    }
    async with serving(street, listeners):
        yield Neighbours(trakt, site, settings)


@pytest.fixture
async def others(
    platform: Platform,
    tmp_path: Path,
    postgres: Any,  # noqa: ANN401 - the server of a library without types
) -> AsyncIterator[Neighbours]:
    """Neighbours whose ``settings`` are all that a bridge on PostgreSQL needs to run."""
    port = free_port()
    async with neighbours_of(f"http://localhost:{port}") as found:
        url = new_database(postgres).replace("postgresql://", "postgres://")
        settings = {**found.settings, "DATABASE_URL": url, "PORT": str(port)}
        yield replace(found, settings=platform.environment(tmp_path, **settings))


async def test_the_procfile_on_postgresql_signs_in_polls_and_posts(
    platform: Platform, others: Neighbours
) -> None:
    web = by_honcho(platform, "web", "-p", others.settings["PORT"])
    async with served(by_honcho(platform, "release"), others.settings) as says:
        await says("The database is up to date.")
    async with served(web, others.settings) as says:
        await says("serving")
        await whole_job(others, says)


async def test_the_procfile_s_worker_polls_and_posts_for_pages_that_do_neither(
    platform: Platform, others: Neighbours
) -> None:
    pages = [str(platform.python), "-m", "app", "serve", "--no-scheduler"]
    async with (
        served(by_honcho(platform, "worker"), others.settings) as says,
        served(pages, others.settings, platform.slug) as shown,
    ):
        await says("working")
        await shown("serving")
        await whole_job(others, says)


Says = Callable[[str], Awaitable[None]]


async def whole_job(others: Neighbours, says: Says) -> None:
    """Sign in, connect, watch and check; ``says`` is the process that polls and posts."""
    bridge = others.settings["BASE_URL"]
    async with httpx2.AsyncClient(trust_env=False) as client:
        browser = Browser(client)
        await browser.visit(f"{bridge}/")
        await browser.press("Sign in", me=others.site.me)
        await browser.press("Approve")
        await browser.press("Connect Trakt")
        await browser.press("Approve")
        await says("polled")
        others.trakt.watch(DUNE)
        await browser.visit(f"{bridge}/")
        await browser.press("Check now")
        await says("published")

        assert len(others.site.posts) == 1
        await browser.visit(f"{bridge}/")
        assert DUNE.title in browser.text


@asynccontextmanager
async def served(
    words: Sequence[str], settings: Mapping[str, str], folder: Path | None = None
) -> AsyncIterator[Says]:
    """Run ``words`` until the block ends; what is yielded waits for a word that it says."""
    process = await asyncio.create_subprocess_exec(
        *words, env=settings, cwd=folder, stdout=PIPE, stderr=STDOUT
    )
    lines: list[str] = []

    async def says(word: str) -> None:
        assert process.stdout is not None
        while True:
            lines.append((await process.stdout.readline()).decode())
            assert lines[-1], "".join(lines)
            if word in lines[-1]:
                return

    try:
        yield says
    finally:
        # Its own processes end with it.
        process.terminate()
        await process.communicate()
