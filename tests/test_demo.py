"""The demo as a newcomer starts, tries and ends it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

ROOT = Path(__file__).parents[1]
SITE = re.compile(r"The simulated website\s+(\S+)")


@contextmanager
def demo(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running demo that keeps its files in ``folder``, and its simulated website."""
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "demo", "--no-browser", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        (site,) = next(found.groups() for line in process.stdout if (found := SITE.search(line)))
        yield process, site
    finally:
        process.kill()
        process.wait()


def answers(site: str) -> None:
    """Return when the website is there."""
    with httpx2.Client(transport=httpx2.HTTPTransport(retries=8), trust_env=False) as browser:
        assert browser.get(site).status_code == 200


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_of_the_demo_stays_behind(tmp_path: Path, ending: signal.Signals) -> None:
    with demo(tmp_path) as (process, site):
        answers(site)
        assert [*tmp_path.iterdir()] != []

        process.send_signal(ending)
        process.communicate(timeout=30)

    assert [*tmp_path.iterdir()] == []


def test_an_answer_that_is_lost_on_purpose_prints_no_stack_trace(tmp_path: Path) -> None:
    with demo(tmp_path) as (process, site):
        answers(site)
        with httpx2.Client(trust_env=False) as browser:
            page = browser.get(site).text
            mishap = re.search(r'name="mishap" value="([^"]+)"', page)
            assert mishap is not None
            browser.post(f"{site}mishap", data={"mishap": mishap[1]})
            with pytest.raises(httpx2.RemoteProtocolError):
                browser.post(f"{site}micropub")

        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)

    assert "Traceback" not in said
