"""A least-recently-used cache that is bounded in bytes and computes each value once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock
from typing import Any, Generic, NamedTuple, TypeVar

from numpy.typing import NDArray

from .errors import CancelledError

__all__ = ["Arrays", "ByteCache", "CacheInfo"]

V = TypeVar("V")
Arrays = tuple[NDArray[Any], ...]


class CacheInfo(NamedTuple):
    """How a `ByteCache` did: calls answered from it, calls that computed, entries, and bytes held and allowed."""

    hits: int
    misses: int
    entries: int
    bytes: int
    max_bytes: int


class ByteCache(Generic[V]):
    """Values by key, at most `max_bytes` of them; threads that want the same key wait for one computation.

    Parameters
    ----------
    max_bytes
        Sum of the sizes kept. A value larger than that is returned but not kept; 0 keeps nothing.
    size
        Bytes of a value.
    """

    def __init__(self, max_bytes: int, size: Callable[[V], int]) -> None:
        self._max_bytes = max_bytes
        self._size = size
        self._lock = Lock()
        self._entries: OrderedDict[Hashable, V] = OrderedDict()
        self._pending: dict[Hashable, Future[V]] = {}
        self._bytes = self._hits = self._misses = 0

    def get(self, key: Hashable, compute: Callable[[], V]) -> V:
        """Return the value under `key`; compute and keep it where there is none. Errors are not kept."""
        while True:
            with self._lock:
                if key in self._entries:
                    self._hits += 1
                    self._entries.move_to_end(key)
                    return self._entries[key]
                running = self._pending.get(key)
                if running is None:
                    self._misses += 1
                    mine = self._pending[key] = Future()
                    break
                self._hits += 1
            # The thread that computes may be interrupted; that is its own affair, and this one takes over.
            with suppress(CancelledError):
                return running.result()
        return self._compute(key, compute, mine)

    def _compute(self, key: Hashable, compute: Callable[[], V], future: Future[V]) -> V:
        try:
            value = compute()
        except BaseException as error:
            with self._lock:
                del self._pending[key]
            future.set_exception(error)
            raise
        with self._lock:
            del self._pending[key]
            self._keep(key, value)
        future.set_result(value)
        return value

    def _keep(self, key: Hashable, value: V) -> None:
        size = self._size(value)
        if size > self._max_bytes:
            return
        self._entries[key] = value
        self._bytes += size
        while self._bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._bytes -= self._size(oldest)

    def info(self) -> CacheInfo:
        """Count hits, misses, entries and bytes."""
        with self._lock:
            return CacheInfo(self._hits, self._misses, len(self._entries), self._bytes, self._max_bytes)
