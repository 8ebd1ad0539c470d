"""Measure a server alone and under open-loop load, and compare it with the queueing model and the simulation.

First each server is measured alone: the time of a pass over 1 to 16 prompts, on a new photo and on a cached one, and
what a call costs besides. From that the model predicts latency at several rates, and the simulation repeats it. Then a
real `automask serve` gets calls at those rates from real gRPC clients, at the moments of a Poisson process, whether or
not it keeps up. Every second photo is new. Clients and server share the cores, which the model ignores.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from statistics import mean, median
from threading import Semaphore
from time import perf_counter
from typing import Any

import grpc
import numpy as np

from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from harness.load import PHOTO
from harness.machine import THREADS
from harness.options import RunOptions
from harness.photos import PROMPTS, unseen, zipf
from harness.queueing import Pass, Queue, Work
from support.server_process import ServerProcess

from .simulation import Route, System, simulate, simulate_repeatedly

PROMPT_COUNTS = (1, 2, 4, 8, 16)
HITS = 0.5
LOADED = (0.3, 0.6, 0.8)
"""Utilisations at which the real server gets calls."""
CHECKED = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
"""Utilisations at which model and simulation are compared."""
SERVERS = (1, 2, 8, 64)
ROUTES: tuple[Route, ...] = ("one queue", "two choices", "random")
STICKY_CASES: tuple[tuple[Route, int], ...] = (("two choices", 1), ("sticky", 1), ("sticky", 16))
"""Route, and largest number of calls in a pass."""
PHOTOS, CACHED = 2000, 200
SETUPS = {"one worker": (1, THREADS), "a worker for each thread": (THREADS, 1)}
"""Number of workers, and threads of each."""
_CHANNELS = 4


def measure(options: RunOptions) -> dict[str, Any]:
    """Measure the servers, then compute what follows from them."""
    folder = options.folder / "capacity"
    folder.mkdir()
    chosen = list(SETUPS.items())[: options.pick(None, 1)]
    setups = {name: measure_setup(folder, workers, threads, options) for name, (workers, threads) in chosen}
    work = Work.measured(next(iter(setups.values())), hits=HITS)
    return {
        "photo_bytes": len(PHOTO),
        "hits": HITS,
        "setups": setups,
        "checked": check_model(work, options),
        "routed": compare_routes(work, options),
        "sticky": compare_stickiness(work, options),
    }


def measure_setup(folder: Path, workers: int, threads: int, options: RunOptions) -> dict[str, Any]:
    """Measure one server alone, and then under load."""
    arguments = ("--port", 0, "--store", folder / f"{workers}.sqlite3", "--workers", workers, "--threads", threads)
    with ServerProcess(*arguments, "--max-batch", 1) as server:
        with grpc.insecure_channel(server.address) as channel:
            stub = MaskServiceStub(channel)
            alone = calibrate(stub, options.pick(PROMPT_COUNTS, PROMPT_COUNTS[:2]), options.pick(12, 1))
        work, points = Work.measured(alone, hits=HITS), []
        for seed, busy in enumerate(LOADED if not options.quick else LOADED[:1]):
            rate = busy * workers / work.mean
            calls = max(options.pick(100, 4), round(rate * options.pick(60, 0)))
            measured = send_at_random(server.address, rate, calls, seed)
            as_loaded = work.sped_up(work.mean / measured["pass"])
            points.append(
                {
                    "busy": busy,
                    "rate": round(rate, 4),
                    "model": _predicted(Queue(rate, work, workers)),
                    "simulation": _simulated(System(rate, work, workers), options),
                    "measured": measured,
                    "model of those passes": _predicted(Queue(rate, as_loaded, workers)),
                }
            )
        server.end()
    return {"workers": workers, "threads": threads, **alone, "points": points}


def calibrate(stub: MaskServiceStub, prompt_counts: Sequence[int], rounds: int) -> dict[str, Any]:
    """Measure passes, one call at a time, by the server's clock; the rest of the client's time is `call`."""
    seconds: dict[str, dict[int, list[float]]] = {
        kind: {count: [] for count in prompt_counts} for kind in ("new", "cached")
    }
    rest = []
    for turn in range(-1, rounds):
        for count in prompt_counts:
            for kind, image in (("new", unseen(PHOTO)), ("cached", PHOTO)):
                started = perf_counter()
                timings = stub.Generate(_request(image, count)).response.timings
                took = perf_counter() - started
                if turn >= 0:
                    seconds[kind][count].append(timings.inference_ms / 1e3)
                    rest.append(took - timings.inference_ms / 1e3)
    return {
        **{kind: _rounded(Pass.fitted(times), times) for kind, times in seconds.items()},
        "call": round(median(rest), 6),
    }


def _request(image: bytes, prompts: int) -> messages.GenerateRequest:
    """Build a request whose prompts all find something, so that each takes its full share of the work."""
    texts = [PROMPTS[number % len(PROMPTS)] for number in range(prompts)]
    return messages.GenerateRequest(task=mask_pb2.MaskTask(image=mask_pb2.Image(encoded=image), prompts=texts))


def _rounded(fitted: Pass, times: dict[int, list[float]]) -> dict[str, Any]:
    spread = [round(float(one), 4) for one in np.quantile(fitted.factors, np.linspace(0.025, 0.975, 20))]
    return {
        "fixed": round(fitted.fixed, 6),
        "each": round(fitted.each, 6),
        "factors": [round(one / mean(spread), 4) for one in spread],
        "by_prompts": {str(count): round(mean(seconds), 6) for count, seconds in times.items()},
    }


def send_at_random(address: str, rate: float, calls: int, seed: int) -> dict[str, float]:
    """Call at the moments of a Poisson process without waiting for responses.

    Returns
    -------
    Seconds as clients see them, from the planned moment on, and the number of errors.
    """
    random, done = Random(seed), Semaphore(0)  # noqa: S311 (arrivals, no secrets)
    latencies, waits, passes, errors = [], [], [], []
    own_connections = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.insecure_channel(address, own_connections) for _ in range(_CHANNELS)]
    stubs = [MaskServiceStub(channel) for channel in channels]
    moment = perf_counter()
    for number in range(calls):
        moment += random.expovariate(rate)
        request = _request(PHOTO if random.random() < HITS else unseen(PHOTO), 1)
        time.sleep(max(0.0, moment - perf_counter()))

        def record(call: Any, moment: float = moment) -> None:  # noqa: ANN401 (grpc's future has no public type)
            latencies.append(perf_counter() - moment)
            if call.code() is grpc.StatusCode.OK:
                waits.append(call.result().response.timings.queue_ms / 1e3)
                passes.append(call.result().response.timings.inference_ms / 1e3)
            else:
                errors.append(call.code())
            done.release()

        stubs[number % _CHANNELS].Generate.future(request, timeout=120).add_done_callback(record)
    for _ in range(calls):
        done.acquire()
    for channel in channels:
        channel.close()
    p50, p95 = np.percentile(latencies, [50, 95])
    found = {"p50": p50, "p95": p95, "wait": mean(waits or [0.0]), "pass": mean(passes or [0.0]), "errors": len(errors)}
    return {name: round(float(figure), 6) for name, figure in found.items()}


def _predicted(queue: Queue) -> dict[str, float]:
    return {"p50": round(queue.latency(0.5), 6), "p95": round(queue.latency(0.95), 6), "wait": round(queue.wait, 6)}


def _simulated(system: System, options: RunOptions) -> dict[str, float]:
    """Simulate, and add the relative standard error of the wait as `error`."""
    outcome, error = simulate_repeatedly(system, calls=options.pick(40_000, 500), runs=options.pick(8, 2))
    return {name: round(figure, 6) for name, figure in {**asdict(outcome), "error": error}.items()}


def check_model(work: Work, options: RunOptions) -> list[dict[str, Any]]:
    """Compare model and simulation over utilisations and numbers of servers."""
    found = []
    for servers in SERVERS[: options.pick(None, 2)]:
        for busy in CHECKED:
            rate = busy * servers / work.mean
            queue = Queue(rate, work, servers)
            simulated = _simulated(System(rate, work, servers), options)
            found.append({"servers": servers, "busy": busy, "model": _predicted(queue), "simulation": simulated})
    return found


def compare_routes(work: Work, options: RunOptions) -> list[dict[str, Any]]:
    """Simulate what the model leaves out: a queue for each of eight replicas instead of one for all."""
    return [
        {"busy": busy, "route": route, **_simulated(System(busy * 8 / work.mean, work, 8, route), options)}
        for busy in (0.5, 0.7, 0.9)
        for route in ROUTES
    ]


def compare_stickiness(work: Work, options: RunOptions) -> list[dict[str, Any]]:
    """Simulate calls that go to the replica that holds their photo, with and without passes for several calls."""
    rows = []
    for servers in (1, 2, 4, 8, 16):
        rate = 0.7 * servers / replace(work, hits=HITS).mean
        system = System(rate, work, servers, photos=zipf(PHOTOS), cache=CACHED)
        for route, most in STICKY_CASES:
            outcome = simulate(replace(system, route=route, max_batch=most), calls=options.pick(60_000, 500))
            rows.append({"servers": servers, "route": route, "max_batch": most, **asdict(outcome)})
    return rows
