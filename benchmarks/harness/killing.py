"""Clients that submit under idempotency keys and wait for results, and what must hold when all is over.

They go on through the death of a server, the coming of another, and a restart of the database. Then every request that
was acknowledged must have completed exactly once, with the mask that the library gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import automask
from automask.service import Client, QueueFullError, UnavailableError
from harness.turns import Spread, spread

PHOTO = (Path(__file__).parents[2] / "examples" / "coffee.jpg").read_bytes()
PHOTOS = [PHOTO + bytes([number]) for number in range(3)]
PROMPTS = ("cup", "dining table", "spoon")
KINDS = len(PHOTOS) * len(PROMPTS)


def kind(index: int) -> tuple[bytes, str]:
    """Give photo and prompt of the n-th request."""
    return PHOTOS[index % len(PHOTOS)], PROMPTS[index // len(PHOTOS) % len(PROMPTS)]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got.

    Attributes
    ----------
    submitted, answered
        Seconds since the start.
    """

    index: int
    request_id: str
    submitted: float
    answered: float
    mask: NDArray[np.uint8]


class Crowd:
    """Clients at work: each submits, waits for the result, and goes on with the next.

    Parameters
    ----------
    targets
        Where each client connects to.
    requests
        How many there are in all.
    """

    def __init__(self, targets: Sequence[str], requests: int) -> None:
        self.started = perf_counter()
        self.answers: list[Answer] = []
        self._indices = iter(range(requests))
        self._changed = Condition()
        self._threads = [Thread(target=self._work, args=[target]) for target in targets]
        for thread in self._threads:
            thread.start()

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self.started

    def wait_for(self, answers: int) -> None:
        """Wait until there are so many answers."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.answers) >= answers)

    def join(self) -> None:
        """Wait until all is answered."""
        for thread in self._threads:
            thread.join()

    def _work(self, target: str) -> None:
        with Client(target) as client:
            while True:
                with self._changed:
                    index = next(self._indices, None)
                if index is None:
                    return
                answer = self._ask(client, index)
                with self._changed:
                    self.answers.append(answer)
                    self._changed.notify_all()

    def _ask(self, client: Client, index: int) -> Answer:
        submitted = self.now
        request_id = self._persistently(lambda: _submit(client, index))
        mask = self._persistently(lambda: client.job(request_id).result().mask)  # type: ignore[union-attr]
        return Answer(index, request_id, submitted, self.now, mask)

    def _persistently(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Make a call until somebody answers it."""
        while True:
            try:
                return call()
            except (UnavailableError, QueueFullError):
                continue  # the client has paused between its own tries


def _submit(client: Client, index: int) -> str:
    return client.submit(*kind(index), idempotency_key=f"request {index}").request_id


def judged(crowd: Crowd, target: str, stored: int, ends: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Ask for every request once more, and count what must not be.

    Parameters
    ----------
    crowd
        What its clients got.
    target
        A server.
    stored
        Requests in the database.
    ends
        What the servers logged of ends: events with `request_id` and `event`.
    """
    segmenter = automask.load(device="cpu")
    right = [segmenter.mask(*kind(index)).mask for index in range(KINDS)]
    completed = Counter(end["request_id"] for end in ends if end.get("state") == "COMPLETED")
    counts: Counter[str] = Counter()
    with Client(target) as client, ThreadPoolExecutor(8) as several:

        def look(answer: Answer) -> tuple[bool, bool]:
            job = client.job(answer.request_id)
            masks = (job.result().mask, answer.mask)  # type: ignore[union-attr]  # each has one prompt
            is_right = all(np.array_equal(mask, right[answer.index % KINDS]) for mask in masks)
            return is_right and _submit(client, answer.index) == answer.request_id, job.status().attempts > 1

        for is_right, is_again in several.map(look, crowd.answers):
            counts["wrong"] += not is_right
            counts["tried again"] += is_again
    return {
        "acknowledged": len(crowd.answers),
        "completed": len({answer.index for answer in crowd.answers}),
        "doubled": stored - len(crowd.answers) + sum(count > 1 for count in completed.values()),
        "wrong": counts["wrong"],
        "tried again": counts["tried again"],
        "fenced": sum(end["event"] == "request was taken away" for end in ends),
    }


def phases(answers: Sequence[Answer], first: float, last: float) -> dict[str, Spread]:
    """Give milliseconds of those answered before the first event, submitted after the last, and between."""
    groups: dict[str, list[float]] = {"before": [], "during": [], "after": []}
    for answer in answers:
        name = "before" if answer.answered < first else "after" if answer.submitted > last else "during"
        groups[name].append(1e3 * (answer.answered - answer.submitted))
    return {name: spread(times) for name, times in groups.items() if times}


def points(answers: Sequence[Answer]) -> str:
    """Write down when each was answered and how many milliseconds it took, in one line: `1.20:35 1.22:41`."""
    ordered = sorted(answers, key=lambda answer: answer.answered)
    return " ".join(f"{one.answered:.2f}:{1e3 * (one.answered - one.submitted):.0f}" for one in ordered)
