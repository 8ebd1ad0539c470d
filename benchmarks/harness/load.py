"""Load: many clients at once, each of which sends its next call as soon as the last one is answered."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from threading import Lock, Thread
from time import perf_counter, sleep
from typing import Any

import grpc
import httpx

import automask

from .photos import PROMPTS, photo, unseen
from .service_calls import Call
from .timing import spread

PHOTO = photo(1200, 800, least_bytes=290_000)

Load = dict[str, Any]
"""Masks `per_second`, the spread of their milliseconds, the `longest`, and the number of `errors`."""


def run_clients(call: Call, clients: int, more: Callable[[], bool], *, new_every: int, pause: float = 0.0) -> Load:
    """Call from several threads at once until `more` returns False.

    Parameters
    ----------
    call
        The way to call.
    clients
        How many threads.
    more
        Whether to make another call; called before each one, never by two threads at once.
    new_every
        1 for a new photo in each call, 2 in every second call, and so on; 0 for never.
    pause
        Seconds that a client waits after each call.
    """
    times: list[float] = []
    errors: list[str] = []
    lock, numbers = Lock(), count()

    def client() -> None:
        while True:
            with lock:
                if not more():
                    return
                number = next(numbers)
            data = unseen(PHOTO) if new_every and number % new_every == 0 else PHOTO
            start = perf_counter()
            try:
                call(data, PROMPTS[number % len(PROMPTS)])
            except (grpc.RpcError, httpx.HTTPError, automask.AutomaskError) as error:
                errors.append(str(error))
            times.append((perf_counter() - start) * 1e3)
            sleep(pause)

    threads = [Thread(target=client) for _ in range(clients)]
    start = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = perf_counter() - start
    return {
        "per_second": round(len(times) / seconds, 2),
        **spread(times),
        "longest": round(max(times), 3),
        "errors": len(errors),
    }


def first(number: int) -> Callable[[], bool]:
    """Return a function that returns True `number` times, and False from then on."""
    left = iter(range(number))
    return lambda: next(left, None) is not None


def during(seconds: float) -> Callable[[], bool]:
    """Return a function that returns True for some seconds from its first call on, so at least once."""
    end: float | None = None

    def more() -> bool:
        nonlocal end
        now = perf_counter()
        if end is None:
            end = now + seconds
        return now <= end

    return more
