"""What the program that people use today gets wrong, ours gets right; ``make peer`` prints both."""

import ast
from pathlib import Path

import pytest

from app.store import accounts
from bench.faults import Ours, Row, rows
from bench.peer import SAFEGUARDS, Safeguard, faults_shown
from tests.world import World

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("row", rows(posts=40, plays=40), ids=lambda row: row.requirement)
async def test_ours_keeps_to_it(row: Row, tmp_path: Path) -> None:
    ours = await row.ours(tmp_path)

    assert ours.holds, f"{row.fault}: {ours.said}"


@pytest.mark.parametrize("safeguard", SAFEGUARDS, ids=lambda safeguard: safeguard.theirs)
def test_every_safeguard_is_shown_by_a_test_that_exists(safeguard: Safeguard) -> None:
    for shown in safeguard.shown_by:
        path, _, name = shown.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        assert name in {node.name for node in tree.body if isinstance(node, kinds)}


async def test_one_fault_at_which_ours_fails_is_enough_to_fail(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def right(_: Path) -> Ours:
        return Ours("5 of 5 posted", holds=True)

    async def wrong(_: Path) -> Ours:
        return Ours("4 of 5 posted", holds=False)

    good, bad = (Row("a storm", "sinks", "ours floats", ours) for ours in (right, wrong))

    assert await faults_shown([good])
    assert "FAILED" not in capsys.readouterr().out
    assert not await faults_shown([bad, good])
    assert "FAILED: 4 of 5 posted" in capsys.readouterr().out


async def test_no_token_can_be_read_in_the_database_file(world: World, tmp_path: Path) -> None:
    await world.ready()
    trakt = [
        text for pair in world.trakt.tokens.pairs.values() for text in (pair.access, pair.refresh)
    ]
    async with world.bridge.database.reading() as session:
        found = await accounts.account(session, 1)
    assert found is not None
    site = world.bridge.vault.open(found[1].sealed_tokens)
    assert site is not None

    kept = stored(tmp_path)
    assert world.me.encode() in kept
    for token in [*trakt, site["access"]]:
        assert token
        assert token.encode() not in kept


def stored(folder: Path) -> bytes:
    """The database with what SQLite has not yet written into the file itself."""
    return b"".join(path.read_bytes() for path in folder.glob("bridge.db*"))
