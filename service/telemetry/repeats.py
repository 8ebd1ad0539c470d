"""A limit on how often the same line of another package is logged."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Final

__all__ = ["LimitRepeats"]

_SECONDS: Final = 10.0
_MAX_LINES: Final = 1000  # different lines that are remembered


class LimitRepeats(logging.Filter):
    """Drops a warning or an error like one that was logged within the last ten seconds, and counts what it drops.

    A server without free file descriptors otherwise logs thousands of lines a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record; the next one of its kind says how many were not."""
        if record.levelno < logging.WARNING:
            return True
        key = record.name, str(record.msg).partition("\n")[0]
        now = monotonic()
        since, dropped = self._last.get(key, (-_SECONDS, 0))
        if now - since < _SECONDS:
            self._last[key] = since, dropped + 1
            return False
        if len(self._last) >= _MAX_LINES:
            self._last.clear()
        self._last[key] = now, 0
        if dropped:
            record.msg = f"{record.msg} ({dropped} more like this)"
        return True
