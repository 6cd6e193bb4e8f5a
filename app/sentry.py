"""Optional: faults of our own go to Sentry, with where they were and nothing of what was said.

Sentry's own way is to send all it can find: local variables, requests, breadcrumbs, the name of
the machine. None of its collectors is switched on here, and what leaves is chosen field by field.
"""

import logging
from typing import TYPE_CHECKING, Any

from structlog.contextvars import get_contextvars

from app import __version__
from app.settings import Settings, SettingsError

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

KEPT = ("event_id", "timestamp", "level", "platform", "release", "sdk", "tags")
OF_ERROR = ("type", "module")
OF_FRAME = ("filename", "function", "module", "lineno", "in_app")


def start(settings: Settings) -> None:
    """Report each logged exception from now on, if SENTRY_DSN says where.

    Raises:
        SettingsError: it is set, and cannot be used.

    """
    if not settings.sentry_dsn:
        return
    try:
        import sentry_sdk  # noqa: PLC0415 - an extra that few have installed
        from sentry_sdk.integrations.atexit import AtexitIntegration  # noqa: PLC0415 - the same
        from sentry_sdk.utils import BadDsn  # noqa: PLC0415 - the same
    except ImportError:
        raise SettingsError(
            "SENTRY_DSN is set, but the package sentry-sdk is missing: run pip install sentry-sdk, "
            "or take SENTRY_DSN away"
        ) from None
    try:
        sentry_sdk.init(
            settings.sentry_dsn,
            release=__version__,
            before_send=bare,
            default_integrations=False,
            auto_enabling_integrations=False,
            # What is still to be sent when the process ends is waited for, without a word.
            integrations=[AtexitIntegration(callback=lambda _pending, _timeout: None)],
            auto_session_tracking=False,
            include_local_variables=False,
            include_source_context=False,
            max_breadcrumbs=0,
            max_request_body_size="never",
            send_client_reports=False,
        )
    except BadDsn:
        raise SettingsError(
            "SENTRY_DSN is not one of Sentry's: https://KEY@HOST/PROJECT (see .env.example)"
        ) from None
    logging.getLogger().addHandler(ToSentry(logging.ERROR))


class ToSentry(logging.Handler):
    """Hands the exception of a line of the log, if it has one, to Sentry."""

    def emit(self, record: logging.LogRecord) -> None:
        """Report an exception, with the request or job in which it showed."""
        import sentry_sdk  # noqa: PLC0415 - `start` has seen that it is there

        if record.exc_info and record.exc_info[1]:
            with sentry_sdk.new_scope() as scope:
                scope.set_tags({name: str(value) for name, value in get_contextvars().items()})
                scope.capture_exception(record.exc_info[1])


def bare(event: "Event", _hint: "Hint") -> "Event":
    """Return what may leave of an event: what broke and where, no message and no data."""
    found: Any = event
    told: Any = {name: found[name] for name in KEPT if name in found}
    errors = found.get("exception", {}).get("values", [])
    told["exception"] = {"values": [without_words(error) for error in errors]}
    return told  # type: ignore[no-any-return]  # a part of an event is one


def without_words(error: dict[str, Any]) -> dict[str, Any]:
    """Return an exception as its kind and the places it came through."""
    frames = (error.get("stacktrace") or {}).get("frames", [])
    return {
        **{name: error[name] for name in OF_ERROR if name in error},
        "stacktrace": {
            "frames": [
                {name: frame[name] for name in OF_FRAME if name in frame} for frame in frames
            ]
        },
    }
