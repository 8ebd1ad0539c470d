"""The pool of decoding processes."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from threading import Condition
from typing import TYPE_CHECKING

import structlog

from automask.errors import ImageError
from automask.images import DEFAULT_MAX_PIXELS

from ..errors import shutting_down
from .process import SLOW_SECONDS, DecodingProcess
from .slots import NO_SLOT, GiveWayError, Slot, waiting

if TYPE_CHECKING:
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
        self._most_large = max(1, processes - 1)  # the last process is for small images
        self._changed = Condition()
        self._idle: list[DecodingProcess] = []
        self._busy: dict[DecodingProcess, Slot] = {}
        self._is_open = True

    def start(self) -> None:
        """Start the first process, so that the first image does not wait for it."""
        self._release(self._acquire(NO_SLOT))

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
        GiveWayError
            It takes long, and the last process, which is for small images. Only where a `Slot` is set.
        """
        with waiting() as slot:
            process = self._acquire(slot)
            try:
                # One that started as large keeps its process: no process is stopped twice for others.
                on_long = None if slot.is_large else partial(self._give_way, process)
                return process.decode(encoded, shortest, max_pixels, partial(self._mark_slow, slot), on_long)
            except ImageError as error:
                if not process.is_alive:
                    _log.warning("a decoding process was ended", problem=str(error), bytes=len(encoded))
                raise
            except GiveWayError:
                process.kill()
                process.close()
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

    def _acquire(self, slot: Slot) -> DecodingProcess:
        def can_acquire() -> bool:
            return self._can_acquire(is_large=slot.is_large)

        with self._changed:
            is_slow = not self._changed.wait_for(can_acquire, SLOW_SECONDS)
        if is_slow:
            slot.step_aside()
        with self._changed:
            self._changed.wait_for(can_acquire)
            if not self._is_open:
                raise shutting_down()
            # The last one is ready, where the first may just have been started; a large image takes long anyway.
            process = self._idle.pop(0 if slot.is_large else -1) if self._idle else None
            if process is not None and not process.is_alive:
                process.close()
                process = None
            process = process or DecodingProcess(self._timeout, self._memory)
            self._busy[process] = slot
            if slot.is_large:
                self._start_spare()
        return process

    def _start_spare(self) -> None:
        """Start a process for the next image if there is none, so that a small one need not wait for it."""
        if not self._idle and len(self._busy) < self._most:
            with suppress(OSError):  # else the next call starts one
                self._idle.append(DecodingProcess(self._timeout, self._memory))

    def _can_acquire(self, *, is_large: bool) -> bool:
        if not self._is_open:
            return True
        if is_large and self._large >= self._most_large:
            return False
        return len(self._busy) < self._most

    @property
    def _large(self) -> int:
        return sum(slot.is_large for slot in self._busy.values())

    def _mark_slow(self, slot: Slot) -> None:
        slot.mark_slow()
        with self._changed:
            if slot.is_large and self._is_open:
                self._start_spare()

    def _give_way(self, process: DecodingProcess) -> None:
        with self._changed:
            if self._large > self._most_large:
                self._busy[process] = NO_SLOT  # so that no other one is stopped for the same reason
                raise GiveWayError

    def _release(self, process: DecodingProcess) -> None:
        with self._changed:
            self._busy.pop(process, None)
            if not self._is_open:
                process.close()
            elif process.is_alive:
                self._idle.append(process)
            else:
                self._start_spare()
            self._changed.notify_all()
