"""What keeping a photo to one replica is worth: hits of the caches and latency on Ray Serve, with it and without.

Several photos come again and again in random order, from a few clients at once, each time with another prompt. The
cache of a replica has room for all of them, so that without stickiness each replica encodes each photo once in the end;
the fewer rounds, and the more replicas, the more of the work is done twice. A cluster of one node is started for it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

from automask.service import Client

PHOTO = (Path(__file__).parents[1] / "examples" / "coffee.jpg").read_bytes()
PROMPTS = ["cup", "dining table", "spoon"]
PORT, HTTP_PORT = 19_000, 18_000


@contextmanager
def cluster() -> Iterator[None]:
    """Start Ray with enough CPUs on paper for every replica, and Serve on it."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")
    import ray
    from ray import serve
    from ray.serve.config import HTTPOptions, gRPCOptions

    from automask.service.ray.cluster import FUNCTIONS

    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
    serve.start(
        http_options=HTTPOptions(port=HTTP_PORT),
        grpc_options=gRPCOptions(port=PORT, grpc_servicer_functions=list(FUNCTIONS)),
    )
    try:
        yield
    finally:
        serve.shutdown()
        ray.shutdown()


def measure(*, sticky: bool, replicas: int, photos: int, rounds: int, clients: int) -> dict[str, Any]:
    """Deploy, ask for every photo so many times, and count."""
    from ray import serve

    from automask.service.ray_app import build

    table = {"num_cpus": 0.01, "api_cpus": 0, "min_replicas": replicas, "max_replicas": replicas, "sticky": sticky}
    with tempfile.TemporaryDirectory() as folder:
        serve.run(build({"store": f"{folder}/store", "device": "cpu", "threads": 1, "ray": table}), name="sticky")
        try:
            seconds = _ask(photos, rounds, clients)
            told = dict(serve.get_deployment_handle("model-0-default", "sticky").broadcast("cache_info").results())
        finally:
            serve.delete("sticky")
    infos = [one["default"] for one in told.values()]
    hits, misses = sum(one.hits for one in infos), sum(one.misses for one in infos) - 3 * replicas  # of warming up
    return {
        "sticky": sticky,
        "replicas": replicas,
        "tasks": len(seconds),
        "hit_rate": round(hits / (hits + misses), 3),
        "encoded": misses // 3,
        "p50_ms": round(1e3 * median(seconds), 1),
        "p95_ms": round(1e3 * quantiles(seconds, n=20)[-1], 1),
        "bytes_cached": sum(one.bytes for one in infos),
    }


def _ask(photos: int, rounds: int, clients: int) -> list[float]:
    choose = random.Random(0)  # noqa: S311 (the same order for both)
    asked = [(number, PROMPTS[turn % len(PROMPTS)]) for turn in range(rounds) for number in range(photos)]
    choose.shuffle(asked)

    with Client(f"127.0.0.1:{PORT}") as client, ThreadPoolExecutor(clients) as pool:

        def ask(what: tuple[int, str]) -> float:
            started = perf_counter()
            client.mask(PHOTO + what[0].to_bytes(2, "big"), what[1])
            return perf_counter() - started

        return list(pool.map(ask, asked))


def main() -> None:
    """Measure with and without, for each number of replicas, and print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, nargs="+", default=[2, 3], help="replicas to try")
    parser.add_argument("--photos", type=int, default=24, help="different photos")
    parser.add_argument("--rounds", type=int, default=4, help="how often each of them comes")
    parser.add_argument("--clients", type=int, default=2, help="clients that ask at once")
    given = parser.parse_args()
    with cluster():
        for replicas in given.replicas:
            for sticky in (False, True):
                row = measure(
                    sticky=sticky,
                    replicas=replicas,
                    photos=given.photos,
                    rounds=given.rounds,
                    clients=given.clients,
                )
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
