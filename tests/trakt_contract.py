"""Trakt's own API contract, which lies beside the repository and not in it."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[2] / "shared" / "facts" / "trakt-contract" / "contract.py"


def loaded() -> ModuleType | None:
    spec = importlib.util.spec_from_file_location("contract", FILE)
    if not FILE.exists() or spec is None or spec.loader is None:
        return None
    contract = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(contract)
    return contract


CONTRACT = loaded()


def errors(
    route: str,
    status: int | None,
    body: object,
    part: str = "response",
    *,
    strict: bool = False,
) -> list[str]:
    if CONTRACT is None:
        pytest.skip(f"Trakt's contract is not at {FILE.relative_to(FILE.parents[3])}")
    check: Callable[..., list[str]] = CONTRACT.errors
    return check(route, status, body, part, strict)
