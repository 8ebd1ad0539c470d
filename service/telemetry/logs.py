"""Structured logs on standard error: one bounded line per event, with the request id; no image, prompt or API key."""

from __future__ import annotations

import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import BoundedSemaphore
from typing import Any, Final

import structlog
from structlog.typing import Processor

from automask.errors import AutomaskError

from .redaction import bounded, describe_traceback, format_tracebacks, safe_tracebacks
from .repeats import LimitRepeats

__all__ = ["configure_logs", "log_bug"]

_MAX_PENDING: Final = 100  # bugs whose tracebacks wait to be written

_log = structlog.get_logger(__name__)
_thread: Final = ThreadPoolExecutor(1, thread_name_prefix="automask-log")
_pending: Final = BoundedSemaphore(_MAX_PENDING)


def configure_logs(*, as_json: bool, level: str) -> None:
    """Configure structlog, and the standard library's loggers to the same format.

    Parameters
    ----------
    as_json
        One JSON object per line, instead of text.
    level
        ``debug``, ``info``, ``warning`` or ``error``.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Tracebacks are plain before the renderer sees them: structlog's own have local variables, or are made by `rich`.
    renderers: list[Processor] = (
        [safe_tracebacks, bounded, structlog.processors.JSONRenderer()]
        if as_json
        else [
            safe_tracebacks,
            format_tracebacks,
            bounded,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
            foreign_pre_chain=shared,
        )
    )
    handler.addFilter(LimitRepeats())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.getLogger("PIL").setLevel(
        logging.INFO
    )  # at DEBUG it logs the metadata of a photo: its location, its thumbnail
    logging.getLogger("grpc").setLevel(logging.ERROR)  # at WARNING it logs every cancelled call with a traceback
    # Write directly to the stream: through the standard library, logging took a seventh of the event loop under load.
    structlog.configure(
        processors=[*shared, *renderers],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )


def log_bug(error: Exception) -> None:
    """Log an error that is not an `AutomaskError`, with its traceback; the client does not see it.

    The line is formatted and written on a thread of its own, so that the caller's event loop goes on.
    """
    if isinstance(error, AutomaskError):
        return
    if _pending.acquire(blocking=False):
        # Described here, so that the error and its frames are not kept until the thread comes to it.
        _thread.submit(copy_context().run, _write_bug, describe_traceback(error))
    else:
        _log.error("a bug", error=type(error).__name__)


def _write_bug(exception: list[dict[str, Any]]) -> None:
    try:
        _log.error("a bug", exception=exception)
    finally:
        _pending.release()
