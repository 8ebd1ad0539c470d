"""Interrupts: stopping the work on a call from another thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Protocol

from .errors import CancelledError

__all__ = ["Interrupt", "current_interrupt"]


class _Terminable(Protocol):
    """ONNX Runtime's `RunOptions`: once `terminate` is set, the run ends after its current node."""

    terminate: bool


class Interrupt:
    """Stops calls: pass it to `Segmenter.mask`, and call `set` from another thread.

    A running graph stops after its current node, within milliseconds, and the call raises `CancelledError`. What was
    encoded before stays in the cache. Several calls may share one interrupt.

    Examples
    --------
    >>> import automask, numpy as np
    >>> interrupt = automask.Interrupt()
    >>> interrupt.set()
    >>> automask.load(device="cpu").mask(np.zeros((48, 64, 3), np.uint8), "dog", interrupt=interrupt)
    Traceback (most recent call last):
        ...
    automask.errors.CancelledError: the work was stopped by an interrupt
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_set = False
        self._running: list[_Terminable] = []

    @property
    def is_set(self) -> bool:
        """Whether `set` was called."""
        return self._is_set

    def set(self) -> None:
        """Stop all calls with this interrupt, also those that start later."""
        with self._lock:
            self._is_set = True
            for options in self._running:
                options.terminate = True

    def check(self) -> None:
        """Raise `CancelledError` if `set` was called."""
        if self._is_set:
            raise CancelledError("the work was stopped by an interrupt")

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the interrupt of the current thread inside the context."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    @contextmanager
    def stopping(self, options: _Terminable) -> Iterator[None]:
        """Let `set` stop the run of ONNX Runtime that has these options, inside the context.

        Raises
        ------
        CancelledError
            `set` was called before or during the run.
        """
        with self._lock:
            self.check()
            self._running.append(options)
        try:
            yield
        except Exception:
            self.check()  # ONNX Runtime has no error class of its own for a run that was stopped
            raise
        finally:
            with self._lock:
                self._running.remove(options)


_current: ContextVar[Interrupt | None] = ContextVar("automask_interrupt", default=None)


def current_interrupt() -> Interrupt | None:
    """Return the interrupt of the current thread, None if it has none."""
    return _current.get()
