"""A binary of the other program is driven as that program is; here a stand-in is, and says so."""

import sys
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.__main__ import cli
from bench.binary import NotRun, program, their_figures
from bench.server import is_measurable
from bench.targets import PUBLISHED
from tests.test_bench import ROOT

LATENCY = timedelta(milliseconds=1)
in_linux = pytest.mark.skipif(not is_measurable(), reason="what a process needs is read in /proc")


def made(path: Path, source: str) -> Path:
    """A program that this Python runs."""
    path.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
    path.chmod(0o755)
    return path


@in_linux
async def test_people_are_signed_up_polled_and_posted_for_through_the_gateway(
    tmp_path: Path,
) -> None:
    source = (ROOT / "tests" / "stand_in.py").read_text(encoding="utf-8")
    binary = made(tmp_path / "program", source)

    figures = await their_figures(binary, tmp_path, accounts=2, latency=LATENCY)

    assert len(figures) == 5
    assert all(number > 0 for number in figures.values())
    usual = {
        name.replace("2 accounts", "1,000 accounts").replace("1 ms", "100 ms") for name in figures
    }
    assert usual <= {*PUBLISHED}


async def test_a_program_that_ends_at_once_is_quoted_with_its_last_word(tmp_path: Path) -> None:
    binary = made(tmp_path / "program", "raise SystemExit('panic: no disk')")

    with pytest.raises(NotRun, match="does not answer; its last word: panic: no disk"):
        await their_figures(binary, tmp_path, accounts=1, latency=LATENCY)


async def test_a_program_that_acts_otherwise_is_not_measured(tmp_path: Path) -> None:
    binary = made(
        tmp_path / "program",
        "import http.server\n"
        "port = int(open('config.yaml').readline().split()[1])\n"
        "answer = http.server.SimpleHTTPRequestHandler\n"
        "http.server.HTTPServer(('127.0.0.1', port), answer).serve_forever()\n",
    )

    with pytest.raises(NotRun, match="does not act like hacdias/ownyourtrakt: /login"):
        await their_figures(binary, tmp_path, accounts=1, latency=LATENCY)


async def test_what_no_system_can_run_is_told_in_a_sentence(tmp_path: Path) -> None:
    binary = tmp_path / "program"
    binary.write_bytes(b"\x7fNOT")
    binary.chmod(0o755)

    with pytest.raises(NotRun, match="program cannot be run: Exec format error"):
        await their_figures(binary, tmp_path, accounts=1, latency=LATENCY)


def test_a_file_that_is_no_program_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("hello", encoding="utf-8")

    for path in (text, tmp_path, tmp_path / "nothing"):
        with pytest.raises(NotRun, match="is no program that can be run"):
            program(path)
    text.chmod(0o755)
    assert program(text) == text


def test_a_missing_binary_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    ended = CliRunner().invoke(cli, ["rounds", f"--peer={tmp_path / 'nothing'}"])

    assert ended.exit_code == 2
    assert "--peer" in ended.output
    assert "is no program that can be run" in ended.output
    assert "| round" not in ended.output
