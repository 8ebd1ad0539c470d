"""Structured logs on standard error: one event per line, with the request id, never with an image or a key."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from automask.errors import AutomaskError

__all__ = ["configure_logs", "log_bug"]

_log = structlog.get_logger(__name__)


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
    renderers: list[Processor] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
            foreign_pre_chain=shared,
        )
    )
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
    """Log an error that is not an `AutomaskError`, with its traceback; the client does not see it."""
    if not isinstance(error, AutomaskError):
        _log.error("a bug", exc_info=error)
