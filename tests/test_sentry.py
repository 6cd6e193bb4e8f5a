"""Faults of our own reach Sentry, and nothing of whoever met them does."""

import gzip
import json
import os
import queue
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app import sentry
from app.settings import SettingsError
from tests.test_serve import free_port
from tests.test_settings import loaded

ROOT = Path(__file__).parents[1]
PATIENCE = 60


@contextmanager
def a_sentry() -> Iterator[tuple[str, "queue.Queue[bytes]"]]:
    """Something that listens as Sentry does: its DSN, and what it was sent."""
    got: queue.Queue[bytes] = queue.Queue()

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.put(gzip.decompress(body) if self.headers["Content-Encoding"] else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = HTTPServer(("127.0.0.1", 0), Listener)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://key@127.0.0.1:{server.server_port}/1", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serving(folder: Path, **values: str) -> Iterator[str]:
    """The real program, with a folder of its own; where it answers."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "app", "serve"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PORT": str(port), **values},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while "serving" not in (line := process.stderr.readline()):
            assert line, "it ended before it served"
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def test_a_bug_is_reported_without_anything_of_the_request(tmp_path: Path) -> None:
    hush = {
        "SECRET_KEY": "HUSH-SECRET-KEY-" * 3,
        "TRAKT_CLIENT_SECRET": "HUSH-CLIENT-SECRET",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'HUSH-bridge.db'}",
    }
    with a_sentry() as (dsn, got), serving(tmp_path, SENTRY_DSN=dsn, **hush) as url:
        httpx2.get(f"{url}/healthz", trust_env=False, timeout=PATIENCE).raise_for_status()
        database = sqlite3.connect(tmp_path / "HUSH-bridge.db", timeout=PATIENCE)
        database.execute("DROP TABLE claim")
        database.close()
        answer = httpx2.request(
            "GET",
            f"{url}/?q=HUSH-QUERY",
            headers={
                "Cookie": "ownyourtrakt-session=HUSH-COOKIE",
                "Authorization": "Bearer HUSH-TOKEN",
            },
            trust_env=False,
            timeout=PATIENCE,
        )
        sent = got.get(timeout=PATIENCE)

    event = event_of(sent)
    assert answer.status_code == 500
    assert event["tags"] == {"request": answer.headers["X-Request-Id"]}
    (*_, last) = event["exception"]["values"]
    assert last["type"] == "OperationalError"
    assert "admission" in json.dumps(last["stacktrace"])
    assert b"HUSH" not in sent
    assert b"vars" not in sent
    assert event.keys() <= {*sentry.KEPT, "exception"}


def event_of(envelope: bytes) -> dict[str, Any]:
    """The event in an envelope of Sentry: a line of JSON each for envelope, item and event."""
    event: dict[str, Any] = json.loads(envelope.splitlines()[2])
    return event


def test_what_leaves_is_chosen_field_by_field() -> None:
    frame = {"filename": "app/x.py", "lineno": 7, "vars": {"token": "HUSH"}, "context_line": "HUSH"}
    event: Any = {
        "event_id": "1",
        "tags": {"job": "poll-1"},
        "exception": {
            "values": [{"type": "KeyError", "value": "HUSH", "stacktrace": {"frames": [frame]}}]
        },
        "request": {"cookies": "HUSH"},
        "user": {"ip_address": "HUSH"},
        "server_name": "HUSH",
        "breadcrumbs": ["HUSH"],
        "extra": {"argv": ["HUSH"]},
        "contexts": {"trace": {"HUSH": 1}},
    }

    assert sentry.bare(event, {}) == {
        "event_id": "1",
        "tags": {"job": "poll-1"},
        "exception": {
            "values": [
                {
                    "type": "KeyError",
                    "stacktrace": {"frames": [{"filename": "app/x.py", "lineno": 7}]},
                }
            ]
        },
    }


def test_without_a_dsn_nothing_is_loaded() -> None:
    code = "import sys; from app import main, sentry, settings; "
    code += "sentry.start(settings.load(secret_key='k' * 32)); print('sentry_sdk' in sys.modules)"
    told = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert told.stdout == "False\n"


def test_a_dsn_without_the_package_stops_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)

    with pytest.raises(SettingsError, match=r"SENTRY_DSN is set.*pip install sentry-sdk") as told:
        sentry.start(loaded(sentry_dsn="https://HUSH@sentry.example/1"))

    assert "HUSH" not in str(told.value)


def test_a_dsn_that_is_none_stops_the_start_and_is_not_repeated() -> None:
    with pytest.raises(SettingsError, match="SENTRY_DSN is not one of Sentry's") as told:
        sentry.start(loaded(sentry_dsn="HUSH"))

    assert "HUSH" not in str(told.value)
