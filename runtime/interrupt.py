"""Stopping work from outside: what a caller does that has gone, or whose time is up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Protocol

from .errors import CancelledError

__all__ = ["Interrupt", "current_interrupt"]


class _Terminable(Protocol):
    """ONNX Runtime's `RunOptions`: once set, the run under them ends after the node that it is at."""

    terminate: bool


class Interrupt:
    """Stops what runs under it: hand it to `Segmenter.mask`, and call `set` from another thread.

    A graph that runs stops after the node it is at, which takes milliseconds, and the call raises `CancelledError`.
    What was encoded by then stays cached. One interrupt may serve several calls.

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
        """Stop what runs under this interrupt, now and from now on."""
        with self._lock:
            self._is_set = True
            for options in self._running:
                options.terminate = True

    def check(self) -> None:
        """Raise `CancelledError` once `set` was called."""
        if self._is_set:
            raise CancelledError("the work was stopped by an interrupt")

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the interrupt of all that the current thread does inside."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    @contextmanager
    def stopping(self, options: _Terminable) -> Iterator[None]:
        """Let `set` reach the run that is under `options`.

        Raises
        ------
        CancelledError
            `set` was called before, or by the time that the run has ended.
        """
        with self._lock:
            self.check()
            self._running.append(options)
        try:
            yield
        except Exception:
            self.check()  # what ONNX Runtime raises of a run that was stopped has no class of its own
            raise
        finally:
            with self._lock:
                self._running.remove(options)


_current: ContextVar[Interrupt | None] = ContextVar("automask_interrupt", default=None)


def current_interrupt() -> Interrupt | None:
    """Return the interrupt that the current thread works under, if any."""
    return _current.get()
