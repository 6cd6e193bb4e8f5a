"""The benches measure what they say, and print it; how fast it is is no matter of tests."""

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from bench import crowd
from bench.crowd import Crowd
from bench.figures import Figure, Run, machine
from bench.history import SERIES, history_figures
from bench.memory import is_measurable, memory_figures
from bench.rounds import import_figures, round_figures
from tests.conftest import NOON

ROOT = Path(__file__).parents[1]
LATENCY = timedelta(milliseconds=1)
LINE = re.compile(r".{58} +[\d,]+ requests +\d+\.\d\d s +\d+\.\d\d CPU s  (once|median of \d+)")


async def test_the_history_bench_counts_the_requests_of_each_kind_of_change(
    tmp_path: Path,
) -> None:
    figures = await history_figures(tmp_path, plays=600, times=1)

    archive, unchanged, film, series, removed, _ = figures
    assert all(LINE.fullmatch(figure.line()) for figure in figures)
    # Three pages of 250, a few requests of the first poll, and a few to compare.
    assert 3 < archive.requests < 20
    assert unchanged.requests == 1
    for change in (film, series, removed):
        assert 1 < change.requests < SERIES / 10


async def test_the_round_bench_polls_every_account_and_posts_every_watch(tmp_path: Path) -> None:
    figures = await round_figures(tmp_path, accounts=3, latency=LATENCY, times=2)

    at_once, unchanged, news = figures
    assert all(LINE.fullmatch(figure.line()) for figure in figures)
    assert at_once.requests == unchanged.requests == 3
    # At least the stamps, a page of the history, and the post.
    assert news.requests >= 9


async def test_the_import_bench_archives_or_posts_every_play(tmp_path: Path) -> None:
    kept, posted = await import_figures(tmp_path, plays=20, latency=LATENCY)

    assert kept.requests < 20 < posted.requests
    assert LINE.fullmatch(posted.line())


@pytest.mark.skipif(not is_measurable(), reason="the memory of a process is read in /proc")
async def test_the_memory_bench_reads_what_a_server_holds(tmp_path: Path) -> None:
    idle, full = await memory_figures(tmp_path, accounts=2)

    assert 20 < idle.megabytes < 500
    assert 20 < full.megabytes < 500
    assert "MB resident" in idle.line()


def test_one_command_prints_the_machine_and_then_the_figures() -> None:
    command = [sys.executable, "-m", "bench", "rounds", "--accounts=2", "--latency=1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603 - our own words

    first, *others = ended.stdout.splitlines()
    assert "Python 3." in first
    assert len([line for line in others if LINE.fullmatch(line)]) == 3
    assert ended.stderr == ""


def test_a_post_that_is_missing_or_there_twice_is_noticed() -> None:
    town = Crowd(2, latency=0)
    crowd.everybody_watches(2, NOON, town)
    first, second = (post(play["id"]) for play in town.plays[0])
    town.posts = [[first, second], [post(play["id"]) for play in town.plays[1]]]
    assert crowd.wrongs(town) == 0

    town.posts[0] = [first, first]

    assert crowd.wrongs(town) == 2


def post(play: int) -> bytes:
    cited = f'{{"properties": {{"trakt-watch-id": ["{play}"]}}}}'
    return f'{{"properties": {{"watch-of": [{cited}]}}}}'.encode()


def test_a_figure_is_the_median_of_its_runs() -> None:
    figure = Figure("a round", [Run(1.0, 0.5, 3), Run(9.0, 0.1, 3), Run(2.0, 0.2, 4)])

    assert (figure.seconds, figure.cpu, figure.requests) == (2.0, 0.2, 3)
    assert "median of 3" in figure.line()


def test_figures_say_on_what_machine_they_were_taken() -> None:
    assert re.search(r"\d+ cores, .*Python 3\.\d+", machine())
