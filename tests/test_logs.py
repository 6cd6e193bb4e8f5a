"""The log: one line an event, each with the request or the job that it belongs to."""

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import redirect_stderr
from typing import Literal

import httpx2
import pytest
import structlog
from sqlalchemy import text
from structlog.contextvars import clear_contextvars, merge_contextvars
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app import logs
from app.demo.catalogue import DUNE
from tests.world import BRIDGE, World

ID = re.compile(r"[0-9a-f]{12}")


@pytest.fixture
def events() -> Iterator[list[EventDict]]:
    with capture_logs(processors=[merge_contextvars]) as captured:
        yield captured


def test_a_bug_is_one_line_of_json_with_its_trace(json_log: io.StringIO) -> None:
    try:
        int("odd")
    except ValueError:
        structlog.get_logger().exception("work failed", connection=7)
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")

    ours, theirs = (json.loads(line) for line in json_log.getvalue().splitlines())
    assert (ours["event"], ours["level"], ours["connection"]) == ("work failed", "error", 7)
    assert "\nValueError: invalid literal" in ours["exception"]
    assert "test_logs.py" in theirs["exception"]
    assert theirs["level"] == "error"


@pytest.mark.parametrize(
    "text", ["\x1b[2J", "\r", "\n", "\x0b", "\x85", "\u2028", "\u202e", "\x9b"]
)
def test_nothing_that_a_stranger_says_moves_the_terminal_or_makes_a_line_of_its_own(
    text_log: io.StringIO, text: str
) -> None:
    forged = f"/{text}2026-11-20T12:00:00Z [info     ] signed in account=1"
    structlog.get_logger().info("refused", path=forged)
    logging.getLogger("uvicorn.error").warning("odd %s", forged)
    try:
        fails(forged)
    except ValueError:
        structlog.get_logger().exception("work failed")

    told = text_log.getvalue()
    ours = [line for line in told.split("\n") if line and not line.startswith("    ")]
    assert [line.split("]")[1].split()[0] for line in ours] == ["refused", "odd", "work"]
    assert text.strip("\n") == "" or text not in told
    assert "\n        raise ValueError(said)" in told


def fails(said: str) -> None:
    raise ValueError(said)


def test_the_servers_own_lines_name_the_request_too(json_log: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(request="0123456789ab"):
        logging.getLogger("uvicorn.error").error("broken")

    assert json.loads(json_log.getvalue())["request"] == "0123456789ab"


@pytest.fixture
def json_log() -> Iterator[io.StringIO]:
    yield from logged("json")


@pytest.fixture
def text_log() -> Iterator[io.StringIO]:
    yield from logged("text")


def logged(form: Literal["text", "json"]) -> Iterator[io.StringIO]:
    """What the program writes with this LOG_FORMAT; afterwards logging is as it was before."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    clear_contextvars()
    with redirect_stderr(written):
        logs.configure(form)
    yield written
    structlog.configure(**before)
    root.handlers, root.level = handlers, level


async def test_each_request_has_an_id_of_its_own_that_its_answer_and_its_lines_carry(
    world: World, events: list[EventDict]
) -> None:
    first = await world.browser.client.get(f"{BRIDGE}/callback")
    second = await world.browser.client.get(f"{BRIDGE}/callback")

    ids = [answer.headers["X-Request-Id"] for answer in (first, second)]
    assert all(ID.fullmatch(one) for one in ids)
    assert ids[0] != ids[1]
    assert [line["request"] for line in events if line["event"] == "refused"] == ids


async def test_an_id_from_outside_is_not_taken(world: World) -> None:
    answer = await world.browser.client.get(BRIDGE, headers={"X-Request-Id": "0123456789ab"})

    assert answer.headers["X-Request-Id"] != "0123456789ab"


async def test_a_page_that_breaks_says_by_which_id_it_is_in_the_log(
    world: World, events: list[EventDict]
) -> None:
    # Half a database is a bug from the point of view of a page.
    async with world.bridge.database.writing() as session:
        await session.execute(text("DROP TABLE claim"))
    here = httpx2.ASGITransport(app=world.app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=here, trust_env=False) as client:
        answer = await client.get(BRIDGE)

    assert answer.status_code == 500
    assert ID.fullmatch(answer.headers["X-Request-Id"])
    assert f"request={answer.headers['X-Request-Id']}" in answer.text
    (bug,) = world.bridge.metrics.bugs
    assert bug.job == "page"


async def test_each_line_of_a_job_names_it(world: World, events: list[EventDict]) -> None:
    await world.ready()
    world.clock.passes(minutes=5)
    world.trakt.watch(DUNE)
    await world.check_now()

    jobs = {line["event"]: line["job"].partition("-")[0] for line in events if "job" in line}
    assert jobs["polled"] == "poll"
    assert jobs["looked"] == "look"
    assert jobs["sent"] == "post"
    assert not [line for line in events if "job" not in line and "request" not in line]


async def test_two_jobs_of_one_kind_have_different_names(
    world: World, events: list[EventDict]
) -> None:
    await world.ready()
    await world.check_now()

    names = [line["job"] for line in events if line["event"] == "polled"]
    assert len(names) >= 2
    assert len(set(names)) == len(names)


async def test_a_request_that_goes_well_writes_no_line(
    world: World, events: list[EventDict]
) -> None:
    for path in ("/", "/healthz", "/static/style.css"):
        assert (await world.browser.client.get(BRIDGE + path)).status_code == 200

    assert events == []
