"""Logging: one line an event, data as fields, as text or as JSON. Never a token or a query."""

import logging
import sys
from io import StringIO
from typing import Literal, TextIO

import structlog


def configure(form: Literal["text", "json"]) -> None:
    """Send our events, and those of the libraries, to standard error in one form."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # The default shows local variables, and among them would be tokens.
            exception_formatter=trace,
        )
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info if form == "json" else plain,
                renderer,
            ],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # The first three would write whole URLs, and an OAuth callback carries its code in the
    # query; the others tell at length that all is well.
    for name in ("httpx2", "httpcore2", "uvicorn.access", "uvicorn.error", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def plain(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Return an event for a terminal: strangers choose paths, and neighbours what they answer."""
    return {
        name: escaped(value.strip()) if isinstance(value, str) else value
        for name, value in event.items()
    }


def escaped(text: str) -> str:
    """Return a text without what a terminal would obey, or take for a new line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def trace(into: TextIO, error: structlog.typing.ExcInfo) -> None:
    """Write where an error came from, indented: what begins at the margin is an event of ours."""
    told = StringIO()
    structlog.dev.plain_traceback(told, error)
    lines = told.getvalue().strip("\n").split("\n")
    into.write("".join(f"\n    {escaped(line)}" for line in lines))
