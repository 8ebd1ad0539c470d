"""Log lines of a part that fails again and again: one when it fails, some with a count, one when it works again."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

import structlog

__all__ = ["OutageLog"]

_REPEAT_SECONDS: Final = 15.0
_SETTLE_SECONDS: Final = 5.0  # longer than the pause between two tries, so that one success among failures is no end

_log = structlog.get_logger(__name__)


class OutageLog:
    """Logs failures of one part without a line for each.

    Parameters
    ----------
    event
        Name of the log event of a failure.
    clock
        Returns seconds that only grow.
    """

    def __init__(self, event: str, *, clock: Callable[[], float] = monotonic) -> None:
        self._event, self._clock = event, clock
        self._since: float | None = None
        self._last = self._logged = 0.0
        self._unlogged = 0

    def failed(self, error: Exception) -> None:
        """Log a failure, or count it if one was logged in the last 15 s."""
        self._last = self._clock()
        if self._since is None:
            self._since = self._last
            _log.error(self._event, problem=str(error))
        elif self._last - self._logged < _REPEAT_SECONDS:
            self._unlogged += 1
            return
        else:
            seconds = round(self._last - self._since)
            _log.error(self._event, problem=str(error), more=self._unlogged, seconds=seconds)
        self._logged, self._unlogged = self._last, 0

    def worked(self) -> None:
        """Log that the part works again, once there was no failure for 5 s."""
        if self._since is not None and self._clock() - self._last >= _SETTLE_SECONDS:
            seconds = round(self._last - self._since)
            _log.warning(f"{self._event}: works again", more=self._unlogged, seconds=seconds)
            self._since, self._unlogged = None, 0
