"""What the documents say is checked where it can be."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from app.cli import cli
from app.presets import PRESETS, Preset

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_each_test_that_a_document_names_exists(path: Path) -> None:
    named = set(re.findall(r"`(test_\w+)`", path.read_text(encoding="utf-8")))

    assert named <= TESTS


def test_every_promise_names_a_test() -> None:
    text = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "promise" not in line]

    assert len(rows) > 20
    assert all("`test_" in row for row in rows)


def test_every_attack_names_a_test_or_a_command() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    attacks = [row for row in rows if row[0] != "attack"]

    assert len(attacks) > 10
    assert all(len(row) == 4 for row in attacks)
    assert [row[0] for row in attacks if not re.search(r"`(test_|make )\w+", row[2])] == []


def test_every_requirement_of_the_standard_has_a_verdict_and_what_shows_it() -> None:
    text = (ROOT / "docs" / "asvs.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\|\s(\d.*)\|$", text, flags=re.MULTILINE)
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    files = re.findall(r"`([a-z]+/[a-z/_.]+)`", " ".join(row[3] for row in rows))

    assert len(rows) > 100
    assert all(len(row) == 4 for row in rows)
    assert {row[1] for row in rows} == {"met", "not met", "does not apply"}
    assert all(row[2] for row in rows)
    shown = {row[0] for row in rows if re.search(r"`(test_\w+|app/[\w/.]+)`", row[3])}
    assert {row[0] for row in rows if row[1] == "met"} <= shown
    assert all((ROOT / name).is_file() for name in files)


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", ROOT / "SECURITY.md", *DOCS], ids=lambda path: path.name
)
def test_each_link_inside_of_the_repository_leads_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)

    assert all((path.parent / link).exists() for link in links)


def test_each_picture_is_shown_somewhere() -> None:
    shown = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *DOCS))

    for picture in (ROOT / "docs" / "images").iterdir():
        assert f"images/{picture.name})" in shown


def test_the_page_of_commands_names_each_command_and_no_other() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([a-z]+(?:[ -][a-z]+)*)", text, flags=re.MULTILINE)

    assert sorted(named) == sorted(commands(typer.main.get_command(cli)))


def commands(command: object, name: str = "") -> Iterator[str]:
    """Yield the commands that do something, e.g. ``serve`` and ``accounts list``."""
    parts = getattr(command, "commands", None)
    if parts is None:
        yield name
    else:
        for part, inner in parts.items():
            yield from commands(inner, f"{name} {part}".strip())


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_each_preset_has_a_page_on_its_server_that_names_it_and_is_linked(preset: Preset) -> None:
    page = f"servers/{preset.name}.md"
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")

    assert f"Choose “{preset.label}”" in text
    assert f"]({page})" in (ROOT / "docs" / "wording.md").read_text(encoding="utf-8")
    assert f"](docs/{page})" in (ROOT / "README.md").read_text(encoding="utf-8")
