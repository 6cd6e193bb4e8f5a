"""``make`` on machines that lack something, and what the files of the ground name."""

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.cli import cli

ROOT = Path(__file__).parents[1]
MAKE = shutil.which("make") or "make"
# Answers as Python 3.10 would to the questions that the Makefile asks.
OLD = '#!/bin/sh\ncase "$2" in *version_info*) exit 1;; esac\nexit 0\n'
# Debian's python3 without python3-venv: new enough, but it cannot import ensurepip.
WITHOUT_VENV = """#!/bin/sh
case "$2" in
  *ensurepip*) echo "ModuleNotFoundError: No module named 'ensurepip'" >&2; exit 1;;
esac
exit 0
"""


@dataclass(frozen=True)
class Clone:
    """A fresh clone, as far as make is concerned, on a machine with commands of our choice."""

    folder: Path
    commands: Path

    def has(self, name: str, script: str) -> None:
        path = self.commands / name
        path.write_text(script, encoding="utf-8")
        path.chmod(0o755)

    def make(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(  # noqa: S603 - our own Makefile
            [MAKE, *words],
            cwd=self.folder,
            env={"PATH": str(self.commands)},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    folder, commands = tmp_path / "clone", tmp_path / "commands"
    for made in (folder, commands):
        made.mkdir()
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, folder)
    return Clone(folder, commands)


def complaint(ended: "subprocess.CompletedProcess[str]") -> str:
    """The one line it ended with; make itself adds that the target failed."""
    assert ended.returncode != 0
    assert ended.stdout == ""
    (line,) = [line for line in ended.stderr.splitlines() if not line.startswith("make: ***")]
    return line


@pytest.mark.parametrize("target", ["demo", "run", "test", "check"])
def test_an_old_python_is_told_in_one_line(clone: Clone, target: str) -> None:
    clone.has("python3", OLD)

    line = complaint(clone.make(target))

    assert "needs Python 3.11 or newer" in line
    assert line.endswith(f"make PYTHON=python3.12 {target}")
    assert not (clone.folder / ".venv").exists()


def test_a_machine_without_python_is_told_in_one_line(clone: Clone) -> None:
    assert "needs Python 3.11 or newer" in complaint(clone.make("demo"))


def test_a_python_without_venv_is_told_in_one_line(clone: Clone) -> None:
    clone.has("python3", WITHOUT_VENV)

    line = complaint(clone.make("demo"))

    assert "apt install python3-venv" in line
    assert not (clone.folder / ".venv").exists()


def test_another_python_can_be_named(clone: Clone) -> None:
    clone.has("python3", OLD)
    clone.has("python3.12", WITHOUT_VENV)

    line = complaint(clone.make("demo", "PYTHON=python3.12"))

    # It got as far as this one lets it.
    assert "python3-venv" in line


def test_every_process_of_the_procfile_is_a_command_that_exists() -> None:
    known = {command.name or "" for command in cli.registered_commands}
    known |= {command.callback.__name__ for command in cli.registered_commands if command.callback}

    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()

    assert "web" in {line.partition(":")[0] for line in lines}
    for line in lines:
        python, dash_m, package, command, *rest = shlex.split(line.partition(":")[2])
        assert (python, dash_m, package, rest) == ("python", "-m", "app", [])
        assert command in known


def test_every_target_of_make_that_ci_uses_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    used = re.findall(r"^make (\w+)$", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE)

    assert used == ["check", "test"]
    for target in used:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
