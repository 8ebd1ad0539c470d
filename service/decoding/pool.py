"""The pool of decoding processes."""

from __future__ import annotations

from contextlib import suppress
from threading import Condition
from typing import TYPE_CHECKING

import structlog

from automask.errors import ImageError
from automask.images import DEFAULT_MAX_PIXELS

from ..errors import shutting_down
from .process import SLOW_SECONDS, DecodingProcess
from .slots import stepping_aside

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MEMORY", "DecoderPool"]

MEMORY = 600_000_000
"""Bytes of address space for one file: the 500 MB that an image may take, and what allocators add."""

_log = structlog.get_logger(__name__)


class DecoderPool:
    """Decodes images in other processes. It is a `Decoder`; threads may share it.

    Parameters
    ----------
    processes
        Most processes. They are started as they are needed, and stay.
    timeout
        Seconds of processor time for one image; a process that takes longer, or four times as long by the clock, is
        killed.
    memory
        Bytes for one image.
    """

    def __init__(self, *, processes: int, timeout: float, memory: int = MEMORY) -> None:
        self._most, self._timeout, self._memory = processes, timeout, memory
        self._changed = Condition()
        self._idle: list[DecodingProcess] = []
        self._busy: set[DecodingProcess] = set()
        self._is_open = True

    def start(self) -> None:
        """Start the first process, so that the first image does not wait for it."""
        self._release(self._acquire(lambda: None))

    @property
    def pids(self) -> set[int]:
        """The ids of the processes."""
        with self._changed:
            return {process.pid for process in (*self._idle, *self._busy)}

    def __call__(
        self, encoded: bytes, *, shortest: int | None = None, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """Decode a file; parameters and result are those of `automask.images.decode`.

        Raises
        ------
        ImageError
            The file cannot be decoded, or not within the limits of time and memory.
        InternalError
            A process cannot start, or failed for another reason than the file.
        UnavailableError
            The pool was closed.
        """
        with stepping_aside() as step_aside:
            process = self._acquire(step_aside)
            try:
                return process.decode(encoded, shortest, max_pixels, step_aside)
            except ImageError as error:
                if not process.is_alive:
                    _log.warning("a decoding process was ended", problem=str(error), bytes=len(encoded))
                raise
            finally:
                self._release(process)

    def close(self) -> None:
        """Kill all processes; decoding that runs fails."""
        with self._changed:
            self._is_open = False
            idle = [*self._idle]
            self._idle.clear()
            for process in self._busy:
                process.kill()
            self._changed.notify_all()
        for process in idle:
            process.close()

    def _acquire(self, on_slow: Callable[[], None]) -> DecodingProcess:
        with self._changed:
            is_slow = not self._changed.wait_for(self._can_acquire, SLOW_SECONDS)
        if is_slow:
            on_slow()
        with self._changed:
            self._changed.wait_for(self._can_acquire)
            if not self._is_open:
                raise shutting_down()
            # The one used last: it is ready, where one that was just started may not be.
            process = self._idle.pop() if self._idle else None
            if process is not None and not process.is_alive:
                process.close()
                process = None
            process = process or DecodingProcess(self._timeout, self._memory)
            self._busy.add(process)
        return process

    def _can_acquire(self) -> bool:
        return bool(self._idle) or len(self._busy) < self._most or not self._is_open

    def _release(self, process: DecodingProcess) -> None:
        with self._changed:
            self._busy.discard(process)
            if not self._is_open:
                process.close()
            elif process.is_alive:
                self._idle.append(process)
            else:
                with suppress(OSError):  # else the next call starts one
                    self._idle.insert(0, DecodingProcess(self._timeout, self._memory))
            self._changed.notify_all()
