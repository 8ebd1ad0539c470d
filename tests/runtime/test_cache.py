"""The cache keeps within its bytes, forgets the oldest, and computes once for many threads."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore

import pytest

from automask.cache import ByteCache


def test_the_least_recently_used_value_is_evicted_first() -> None:
    cache = ByteCache[bytes](10, len)
    for key in "ab":
        cache.get(key, lambda: b"1234")
    cache.get("a", lambda: pytest.fail("was not kept"))
    cache.get("c", lambda: b"1234")
    assert cache.info() == (1, 3, 2, 8, 10, 0, 0)
    cache.get("a", lambda: pytest.fail("was dropped before an older one"))
    assert cache.get("b", lambda: b"again") == b"again"


def test_a_value_larger_than_the_cache_is_returned_and_not_kept() -> None:
    cache = ByteCache[bytes](3, len)
    cache.get("small", lambda: b"1")
    assert cache.get("large", lambda: b"12345") == b"12345"
    assert cache.info() == (0, 2, 1, 1, 3, 0, 0)


class Key(str):
    """Releases `looked_up` at each look-up."""

    __slots__ = ()
    looked_up = Semaphore(0)

    def __hash__(self) -> int:
        Key.looked_up.release()
        return super().__hash__()


def test_many_threads_compute_once() -> None:
    cache, computed, release = ByteCache[bytes](100, len), [], Event()

    def compute() -> bytes:
        computed.append(1)
        release.wait()
        return b"value"

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(cache.get, "key", compute)]
        answers += [pool.submit(cache.get, Key("key"), compute) for _ in range(7)]
        for _ in range(7):  # all are there before the value is
            Key.looked_up.acquire()
        release.set()
        assert {answer.result() for answer in answers} == {b"value"}
    assert len(computed) == 1


def test_errors_are_raised_and_not_kept() -> None:
    cache = ByteCache[bytes](100, len)
    with pytest.raises(ZeroDivisionError):
        cache.get("key", lambda: bytes(1 // 0))
    assert cache.get("key", lambda: b"now") == b"now"
