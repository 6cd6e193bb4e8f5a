"""What a process that runs for months does for itself: its loop, and its search for garbage."""

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvicorn

T = TypeVar("T")

# The interpreter would look 14 times as often, and find little: nearly all goes by counting.
BETWEEN_SEARCHES = (10_000, 20, 20)


def settle() -> None:
    """Leave all that was imported out of every later search for garbage, and search less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*BETWEEN_SEARCHES)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` returns, done as `serve` works: on the same loop, and settled."""
    settle()
    factory = uvicorn.Config("", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)
