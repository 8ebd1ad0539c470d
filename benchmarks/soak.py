"""Run good clients alone, then beside an attacker, and compare their times; exit with 1 if the difference is too large.

    python benchmarks/soak.py --minutes 10

The good clients send new photos of 300 KB: over gRPC, over HTTP, and as submitted requests, in turn. They run alone
for a fifth of the time first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import cycle
from pathlib import Path
from typing import Any

import psutil

from harness.attacks import Attack
from harness.load import Load, during, run_clients
from harness.machine import summary
from harness.service_calls import FORM, SUBMIT, TCP, Call, serving

MOST_TIMES_AS_LONG = 3.0
_ALONE = 0.2  # of the time


def in_turn(calls: list[Call]) -> Call:
    """Return a call that makes these in turn."""
    turns = cycle(calls)
    return lambda photo, prompt: next(turns)(photo, prompt)  # noqa: PLW0108 (the next one at each call)


def resources(pid: int) -> dict[str, int]:
    """Return the resident MB of a server and of its processes, and the descriptors that it has open."""
    server = psutil.Process(pid)
    children = [child.memory_info().rss for child in server.children(recursive=True)]
    return {
        "server MB": round(server.memory_info().rss / 1e6),
        "decoders MB": round(sum(children) / 1e6),
        "descriptors": server.num_fds(),
    }


def soak(folder: Path, *, seconds: float, good: int, attackers: int, pause: float, only: str) -> dict[str, Any]:
    """Measure.

    Parameters
    ----------
    folder
        For the server's store and socket.
    seconds
        How long the good clients run beside the attackers.
    good, attackers
        Number of clients of each kind.
    pause
        Seconds between the calls of one good client.
    only
        Name of the only image that the attackers send, one of `support.hostile_images.ATTACKS`; empty for all attacks.

    Returns
    -------
    ``alone`` and ``beside``: the times in ms. ``start`` and ``end``: what the server holds. ``answers``: to attackers.
    """
    with serving(folder) as (server, ways):
        call = in_turn([ways[TCP], ways[FORM], ways[SUBMIT]])
        run_clients(call, good, during(min(5.0, seconds * _ALONE)), new_every=1)  # so that all processes have started
        start = resources(server.pid)
        alone = run_clients(call, good, during(seconds * _ALONE), new_every=1, pause=pause)
        attack = Attack(server.address, server.http_address, attackers=attackers, only=only)
        with attack:
            beside = run_clients(call, good, during(seconds), new_every=1, pause=pause)
        run_clients(call, good, during(min(5.0, seconds * _ALONE)), new_every=1)  # until nothing of the attack runs
        end = resources(server.pid)
    return {"alone": alone, "beside": beside, "start": start, "end": end, "answers": dict(attack.answers)}


def describe(load: Load) -> str:
    """Format the times of the good clients."""
    return (
        f"{load['n']} calls, {load['per_second']:.1f} per second, p50 {load['median']:.0f} ms, "
        f"p99 {load['p99']:.0f} ms, longest {load['longest']:.0f} ms, {load['errors']} errors"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="time beside the attackers (default: %(default)s)")
    parser.add_argument("--good", type=int, default=8, help="good clients (default: %(default)s)")
    parser.add_argument("--attackers", type=int, default=1, help="attackers (default: %(default)s)")
    parser.add_argument(
        "--pause", type=float, default=0.0, help="seconds between the calls of a good client (default: 0)"
    )
    parser.add_argument("--only", default="", help="attack with this image alone, such as png-rgba16-50mp")
    arguments = parser.parse_args()
    print(summary(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        figures = soak(
            Path(folder),
            seconds=60 * arguments.minutes,
            good=arguments.good,
            attackers=arguments.attackers,
            pause=arguments.pause,
            only=arguments.only,
        )
    alone, beside = figures["alone"], figures["beside"]
    ratio = beside["p99"] / alone["p99"]
    print(f"alone:  {describe(alone)}\nbeside: {describe(beside)}")
    print(f"p99 is {ratio:.2f} times as long; at most {MOST_TIMES_AS_LONG:g} is right")
    for moment in ("start", "end"):
        print(f"{moment}: {', '.join(f'{name} {value}' for name, value in figures[moment].items())}")
    print(f"answers to the attackers: {figures['answers']}")
    sys.exit(ratio > MOST_TIMES_AS_LONG or alone["errors"] + beside["errors"] > 0)


if __name__ == "__main__":
    main()
