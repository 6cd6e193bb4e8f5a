"""The benches measure what they say, and print it; how fast it is is no matter of tests."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bench import crowd, targets
from bench.crowd import Crowd
from bench.figures import Figure, Run, machine, of_runs, of_spans, table, told
from bench.history import SERIES, history_figures
from bench.load import Answer, Load, load_figures
from bench.pages import page_figures
from bench.process import idle_figures, memory_figures, start_figures
from bench.rounds import import_figures, round_figures
from bench.schedule import schedule_figures
from bench.server import is_measurable
from bench.targets import PUBLISHED, TARGETS
from bench.workers import WAYS, figures_of, place
from tests.conftest import NOON
from tests.postgres import migrated_database

ROOT = Path(__file__).parents[1]
LATENCY = timedelta(milliseconds=1)
in_linux = pytest.mark.skipif(not is_measurable(), reason="what a process needs is read in /proc")


def at_usual_size(figures: Sequence[Figure], *sizes: tuple[str, str]) -> set[str]:
    """What figures are called, had they been measured at the usual sizes."""
    names = {figure.what for figure in figures}
    for small, usual in sizes:
        names = {re.sub(rf"\b{small}\b", usual, name) for name in names}
    return names


def named(word: str) -> set[str]:
    """What is asked for, or known of the other program, and has this word in its name."""
    return {name for name in ({t.what for t in TARGETS} | {*PUBLISHED}) if word in name}


async def test_the_history_bench_counts_the_requests_of_each_kind_of_change(
    tmp_path: Path,
) -> None:
    figures = await history_figures(tmp_path, plays=600, times=1)

    archive, unchanged, *changes, _ = [figure.requests or 0 for figure in figures]
    # Three pages of 250, a few requests of the first poll, and a few to compare.
    assert 3 < archive < 20
    assert unchanged == 1
    assert len(changes) == 3
    for change in changes:
        assert 1 < change < SERIES / 10


async def test_the_round_bench_polls_every_account_and_posts_every_watch(tmp_path: Path) -> None:
    figures = await round_figures(tmp_path, accounts=3, latency=LATENCY, times=2)

    at_once, per_poll, unchanged, news = figures
    assert at_once.requests == unchanged.requests == 3
    assert per_poll.number == pytest.approx((at_once.cpu or 0) * 1000 / 3)
    # At least the stamps, a page of the history, and the post.
    assert (news.requests or 0) >= 9
    assert named("round, ") | named("CPU of a poll") <= at_usual_size(
        figures, ("3", "1,000"), ("1 ms", "100 ms")
    )


async def test_the_import_bench_archives_or_posts_every_play(tmp_path: Path) -> None:
    kept, posted = await import_figures(tmp_path, plays=20, latency=LATENCY)

    assert (kept.requests or 0) < 20 < (posted.requests or 0)
    assert named("onto one site") <= at_usual_size([posted], ("20", "1,000"), ("1 ms", "100 ms"))


@in_linux
async def test_what_a_server_needs_is_measured_of_a_server(tmp_path: Path) -> None:
    for part in ("start", "idle", "round"):
        (tmp_path / part).mkdir()
    figures = [
        *await start_figures(tmp_path / "start", times=1),
        *await idle_figures(tmp_path / "idle", seconds=0.2, settled=0),
        *await memory_figures(tmp_path / "round", accounts=2),
    ]

    first, again, idle, busy, full = figures
    assert (first.cpu or 0) > 0
    assert (again.cpu or 0) > 0
    assert 20 < idle.number < 500
    assert 0 <= busy.number <= 800
    assert 20 < full.number < 500
    assert {idle.unit, full.unit} == {"MB"}
    assert named("start") | named("idle") | named("memory") <= at_usual_size(
        figures, ("2", "1,000")
    )


async def test_the_schedule_bench_sees_everybody_polled_and_nobody_too_early(
    tmp_path: Path,
) -> None:
    figures = await schedule_figures(tmp_path, 4, LATENCY, interval=timedelta(seconds=1))

    latest, half, _ = figures
    assert 0 <= half.number <= latest.number
    assert latest.how == "4 polls"
    assert named("on schedule") <= at_usual_size(
        figures, ("4", "10,000"), ("1 s", "180 s"), ("1 ms", "100 ms")
    )


async def test_the_page_bench_is_shown_the_pages_of_somebody_with_that_many(
    tmp_path: Path,
) -> None:
    figures = await page_figures(tmp_path, watches=120, times=2)

    assert len(figures) == 6
    assert all(figure.number > 0 for figure in figures)
    assert named("watches") <= at_usual_size(figures, ("120", "50,000"))


async def test_the_load_bench_counts_what_strangers_are_answered(tmp_path: Path) -> None:
    figures = await load_figures(tmp_path, 3, LATENCY, Load(clients=4, seconds=2, pause=0.1))

    by_name = {figure.what: figure for figure in figures}
    errors = by_name["4 clients for 2 s beside a round over 3 accounts: errors"]
    others = by_name["… beside one who asks without end: errors of the others"]
    assert errors.number == others.number == 0
    # Each looked at all there is, at least once.
    assert int(errors.how.partition(" ")[0]) >= 4 * 6
    assert by_name["4 clients for 2 s beside a round over 3 accounts: polls meanwhile"].number > 0
    assert named("clients") <= at_usual_size(figures, ("4", "200"), ("2 s", "30 s"), ("3", "1,000"))


@in_linux
async def test_the_workers_bench_polls_everybody_in_both_ways_and_compares_them(
    tmp_path: Path,
    postgres: Any,  # noqa: ANN401 - the server of a library without types
) -> None:
    with migrated_database(postgres) as url:
        async with place(url, tmp_path, 3) as there:
            figures = await figures_of(there, 1, 3, LATENCY, timedelta(seconds=0.2), [*WAYS])

    at_once, later = figures[:3], figures[3:]
    for rows, jobs, ratio in (at_once, later):
        assert rows.requests == jobs.requests == 3
        assert ratio.number == pytest.approx(jobs.number / rows.number)


@pytest.mark.parametrize(
    ("status", "is_error"), [(0, True), (500, True), (429, True), (200, False), (400, False)]
)
def test_of_who_asks_now_and_then_everything_but_a_served_request_is_an_error(
    status: int, *, is_error: bool
) -> None:
    assert Answer("/", status, 0.1).is_error is is_error


def test_one_command_prints_all_and_writes_it_down(tmp_path: Path) -> None:
    written = tmp_path / "bench.json"
    command = [sys.executable, "-m", "bench", "rounds", "--accounts=2", "--latency=1"]
    ended = subprocess.run(  # noqa: S603 - our own words
        [*command, f"--to={written}"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    first, *lines = ended.stdout.splitlines()
    assert "Python 3." in first
    assert ended.stderr == ""
    names = [figure["what"] for figure in json.loads(written.read_text("utf-8"))["figures"]]
    assert len(names) == 4
    for name in names:
        assert any(line.startswith(f"| {name} ") for line in lines)
    assert any("CPU of a poll" in line and "| < 3 ms" in line for line in lines)
    assert "not run here" in ended.stdout


def test_a_target_is_met_below_it_and_says_so_when_it_was_not_measured() -> None:
    start, memory, *others = targets.judged(
        [Figure("start to the first answer", 2.0, "s"), Figure("memory, idle", 99.9, "MB")]
    )

    assert start == ("start to the first answer", "2.00 s", "< 2 s", "NO")
    assert memory == ("memory, idle", "99.9 MB", "< 100 MB", "yes")
    assert {row[1:] for row in others} == {
        ("not measured", f"< {target.below:g} {target.unit}".strip(), "") for target in TARGETS[2:]
    }


def test_the_other_program_is_compared_where_it_has_a_figure_only() -> None:
    figures = [Figure(targets.ROUND, 10.1, "s"), Figure("dashboard", 3, "ms")]

    assert targets.compared(figures, PUBLISHED) == [(targets.ROUND, "101.0 s", "10.1 s", "0.10")]


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
    figure = of_runs("a round", [Run(1.0, 0.5, 3), Run(9.0, 0.1, 3), Run(2.0, 0.2, 4)])

    assert figure.row() == ("a round", "2.00 s", "0.20 s", "3", "median of 3")


def test_a_percentile_is_a_value_that_was_measured() -> None:
    half, most = of_spans("a page", [n / 1000 for n in range(1, 21)], 50, 95)

    assert (half.what, half.number, half.how) == ("a page, p50", 10, "20")
    assert (most.number, most.unit) == (19, "ms")


@pytest.mark.parametrize(
    ("number", "unit", "words"),
    [(0, "", "0"), (6000, "", "6,000"), (0.051, "s", "0.05 s"), (22.2, "s", "22.2 s")],
)
def test_what_is_counted_has_no_places_and_what_is_measured_those_that_say_something(
    number: float, unit: str, words: str
) -> None:
    assert told(number, unit) == words


def test_a_table_can_be_pasted_into_a_document() -> None:
    assert table(("what", "s"), [("a round", "1")]) == (
        "| what    | s |\n| ------- | - |\n| a round | 1 |"
    )


def test_figures_say_on_what_machine_they_were_taken_and_when() -> None:
    assert {"cores", "Python", "date", "load before", "OwnYourTrakt"} <= {*machine()}
