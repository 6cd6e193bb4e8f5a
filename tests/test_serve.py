"""``serve`` as a platform runs it: the Procfile's lines, with nothing but requirements.txt.

Each bridge here is a process of its own, with an environment that holds only what is named.
"""

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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from app import migrate
from app.cli import serve
from app.settings import Settings

ROOT = Path(__file__).parents[1]
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
    for command in (
        [sys.executable, "-m", "venv", str(folder / "venv")],
        [str(python), *install, "-r", str(ROOT / "requirements.txt")],
    ):
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own words
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
    with subprocess.Popen(  # noqa: S603 - our own Procfile
        shlex.split(procfile()["web"]),
        cwd=folder,
        env=platform.environment(folder, SECRET_KEY=KEY, PORT=str(port), **values),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process, lines_until(process, "serving")
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

    line = failed(platform, tmp_path)

    assert f"the database {path} cannot be used: file is not a database" in line
    assert path.read_text(encoding="utf-8").startswith("Dear diary")


def test_a_database_of_a_newer_version_is_told_in_one_line_and_kept(
    platform: Platform, tmp_path: Path
) -> None:
    migrate.upgrade(f"sqlite+aiosqlite:///{tmp_path / 'bridge.db'}")
    alter(tmp_path / "bridge.db", "UPDATE alembic_version SET version_num = '9999'")

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
