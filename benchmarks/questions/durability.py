"""Kill the server with -9 under load, again and again, and count the acknowledged requests that are lost.

Clients submit requests and fetch results without pause, each request under its own idempotency key. The server is
killed at a random moment, counted in responses and not in seconds, and restarted on the same store. After all rounds
every acknowledged request must have exactly one outcome, the one that a client saw before if it saw any, and the store
must hold exactly one request for each key. A request may fail only if the server was killed three times at work on it.
"""

from __future__ import annotations

import random
import signal
import sqlite3
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue
from threading import Condition, Thread
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import automask
from automask.service import Client, InternalError, Job, QueueFullError, UnavailableError
from harness.numbered_requests import ExpectedMasks, photo_and_prompt
from harness.options import RunOptions
from support.ports import free_port
from support.server_process import ServerProcess

SUBMITTERS, FETCHERS = 3, 2
GIVEN_UP = "given up after 3 attempts"


@dataclass(frozen=True)
class Report:
    """The outcome. `lost`, `doubled` and `wrong` must be 0."""

    rounds: int
    seconds: float
    acknowledged: int
    completed: int
    given_up: int
    tried_again: int
    lost: int
    doubled: int
    wrong: int

    @property
    def is_broken(self) -> bool:
        """Whether the store lost, doubled or confused a request."""
        return bool(self.lost or self.doubled or self.wrong)


class Clients:
    """Threads that submit requests, and threads that fetch their results."""

    def __init__(self, address: str) -> None:
        self._client = Client(address)
        self._changed = Condition()
        self._responses = 0
        self._stopping = False
        self._unfetched: Queue[tuple[str, Job[automask.Result]] | None] = Queue()
        self.acknowledged: dict[str, tuple[int, str]] = {}
        self.outcomes: dict[str, NDArray[np.uint8] | str] = {}
        self._submitters = [Thread(target=self._submit, args=[n]) for n in range(SUBMITTERS)]
        self._fetchers = [Thread(target=self._fetch) for _ in range(FETCHERS)]
        for thread in (*self._submitters, *self._fetchers):
            thread.start()

    def wait_for(self, responses: int) -> None:
        """Wait for this number of further responses."""
        with self._changed:
            enough = self._responses + responses
            self._changed.wait_for(lambda: self._responses >= enough)

    def stop(self) -> None:
        """Stop submitting, and fetch the remaining results."""
        self._stopping = True
        for thread in self._submitters:
            thread.join()
        for _ in self._fetchers:
            self._unfetched.put(None)  # ends one fetcher; only now, or a request of the last submitter stays unfetched
        for thread in self._fetchers:
            thread.join()
        self._client.close()

    def _count(self) -> None:
        with self._changed:
            self._responses += 1
            self._changed.notify_all()

    def _submit(self, start: int) -> None:
        for number in range(start, 1_000_000, SUBMITTERS):
            if self._stopping:
                return
            key = f"request {number}"
            job = self._submit_until_acknowledged(key, number)
            self.acknowledged[key] = number, job.request_id
            self._unfetched.put((key, job))
            self._count()

    def _submit_until_acknowledged(self, key: str, number: int) -> Job[automask.Result]:
        while True:
            try:
                return self._client.submit(*photo_and_prompt(number), idempotency_key=key)
            except (UnavailableError, QueueFullError):
                continue  # under the same key, however long it takes

    def _fetch(self) -> None:
        while (submitted := self._unfetched.get()) is not None:
            key, job = submitted
            self.outcomes[key] = outcome(job)
            self._count()


def outcome(job: Job[automask.Result]) -> NDArray[np.uint8] | str:
    """Wait for a request, and return its mask, or its error message."""
    try:
        return job.result(timeout=600).mask
    except InternalError as error:
        return str(error)


def run(rounds: int, seed: int, folder: Path, *, most: int = 120) -> Report:
    """Kill the server `rounds` times, each after fewer than `most` responses, then check every request."""
    generator = random.Random(seed)  # noqa: S311 (moments, no secrets)
    arguments = ("--port", free_port(), "--store", folder / "requests.sqlite3", "--log-level", "info")
    started = perf_counter()
    server = ServerProcess(*arguments)
    clients = Clients(server.address)
    for _ in range(rounds):
        clients.wait_for(generator.randrange(10, most))
        server.end(signal.SIGKILL)
        server = ServerProcess(*arguments)
    clients.stop()
    with server:
        report = check(clients, server.address, rounds, perf_counter() - started, folder)
        server.end()
    return report


def check(clients: Clients, address: str, rounds: int, seconds: float, folder: Path) -> Report:
    """Fetch every acknowledged request once more, and compare its outcome with the first one and with the library."""
    expected = ExpectedMasks()
    counts: Counter[str] = Counter()
    with Client(address) as client:
        for key, (number, request_id) in clients.acknowledged.items():
            job: Job[automask.Result] = client.job(request_id)  # type: ignore[assignment]  # each has one prompt
            now, before = outcome(job), clients.outcomes.get(key)
            counts["lost"] += before is None
            counts["tried_again"] += job.status().attempts > 1
            if isinstance(now, str):
                counts["given_up"] += GIVEN_UP in now
                counts["wrong"] += GIVEN_UP not in now or now != before
            else:
                counts["completed"] += 1
                is_same = isinstance(before, np.ndarray) and np.array_equal(now, before)
                counts["wrong"] += not (is_same and expected.is_right(number, now))
    with sqlite3.connect(folder / "requests.sqlite3") as database:
        stored = database.execute("SELECT count(*) FROM requests").fetchone()[0]
    names = ("completed", "given_up", "tried_again", "lost", "wrong")
    return Report(
        rounds=rounds,
        seconds=round(seconds, 1),
        acknowledged=len(clients.acknowledged),
        doubled=stored - len(clients.acknowledged),
        **{name: counts[name] for name in names},
    )


def measure(options: RunOptions) -> dict[str, Any]:
    """Run the kills.

    Raises
    ------
    SystemExit
        A request was lost, doubled or answered wrongly.
    """
    folder = options.folder / "durability"
    folder.mkdir()
    report = run(options.pick(100, 1), 0, folder, most=options.pick(120, 20))
    if report.is_broken:
        raise SystemExit(f"a request was lost, doubled or answered wrongly: {report}")
    return asdict(report)


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    return (
        "**`kill -9`** (clients submit and fetch without pause, the server is killed at random moments and "
        "restarted): {rounds} rounds, {acknowledged:,} requests acknowledged, {lost} lost, {doubled} done twice, "
        "{wrong} with another result than the library's. {tried_again:,} were tried again, {completed:,} completed; "
        "{given_up} ended as FAILED because the server was killed three times while it worked on them.\n"
    ).format(**figures)
