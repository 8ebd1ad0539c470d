"""Calls that come when they come, whether or not the server keeps up: the model, the simulation and a real server.

First each server is measured alone: how long a pass takes over 1 to 16 prompts, on a new photo and on a cached one, and
what a call costs besides. From that `capacity.py` says how long calls will take at several rates, and `simulation.py`
plays it through. Then a real `automask serve` gets calls at those rates from real gRPC clients, at moments drawn from a
Poisson process, and every second photo is new. Clients and server share the cores, which the model does not know.
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
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from capacity import HOSTED_PER_CALL, Pass, Queue, Work, measured, needed, planned, sped_up
from harness.machine import THREADS
from harness.photos import PROMPTS as WORDS
from harness.photos import photo, unseen
from harness.simulation import Route, System, repeated, simulate, zipf
from harness.turns import digits, table
from harness.workplace import Workplace
from questions.writes import TRANSACTIONS
from support.server_process import ServerProcess

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PHOTO = photo(1200, 800, least_bytes=290_000)
PROMPTS = (1, 2, 4, 8, 16)
HITS = 0.5
BUSY = (0.3, 0.6, 0.8)
CHECKED = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
SERVERS = (1, 2, 8, 64)
ROUTES: tuple[Route, ...] = ("one queue", "two choices", "random")
KINDS: tuple[tuple[Route, int], ...] = (("two choices", 1), ("sticky", 1), ("sticky", 16))
PHOTOS, CACHED = 2000, 200
PRICE = 0.085
"""Dollars an hour of two threads at a large provider, to compute with; put in your own."""
RATES = (1, 10, 100, 1_000, 100_000)
_CHANNELS = 4
SETUPS = {"one worker": (1, THREADS), "a worker for each thread": (THREADS, 1)}
"""How many workers, and the threads of each."""


def asked(prompts: int) -> list[str]:
    """Give so many prompts that all find something, and so take their share of the work."""
    return [WORDS[number % len(WORDS)] for number in range(prompts)]


def message(image: bytes, prompts: Sequence[str]) -> messages.GenerateRequest:
    """Ask for the masks as PNG."""
    return messages.GenerateRequest(task=mask_pb2.MaskTask(image=mask_pb2.Image(encoded=image), prompts=prompts))


def calibrate(stub: MaskServiceStub, many: Sequence[int], rounds: int) -> dict[str, Any]:
    """Measure passes, one call at a time, with the clock of the server; what the client waits for besides is `call`."""
    seconds: dict[str, dict[int, list[float]]] = {kind: {number: [] for number in many} for kind in ("new", "cached")}
    besides = []
    for turn in range(-1, rounds):
        for number in many:
            for kind, image in (("new", unseen(PHOTO)), ("cached", PHOTO)):
                started = perf_counter()
                timings = stub.Generate(message(image, asked(number))).response.timings
                took = perf_counter() - started
                if turn >= 0:
                    seconds[kind][number].append(timings.inference_ms / 1e3)
                    besides.append(took - timings.inference_ms / 1e3)
    return {
        **{kind: _rounded(Pass.fitted(times), times) for kind, times in seconds.items()},
        "call": round(median(besides), 6),
    }


def _rounded(fitted: Pass, times: dict[int, list[float]]) -> dict[str, Any]:
    spread = [round(float(one), 4) for one in np.quantile(fitted.factors, np.linspace(0.025, 0.975, 20))]
    return {
        "fixed": round(fitted.fixed, 6),
        "each": round(fitted.each, 6),
        "factors": [round(one / mean(spread), 4) for one in spread],
        "by_prompts": {str(number): round(mean(seconds), 6) for number, seconds in times.items()},
    }


def offer(address: str, rate: float, calls: int, hits: float, seed: int) -> dict[str, float]:
    """Call at random moments without waiting for answers; seconds as clients see them, from the planned moment on."""
    random, answered = Random(seed), Semaphore(0)  # noqa: S311 (arrivals, no secrets)
    latencies, waits, passes, errors = [], [], [], []
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.insecure_channel(address, options) for _ in range(_CHANNELS)]
    stubs = [MaskServiceStub(channel) for channel in channels]
    moment = perf_counter()
    for number in range(calls):
        moment += random.expovariate(rate)
        request = message(PHOTO if random.random() < hits else unseen(PHOTO), asked(1))
        time.sleep(max(0.0, moment - perf_counter()))

        def done(call: Any, moment: float = moment) -> None:  # noqa: ANN401 (grpc's future has no public type)
            latencies.append(perf_counter() - moment)
            if call.code() is grpc.StatusCode.OK:
                waits.append(call.result().response.timings.queue_ms / 1e3)
                passes.append(call.result().response.timings.inference_ms / 1e3)
            else:
                errors.append(call.code())
            answered.release()

        stubs[number % _CHANNELS].Generate.future(request, timeout=120).add_done_callback(done)
    for _ in range(calls):
        answered.acquire()
    for channel in channels:
        channel.close()
    p50, p95 = np.percentile(latencies, [50, 95])
    seen = {"p50": p50, "p95": p95, "wait": mean(waits or [0.0]), "pass": mean(passes or [0.0]), "errors": len(errors)}
    return {name: round(float(figure), 6) for name, figure in seen.items()}


def setup(folder: Path, workers: int, threads: int, workplace: Workplace) -> dict[str, Any]:
    """Measure one server alone, and then under load."""
    options = ("--port", 0, "--store", folder / f"{workers}.sqlite3", "--workers", workers, "--threads", threads)
    with ServerProcess(*options, "--max-batch", 1) as server:
        with grpc.insecure_channel(server.address) as channel:
            alone = calibrate(MaskServiceStub(channel), workplace.pick(PROMPTS, PROMPTS[:2]), workplace.pick(12, 2))
        work, points = measured(alone, hits=HITS), []
        for seed, busy in enumerate(BUSY if not workplace.quick else BUSY[:1]):
            rate = busy * workers / work.mean
            calls = max(workplace.pick(100, 10), round(rate * workplace.pick(60, 0)))
            seen = offer(server.address, rate, calls, HITS, seed)
            as_loaded = sped_up(work, work.mean / seen["pass"])
            points.append(
                {
                    "busy": busy,
                    "rate": round(rate, 4),
                    "model": _said(Queue(rate, work, workers)),
                    "simulation": _played(System(rate, work, workers), workplace),
                    "measured": seen,
                    "model of those passes": _said(Queue(rate, as_loaded, workers)),
                }
            )
        server.end()
    return {"workers": workers, "threads": threads, **alone, "points": points}


def _said(queue: Queue) -> dict[str, float]:
    return {"p50": round(queue.latency(0.5), 6), "p95": round(queue.latency(0.95), 6), "wait": round(queue.wait, 6)}


def _played(system: System, workplace: Workplace) -> dict[str, float]:
    """Play it through, with the standard error of the wait relative to it."""
    outcome, error = repeated(system, calls=workplace.pick(40_000, 500), runs=workplace.pick(8, 2))
    return {name: round(figure, 6) for name, figure in {**asdict(outcome), "error": error}.items()}


def checked(work: Work, workplace: Workplace) -> list[dict[str, Any]]:
    """Compare model and simulation over utilisations and numbers of servers."""
    found = []
    for servers in SERVERS[: workplace.pick(None, 2)]:
        for busy in CHECKED:
            rate = busy * servers / work.mean
            queue = Queue(rate, work, servers)
            played = _played(System(rate, work, servers), workplace)
            found.append({"servers": servers, "busy": busy, "model": _said(queue), "simulation": played})
    return found


def routed(work: Work, workplace: Workplace) -> list[dict[str, Any]]:
    """See what the model leaves out: a queue each for eight replicas instead of one before all."""
    return [
        {"busy": busy, "route": route, **_played(System(busy * 8 / work.mean, work, 8, route), workplace)}
        for busy in (0.5, 0.7, 0.9)
        for route in ROUTES
    ]


def sticky(work: Work, workplace: Workplace) -> list[dict[str, Any]]:
    """See what it gives to send calls to the replica that holds their photo, and to answer those that wait together."""
    rows = []
    for servers in (1, 2, 4, 8, 16):
        rate = 0.7 * servers / replace(work, hits=HITS).mean
        system = System(rate, work, servers, photos=zipf(PHOTOS), cache=CACHED)
        for route, most in KINDS:
            played = simulate(replace(system, route=route, max_batch=most), calls=workplace.pick(60_000, 500))
            rows.append({"servers": servers, "route": route, "max_batch": most, **asdict(played)})
    return rows


def measure(workplace: Workplace) -> dict[str, Any]:
    """Measure servers, then compare with them what can be computed."""
    folder = workplace.folder / "capacity"
    folder.mkdir()
    chosen = list(SETUPS.items())[: workplace.pick(None, 1)]
    setups = {name: setup(folder, *how, workplace) for name, how in chosen}
    work = measured(next(iter(setups.values())), hits=HITS)
    return {
        "photo_bytes": len(PHOTO),
        "hits": HITS,
        "setups": setups,
        "checked": checked(work, workplace),
        "routed": routed(work, workplace),
        "sticky": sticky(work, workplace),
    }


def markdown(figures: dict[str, Any]) -> str:
    """Lay out what `measure` gave."""
    parts = (_alone, _loaded, _plans, _breaks, _checks, _routes, _caches)
    return "\n".join(part(figures) for part in parts)


def _alone(figures: dict[str, Any]) -> str:
    rows = [
        [f"{name}, {kind} photo", *(digits(1e3 * seconds) for seconds in one["by_prompts"].values()), _line(one)]
        for name, alone in figures["setups"].items()
        for kind, one in ((kind, alone[kind]) for kind in ("new", "cached"))
    ]
    many = next(iter(figures["setups"].values()))
    columns = ["a pass alone, ms, by prompts", *many["new"]["by_prompts"], "fitted, ms"]
    besides = " and ".join(digits(1e3 * alone["call"]) for alone in figures["setups"].values())
    work = measured(many)
    gains = (
        f"{digits(work.new.gain(16))} times as many masks a second from a new photo, {digits(work.cached.gain(16))} "
    )
    return (
        table(columns, rows) + f"\nBesides the pass a call takes {besides} ms. Passes of 16 prompts give {gains}"
        "times as many from a cached one.\n"
    )


def _line(one: dict[str, Any]) -> str:
    return f"{digits(1e3 * one['fixed'])} + {digits(1e3 * one['each'])} × prompts"


def _ms(said: dict[str, float]) -> str:
    return " / ".join(digits(1e3 * said[name]) for name in ("wait", "p50", "p95"))


def _loaded(figures: dict[str, Any]) -> str:
    kinds = ("model", "simulation", "measured", "model of those passes")
    rows = [
        [f"{name}, {digits(point['rate'])}", f"{point['busy']:.0%}", *(_ms(point[kind]) for kind in kinds)]
        for name, one in figures["setups"].items()
        for point in one["points"]
    ]
    errors = sum(point["measured"]["errors"] for one in figures["setups"].values() for point in one["points"])
    return (
        table(["ms: mean wait / p50 / p95; calls/s", "busy", *kinds], rows)
        + f"\nEvery second photo is new; {errors:.0f} errors. The last column is the model once more, with the mean "
        "pass as the server measured it under this load.\n"
    )


def _plans(figures: dict[str, Any]) -> str:
    alone = next(iter(figures["setups"].values()))
    queues = [needed(rate, measured(alone, hits=hits)) for hits in (0.0, 0.9) for rate in RATES]
    return planned(queues, PRICE) + f"\nAt ${PRICE} an hour; the hosted API: ${1e6 * HOSTED_PER_CALL:,.0f}.\n"


def _breaks(figures: dict[str, Any]) -> str:
    """Compute what grows with the rate besides the servers."""
    alone, photo_bytes = next(iter(figures["setups"].values())), figures["photo_bytes"]
    work = measured(alone, hits=figures["hits"])
    rows = [
        [
            f"{rate:,}",
            f"{rate * photo_bytes / 1e6:,.0f} MB/s",
            f"{rate * TRANSACTIONS:,}",
            digits(rate * work.call),
            f"{needed(rate, work).servers:,}",
            f"{needed(rate, sped_up(work, 20)).servers:,}",
        ]
        for rate in (10, 1_000, 100_000)
    ]
    columns = [
        "requests/s",
        "photos in",
        "transactions/s, if submitted",
        "cores for calls",
        "servers as measured",
        "servers 20 times as fast",
    ]
    return table(columns, rows)


def _checks(figures: dict[str, Any]) -> str:
    rows = []
    for servers in dict.fromkeys(one["servers"] for one in figures["checked"]):
        mine = [one for one in figures["checked"] if one["servers"] == servers]
        rows += [[f"{servers}: {name}", *(_error(one, name) for one in mine)] for name in ("wait", "p95")]
    head = ["model against simulation", *(f"{busy:.0%}" for busy in CHECKED)]
    return table(head, rows)


def _error(one: dict[str, Any], name: str) -> str:
    ours, played = one["model"][name], one["simulation"][name]
    if name == "wait" and played < 1e-4:
        return "under 0.1 ms"
    spread = f" ± {2 * one['simulation']['error']:.1%}" if name == "wait" else ""
    return f"{ours / played - 1:+.1%}{spread}"


def _routes(figures: dict[str, Any]) -> str:
    rows = [
        [route, *(_ms(one) for one in figures["routed"] if one["route"] == route)]
        for route in dict.fromkeys(one["route"] for one in figures["routed"])
    ]
    return table(["8 replicas, simulated; ms: mean wait / p50 / p95", "50%", "70%", "90%"], rows)


def _caches(figures: dict[str, Any]) -> str:
    numbers = list(dict.fromkeys(one["servers"] for one in figures["sticky"]))
    rows = [
        [
            f"{route}, passes of up to {most}" if most > 1 else route,
            *(
                f"{one['hits']:.0%}; {digits(1e3 * one['p95'])}"
                for one in figures["sticky"]
                if (one["route"], one["max_batch"]) == (route, most)
            ),
        ]
        for route, most in KINDS
    ]
    return table(["simulated: passes on a cached photo; p95, ms", *(f"{number} replicas" for number in numbers)], rows)


def draw(sheet: Figure, figures: dict[str, Any]) -> None:
    """Draw latency by rate for each server, and how far the model is from the simulation."""
    axes = sheet.subplots(1, 3)
    for axis, (name, one) in zip(axes, figures["setups"].items(), strict=False):
        work = measured(one, hits=figures["hits"])
        most = 0.92 * one["workers"] / work.mean
        rates = [most * number / 40 for number in range(1, 41)]
        for quantile, colour in ((0.5, "#0b6e4f"), (0.95, "#b23a48")):
            latencies = [1e3 * Queue(rate, work, one["workers"]).latency(quantile) for rate in rates]
            axis.plot(rates, latencies, color=colour, label=f"p{quantile * 100:.0f}: model")
            for kind, mark in (("simulation", "x"), ("measured", "o")):
                points = [(point["rate"], 1e3 * point[kind][f"p{quantile * 100:.0f}"]) for point in one["points"]]
                axis.plot(*zip(*points, strict=True), mark, color=colour, label=f"p{quantile * 100:.0f}: {kind}")
        axis.set_title(f"{name}: latency, ms", loc="left")
        axis.set_xlabel("calls/s, every second photo new")
        axis.legend(frameon=False)
    for servers in dict.fromkeys(one["servers"] for one in figures["checked"]):
        mine = [one for one in figures["checked"] if one["servers"] == servers]
        errors = [100 * (one["model"]["p95"] / one["simulation"]["p95"] - 1) for one in mine]
        axes[2].plot([100 * one["busy"] for one in mine], errors, "o-", label=f"{servers} server{'s' * (servers > 1)}")
    axes[2].axhline(0, color="#8d99ae", linewidth=0.8)
    axes[2].set_title("p95: model against simulation, %", loc="left")
    axes[2].set_xlabel("utilisation, %")
    axes[2].legend(frameon=False)
