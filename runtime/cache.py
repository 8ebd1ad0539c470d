"""A least-recently-used cache, bounded in bytes, that computes each value once."""

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
    """Counts of a cache.

    Attributes
    ----------
    hits, misses
        Calls answered from the cache, and calls that computed the value.
    entries
        Values held.
    bytes, max_bytes
        Bytes held in the memory of the host, and most bytes held there.
    gpu_bytes, gpu_max_bytes
        The same for the memory of the GPU.
    """

    hits: int
    misses: int
    entries: int
    bytes: int
    max_bytes: int
    gpu_bytes: int = 0
    gpu_max_bytes: int = 0


class ByteCache(Generic[V]):
    """Values by key, bounded in bytes. Threads may share it; those with the same key share one computation.

    Parameters
    ----------
    max_bytes
        Most bytes of all values together. A larger value is returned but not kept; 0 keeps nothing.
    size
        Returns the bytes of a value.
    gpu_max_bytes, gpu_size
        The same for the memory of the GPU.

    Examples
    --------
    >>> cache = ByteCache[bytes](10, len)
    >>> [cache.get(key, lambda: b"12345") for key in ("a", "a", "b")][0]
    b'12345'
    >>> cache.info()
    CacheInfo(hits=1, misses=2, entries=2, bytes=10, max_bytes=10, gpu_bytes=0, gpu_max_bytes=0)
    """

    def __init__(
        self,
        max_bytes: int,
        size: Callable[[V], int],
        gpu_max_bytes: int = 0,
        gpu_size: Callable[[V], int] = lambda _: 0,
    ) -> None:
        self._max_bytes, self._gpu_max_bytes = max_bytes, gpu_max_bytes
        self._size, self._gpu_size = size, gpu_size
        self._lock = Lock()
        self._entries: OrderedDict[Hashable, V] = OrderedDict()
        self._pending: dict[Hashable, Future[V]] = {}
        self._bytes = self._gpu_bytes = self._hits = self._misses = 0

    def get(self, key: Hashable, compute: Callable[[], V]) -> V:
        """Return the value of a key; compute and keep it if there is none. Errors are raised and not kept."""
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
            # The thread that computes may be interrupted; this one then computes the value itself.
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
        if self._size(value) > self._max_bytes or self._gpu_size(value) > self._gpu_max_bytes:
            return
        self._entries[key] = value
        self._count(value, 1)
        for oldest in list(self._entries):
            too_many = self._bytes > self._max_bytes, self._gpu_bytes > self._gpu_max_bytes
            if not any(too_many):
                break
            held = self._size(self._entries[oldest]), self._gpu_size(self._entries[oldest])
            # The memory of the one is not freed by what is only in that of the other.
            if any(bytes_held and full for bytes_held, full in zip(held, too_many, strict=True)):
                self._count(self._entries.pop(oldest), -1)

    def _count(self, value: V, sign: int) -> None:
        self._bytes += sign * self._size(value)
        self._gpu_bytes += sign * self._gpu_size(value)

    def holds(self, key: Hashable) -> bool:
        """Return whether the value of a key is kept; it may be dropped before the next call."""
        with self._lock:
            return key in self._entries

    def info(self) -> CacheInfo:
        """Return the counts."""
        with self._lock:
            counts = self._hits, self._misses, len(self._entries)
            return CacheInfo(*counts, self._bytes, self._max_bytes, self._gpu_bytes, self._gpu_max_bytes)
