"""The clients of a kill run: they submit requests under idempotency keys, and wait for the results.

They go on through the death of a server, the start of another, and a crash of the database. In the end every request
that was acknowledged must have completed exactly once, with the mask that the library computes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Condition, Thread
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automask.service import Client, QueueFullError, UnavailableError
from harness.numbered_requests import ExpectedMasks, photo_and_prompt
from harness.timing import Spread, spread


@dataclass(frozen=True, slots=True)
class Completed:
    """A request whose result a client has.

    Attributes
    ----------
    submitted, completed
        Seconds since the start.
    """

    number: int
    request_id: str
    submitted: float
    completed: float
    mask: NDArray[np.uint8]


class Clients:
    """Threads that each submit a request, wait for its result, and go on with the next.

    Parameters
    ----------
    targets
        Where each client connects to.
    requests
        How many there are in all.
    """

    def __init__(self, targets: Sequence[str], requests: int) -> None:
        self.started = perf_counter()
        self.completed: list[Completed] = []
        self._numbers = iter(range(requests))
        self._changed = Condition()
        self._threads = [Thread(target=self._work, args=[target]) for target in targets]
        for thread in self._threads:
            thread.start()

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self.started

    def wait_for(self, completed: int) -> None:
        """Wait until this number of requests is completed."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.completed) >= completed)

    def join(self) -> None:
        """Wait until all requests are completed."""
        for thread in self._threads:
            thread.join()

    def _work(self, target: str) -> None:
        with Client(target) as client:
            while True:
                with self._changed:
                    number = next(self._numbers, None)
                if number is None:
                    return
                completed = self._request(client, number)
                with self._changed:
                    self.completed.append(completed)
                    self._changed.notify_all()

    def _request(self, client: Client, number: int) -> Completed:
        submitted = self.now
        request_id = _retry(lambda: _submit(client, number))
        mask = _retry(lambda: client.job(request_id).result().mask)  # type: ignore[union-attr]
        return Completed(number, request_id, submitted, self.now, mask)


def _retry(call: Callable[[], Any]) -> Any:  # noqa: ANN401
    """Repeat a call until a server takes it; the client itself pauses between its own retries."""
    while True:
        try:
            return call()
        except (UnavailableError, QueueFullError):
            continue


def _submit(client: Client, number: int) -> str:
    return client.submit(*photo_and_prompt(number), idempotency_key=f"request {number}").request_id


def check(clients: Clients, target: str, stored: int, ends: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Fetch every result again, and count what happened and what must not happen.

    Parameters
    ----------
    clients
        The clients, after the run.
    target
        A server.
    stored
        Number of requests in the database.
    ends
        The servers' log events about ended requests, with `request_id` and `event`.
    """
    expected = ExpectedMasks()
    completed = Counter(end["request_id"] for end in ends if end.get("state") == "COMPLETED")
    counts: Counter[str] = Counter()
    with Client(target) as client, ThreadPoolExecutor(8) as executor:

        def look(one: Completed) -> tuple[bool, bool]:
            job = client.job(one.request_id)
            masks = (job.result().mask, one.mask)  # type: ignore[union-attr]  # each has one prompt
            is_right = all(expected.is_right(one.number, mask) for mask in masks)
            return is_right and _submit(client, one.number) == one.request_id, job.status().attempts > 1

        for is_right, is_repeated in executor.map(look, clients.completed):
            counts["wrong"] += not is_right
            counts["tried again"] += is_repeated
    return {
        "acknowledged": len(clients.completed),
        "completed": len({one.number for one in clients.completed}),
        "doubled": stored - len(clients.completed) + sum(count > 1 for count in completed.values()),
        "wrong": counts["wrong"],
        "tried again": counts["tried again"],
        "fenced": sum(end["event"] == "request was taken away" for end in ends),
    }


def phases(completed: Sequence[Completed], first: float, last: float) -> dict[str, Spread]:
    """Summarise milliseconds: of requests completed before the first event, submitted after the last, and between."""
    groups: dict[str, list[float]] = {"before": [], "during": [], "after": []}
    for one in completed:
        name = "before" if one.completed < first else "after" if one.submitted > last else "during"
        groups[name].append(1e3 * (one.completed - one.submitted))
    return {name: spread(times) for name, times in groups.items() if times}


def points(completed: Sequence[Completed]) -> str:
    """Format the second of each completion and the milliseconds it took: `1.20:35 1.22:41`."""
    ordered = sorted(completed, key=lambda one: one.completed)
    return " ".join(f"{one.completed:.2f}:{1e3 * (one.completed - one.submitted):.0f}" for one in ordered)
