"""Notes about loading a model, for the terminal: what a library logs and warns of is one line here."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import click

__all__ = ["notes_of_loading"]


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"note: {record.getMessage()}", err=True)


@contextmanager
def notes_of_loading() -> Iterator[None]:
    """Print what is logged about opening and proving a model inside the context, each as one line on stderr."""
    loggers = [logging.getLogger(f"automask.{name}") for name in ("opening", "proof")]
    handler, before = _Notes(), [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # each is logged, too
            yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
