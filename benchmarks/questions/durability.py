"""Kill the server with -9 under load, again and again, and count what was lost of what was acknowledged.

Clients submit requests and fetch results without pause, each request under an idempotency key of its own. The server is
killed at a random moment, counted in answers and not in seconds, and started again on the same store. When all rounds
are over, every acknowledged request must have reached one end, the one that was seen before where it was seen, and the
store must hold exactly one request for each key. A request may fail only for having been killed three times.
"""

from __future__ import annotations

import argparse
import random
import signal
import socket
import sqlite3
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Condition, Thread
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import automask
from automask.service import Client, InternalError, Job, QueueFullError, UnavailableError
from harness import machine
from harness.workplace import Workplace
from support.server_process import ServerProcess

PHOTO = (Path(__file__).parents[2] / "examples" / "coffee.jpg").read_bytes()
PHOTOS = [PHOTO + bytes([n]) for n in range(3)]
PROMPTS = ["cup", "dining table", "spoon"]
SUBMITTERS, FETCHERS = 3, 2
GIVEN_UP = "given up after 3 attempts"


@dataclass(frozen=True)
class Report:
    """What came of it; the three that must be 0 are `lost`, `doubled` and `wrong`."""

    rounds: int
    seconds: float
    acknowledged: int
    completed: int
    given_up: int
    tried_again: int
    lost: int
    doubled: int
    wrong: int


class Load:
    """Clients at work."""

    def __init__(self, address: str) -> None:
        self._client = Client(address)
        self._changed = Condition()
        self._answers = 0
        self._stopping = self._all_submitted = False
        self._fresh: Queue[tuple[str, Job[automask.Result]]] = Queue()
        self.acknowledged: dict[str, tuple[int, str]] = {}
        self.seen: dict[str, NDArray[np.uint8] | str] = {}
        self._submitters = [Thread(target=self._submit, args=[n]) for n in range(SUBMITTERS)]
        self._fetchers = [Thread(target=self._fetch) for _ in range(FETCHERS)]
        for thread in (*self._submitters, *self._fetchers):
            thread.start()

    def wait_for(self, answers: int) -> None:
        """Wait for so many more answers."""
        with self._changed:
            enough = self._answers + answers
            self._changed.wait_for(lambda: self._answers >= enough)

    def stop(self) -> None:
        """Submit no more, fetch the rest."""
        self._stopping = True
        for thread in self._submitters:
            thread.join()
        self._all_submitted = True  # only now: a fetcher that ends before the last submitter leaves a request unseen
        for thread in self._fetchers:
            thread.join()
        self._client.close()

    def _count(self) -> None:
        with self._changed:
            self._answers += 1
            self._changed.notify_all()

    def _submit(self, number: int) -> None:
        for index in range(number, 1_000_000, SUBMITTERS):
            if self._stopping:
                return
            key = f"request {index}"
            job = self._submit_until_acknowledged(key, index)
            self.acknowledged[key] = index, job.request_id
            self._fresh.put((key, job))
            self._count()

    def _submit_until_acknowledged(self, key: str, index: int) -> Job[automask.Result]:
        while True:
            try:
                return self._client.submit(PHOTOS[index % 3], PROMPTS[index // 3 % 3], idempotency_key=key)
            except (UnavailableError, QueueFullError):
                continue  # the same key again, however long it takes

    def _fetch(self) -> None:
        while not self._all_submitted or not self._fresh.empty():
            try:
                key, job = self._fresh.get(timeout=0.1)
            except Empty:
                continue
            self.seen[key] = outcome(job)
            self._count()


def outcome(job: Job[automask.Result]) -> NDArray[np.uint8] | str:
    """Give the mask, or the reason why there is none."""
    try:
        return job.result(timeout=600).mask
    except InternalError as error:
        return str(error)


def run(rounds: int, seed: int, folder: Path) -> Report:
    """Kill `rounds` times, then look at everything."""
    generator = random.Random(seed)  # noqa: S311 (moments, no secrets)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ("--port", port, "--store", folder / "requests.sqlite3", "--log-level", "info")
    started = perf_counter()
    server = ServerProcess(*options)
    load = Load(server.address)
    for _ in range(rounds):
        load.wait_for(generator.randrange(10, 120))
        server.end(signal.SIGKILL)
        server = ServerProcess(*options)
    load.stop()
    with server:
        report = inspect(load, server.address, rounds, perf_counter() - started, folder)
        server.end()
    return report


def inspect(load: Load, address: str, rounds: int, seconds: float, folder: Path) -> Report:
    """Ask for every acknowledged request once more, and compare."""
    segmenter = automask.load(device="cpu")
    right = [segmenter.mask(PHOTOS[n % 3], PROMPTS[n // 3 % 3]).mask for n in range(9)]
    counts: Counter[str] = Counter()
    with Client(address) as client:
        for key, (index, request_id) in load.acknowledged.items():
            job: Job[automask.Result] = client.job(request_id)  # type: ignore[assignment]  # each has one prompt
            now, before = outcome(job), load.seen.get(key)
            counts["lost"] += before is None
            counts["tried_again"] += job.status().attempts > 1
            if isinstance(now, str):
                counts["given_up"] += GIVEN_UP in now
                counts["wrong"] += GIVEN_UP not in now or now != before
            else:
                counts["completed"] += 1
                counts["wrong"] += not (
                    np.array_equal(now, right[index % 9])
                    and isinstance(before, np.ndarray)
                    and np.array_equal(now, before)
                )
    with sqlite3.connect(folder / "requests.sqlite3") as database:
        stored = database.execute("SELECT count(*) FROM requests").fetchone()[0]
    names = ("completed", "given_up", "tried_again", "lost", "wrong")
    return Report(
        rounds=rounds,
        seconds=round(seconds, 1),
        acknowledged=len(load.acknowledged),
        doubled=stored - len(load.acknowledged),
        **{name: counts[name] for name in names},
    )


def measure(workplace: Workplace) -> dict[str, Any]:
    """Kill, and refuse to go on where the store broke its promise."""
    folder = workplace.folder / "durability"
    folder.mkdir()
    report = run(workplace.pick(100, 1), 0, folder)
    if report.lost or report.doubled or report.wrong:
        raise SystemExit(f"the store broke its promise: {report}")
    return asdict(report)


def markdown(figures: dict[str, Any]) -> str:
    """Lay out what `measure` gave."""
    return (
        "**`kill -9`** (clients submit and fetch without pause, the server is killed at random moments and started "
        "again): {rounds} rounds, {acknowledged:,} requests acknowledged, {lost} lost, {doubled} done twice, {wrong} "
        "other results than the library's. {tried_again:,} were tried again, {completed:,} completed; {given_up} were "
        "killed at work three times, and are FAILED and say so.\n"
    ).format(**figures)


def main() -> None:
    """Print the report; exit with 1 if anything was lost, doubled or wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="times to kill (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments to kill at (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = run(arguments.rounds, arguments.seed, Path(folder))
    print(f"{machine.line()}\n")
    for name, value in asdict(report).items():
        print(f"{name.replace('_', ' '):<14} {value}")
    if report.lost or report.doubled or report.wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
