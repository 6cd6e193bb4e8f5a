"""What is asked of the bridge, and what is known of the program that people use today.

Both are by the names that figures have at the usual sizes: at other sizes there are none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

from bench import theirs
from bench.figures import Figure, told
from bench.process import IDLE, after_a_round
from bench.rounds import POLL, idle_round, round_with_news

HEADS = ("target", "measured", "asked for", "met")
BESIDE = ("what", theirs.NAME, "ours", "ours / theirs")


@dataclass(frozen=True, slots=True)
class Target:
    """A figure, and what it is to stay below."""

    what: str
    below: float
    unit: str


LATENCY = timedelta(milliseconds=100)
ROUND, ROUND_WITH_NEWS = idle_round(1000, LATENCY), round_with_news(1000, LATENCY)
TARGETS = (
    Target("start to the first answer", 2, "s"),
    Target(IDLE, 100, "MB"),
    Target("CPU, idle, of one core", 0.5, "%"),
    Target(POLL, 3, "ms"),
    Target(ROUND, 4, "s"),
    Target(ROUND_WITH_NEWS, 8, "s"),
    # A tenth of the interval, by which the schedule itself moves each turn at random.
    Target("10,000 accounts, each every 180 s, 100 ms: the latest poll was late by", 18, "s"),
    Target("dashboard, 50,000 watches, p95", 50, "ms"),
    Target("/watches, 50,000 watches, leafing, p95", 50, "ms"),
    Target("200 clients for 30 s beside a round over 1,000 accounts: errors", 1, ""),
)
# As measured earlier on another machine, see `bench.theirs`.
PUBLISHED: Mapping[str, float] = MappingProxyType(
    {
        IDLE: theirs.MEMORY_IDLE,
        after_a_round(1000): theirs.MEMORY_CROWDED,
        POLL: theirs.CPU_OF_POLL,
        ROUND: theirs.ROUND_IDLE,
        ROUND_WITH_NEWS: theirs.ROUND_NEWS,
        "1,000 plays onto one site, 100 ms + 100 ms": theirs.IMPORT,
    }
)


def judged(figures: Sequence[Figure]) -> list[tuple[str, str, str, str]]:
    """Return each target with what was measured, and whether it is met; see `HEADS`."""
    by_name = {figure.what: figure for figure in figures}
    rows = []
    for target in TARGETS:
        figure = by_name.get(target.what)
        met = "yes" if figure and figure.number < target.below else "NO" if figure else ""
        said = figure.measured if figure else "not measured"
        rows.append((target.what, said, f"< {target.below:g} {target.unit}".strip(), met))
    return rows


def compared(
    figures: Sequence[Figure], other: Mapping[str, float]
) -> list[tuple[str, str, str, str]]:
    """Return each figure that both programs have: what, the other's, ours, and ours by theirs."""
    return [
        (
            figure.what,
            told(other[figure.what], figure.unit),
            figure.measured,
            told(figure.number / other[figure.what], "").strip(),
        )
        for figure in figures
        if figure.what in other
    ]
