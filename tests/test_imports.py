"""Imports point downwards, so that a reader can start anywhere and look only below."""

import ast
from pathlib import Path

import pytest

APP = Path(__file__).parents[1] / "app"
MODULES = sorted(APP.rglob("*.py"))
# From the top to the bottom; parts on one step know nothing of each other.
LADDER = [
    {"__main__"},
    {"cli"},
    {"demo"},
    {"main"},
    {"jobs"},
    {"web", "scheduler"},
    {"tester"},
    {"poll", "publish", "look", "notify", "pulse"},
    {"posters"},
    {"opinions", "learn"},
    {"keys"},
    {"refresh", "rotate"},
    {"sources", "indieweb", "store", "migrate", "disk"},
    {"trial"},
    {"abilities"},
    {"lookup", "diff", "copies"},
    {
        "database",
        "tables",
        "http",
        "private",
        "vault",
        "logs",
        "metrics",
        "sentry",
        "hentry",
        "presets",
        "outbox",
        "notices",
        "rules",
        "grants",
        "oauth",
        "server",
        "process",
    },
    {"style"},
    {"wording"},
    {"languages"},
    {"watch", "opinion", "picture", "errors", "settings", "driver"},
    {"waits", "together"},
    {"__init__"},
]
HEIGHT = {name: -step for step, names in enumerate(LADDER) for name in names}


def part(path: Path) -> str:
    return path.relative_to(APP).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """The modules of ours that a file imports, e.g. ``app.web.views``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "app":
            found |= {f"app.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name for name in found if name.startswith("app.")}


def parts(path: Path) -> set[str]:
    named = {name.split(".")[1] for name in imported(path)}
    return {"__init__" if name == "__version__" else name for name in named}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(APP)))
def test_imports_point_downwards(path: Path) -> None:
    own = part(path)

    upwards = {name for name in parts(path) - {own} if HEIGHT[name] >= HEIGHT[own]}

    assert not upwards


def test_only_the_command_line_knows_the_demo() -> None:
    who = {part(path) for path in MODULES if "demo" in parts(path)}

    assert who == {"cli", "demo"}


def test_the_simulators_know_nothing_of_the_bridge_but_its_errors() -> None:
    simulators = [path for path in MODULES if part(path) == "demo" and path.name != "run.py"]

    assert set().union(*(parts(path) for path in simulators)) <= {"demo", "errors", "__init__"}
