"""What others wrote and we run: named with a reason, pinned, and asked about."""

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_make import Clone, clone, complaint

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RUN, DEV = PROJECT["dependencies"], PROJECT["optional-dependencies"]["dev"]
POSTGRES = PROJECT["optional-dependencies"]["postgres"]
SOURCES = [
    path for part in ("app", "bench", "migrations", "tests") for path in (ROOT / part).rglob("*.py")
]

__all__ = ["clone"]


def names(requirements: Iterable[str]) -> list[str]:
    return sorted(re.split(r"[\[<>=!~ ;]", one)[0] for one in requirements)


def reasoned() -> list[str]:
    """The packages in the tables of reasons."""
    text = (ROOT / "docs" / "why.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| ([^|]+) \| ([^|]+) \|$", text.partition("## Dependencies")[2], re.MULTILINE
    )
    packages = [(name, why) for cell, why in rows for name in cell.split(", ")]
    assert all(why.strip() for _, why in packages)
    return sorted(name for name, _ in packages if name not in {"package", "---"})


def test_every_dependency_has_its_line_of_reason_and_every_reason_its_dependency() -> None:
    assert reasoned() == names([*RUN, *DEV])


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_every_package_is_pinned_with_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    pinned = re.findall(
        r"^([a-z0-9_.-]+)==\S+(?: ; [^\\]+)? \\\n    --hash=sha256:", text, re.MULTILINE
    )
    lines = [line for line in text.splitlines() if line and line[0] not in " #"]

    assert len(pinned) == len(lines)
    assert set(names(RUN)) <= set(pinned)
    assert "://" not in text


def is_for_here(one: Requirement, extras: Iterable[str]) -> bool:
    return one.marker is None or any(
        one.marker.evaluate({"extra": extra}) for extra in ("", *extras)
    )


def installed_for(requirements: Iterable[str]) -> set[str]:
    """All packages that pip would install here for these."""
    found: set[tuple[str, frozenset[str]]] = set()
    left = [Requirement(one) for one in requirements]
    while left:
        one = left.pop()
        key = (canonicalize_name(one.name), frozenset(one.extras))
        if key not in found:
            found.add(key)
            needed = map(Requirement, requires(one.name) or ())
            left += [other for other in needed if is_for_here(other, one.extras)]
    return {name for name, _ in found}


def test_the_lock_by_which_all_is_tried_holds_what_the_wheel_asks_for_and_no_more() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    lines = re.findall(r"^[a-z0-9].*==.*(?= \\$)", text, re.MULTILINE)
    locked = {one.name for one in map(Requirement, lines) if is_for_here(one, ())}

    assert locked == installed_for([*RUN, *POSTGRES])


def test_every_exception_to_a_rule_carries_its_reason() -> None:
    bare = [
        f"{path.name}: {line.strip()}"
        for path in SOURCES
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"# noqa(?!: [A-Z0-9, ]+ +- \S)", line) and path.name != "test_supply.py"
    ]

    assert bare == []


def test_an_audit_that_could_not_ask_is_no_good_audit(clone: Clone) -> None:
    # So it ends where the service is not there.
    clone.has("uvx", "#!/bin/sh\nexit 1\n")

    assert "was not audited" in complaint(clone.make("audit"))


def test_an_audit_asks_about_every_package_of_both_locks(clone: Clone) -> None:
    clone.has("uvx", '#!/bin/sh\necho "$@"\n')

    said = clone.make("audit").stdout

    # Without it, packages that the service does not know count as good.
    assert "--strict" in said
    assert "requirements-dev.txt" in said
