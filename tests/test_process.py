"""What a process that runs for long does for itself."""

import asyncio
import gc
from collections.abc import Iterator

import pytest
import uvloop

from app import process


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_a_search_for_garbage_leaves_out_what_was_there_before() -> None:
    gc.unfreeze()
    process.settle()
    assert gc.get_freeze_count() > len(gc.get_objects())


async def loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_work_without_pages_runs_on_the_loop_that_serve_runs_on() -> None:
    assert isinstance(process.run(loop()), uvloop.Loop)
