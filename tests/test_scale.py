"""What docs/scale.md counts: what one connection asks of Trakt, and the sums that follow."""

import re
from pathlib import Path

import pytest

from app.demo.catalogue import DUNE, SECRETS
from app.store import accounts
from app.style import Style, to_json
from tests.polling import poll, settled
from tests.world import World

WRITTEN = (Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")
PAGE = WRITTEN.replace("\N{MULTIPLICATION SIGN}", "x")
NUMBER = r"\$?\d[\d,.]*\d|\d"
SUM = re.compile(
    rf"((?:\(?(?:{NUMBER})\)?(?: s)? [x÷+] )+\(?(?:{NUMBER})\)?(?: s)?) ([=≈]) ({NUMBER})"
)
EVERYTHING_TOLD = Style(tells_rating=True, tells_note=True)


async def more(world: World, **later: float) -> int:
    """How many requests the next look takes, beside the one that finds nothing new."""
    return len(await poll(world, **later)) - 1


async def test_a_connection_asks_of_trakt_what_the_page_says(world: World) -> None:
    await settled(world)

    assert await more(world) == 0
    for work in (DUNE, SECRETS):
        world.trakt.watch(work)
        assert await more(world) == 2
        assert await more(world) == 0
    assert await more(world, days=1) == 4

    async with world.bridge.database.writing() as session:
        await accounts.set_style(session, 1, to_json(EVERYTHING_TOLD))
    await more(world)
    world.trakt.opinions.rate(DUNE, 8)
    assert await more(world) == 1
    assert await more(world, days=1) == 4 + 4

    assert "48 + 4 + 6 x 2 ÷ 7 ≈" in PAGE
    assert "+ 4 + 6 x 1 ÷ 7 ≈" in PAGE


@pytest.mark.parametrize("found", [*SUM.finditer(PAGE)], ids=lambda found: found[0])
def test_each_sum_on_the_page_comes_out(found: re.Match[str]) -> None:
    exactly, told = found[2] == "=", number(found[3])
    worked_out = value(found[1])

    assert round(worked_out) == told if exactly else abs(worked_out - told) <= 0.02 * told


def test_the_page_has_sums() -> None:
    assert len(SUM.findall(PAGE)) > 12


def value(text: str) -> float:
    """What a sum comes to, by the usual order: parentheses, products, then sums."""
    text = text.replace(" s", "")
    while inner := re.search(r"\(([^()]*)\)", text):
        text = text.replace(inner[0], str(value(inner[1])))
    return sum(product(part) for part in text.split(" + "))


def product(text: str) -> float:
    first, *rest = re.split(r" ([x÷]) ", text)
    result = number(first)
    for sign, factor in zip(rest[::2], rest[1::2], strict=True):
        result = result * number(factor) if sign == "x" else result / number(factor)
    return result


def number(text: str) -> float:
    return float(text.replace(",", "").replace("$", ""))
