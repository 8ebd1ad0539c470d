"""The service beside the library: what each way to call it adds to a call, and what many clients get at once.

A real `automask serve` with the embedded model runs in its own process, the clients in this one, both on the same
cores. The library does the same work (decode, mask, PNG) in this process, in as many threads as the server has workers.
Library and server take turns within one run. The photo has 1200×800 pixels and some 300 KB.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import automask
from harness.load import PHOTO, Load, during, first, run_clients
from harness.machine import THREADS
from harness.options import RunOptions
from harness.photos import PROMPTS, unseen
from harness.service_calls import FORM, SUBMIT, TCP, UNIX, Call, serving
from harness.tables import digits, format_spread, table, with_target
from harness.timing import Contender, Spread, time_in_turns

CLIENTS = (1, 2, 4, 8, 16, 32, 64)
LIBRARY = "library, JPEG to PNG"
BATCHES = {"--max-batch 1": ("--max-batch", 1), "--max-batch 16": (), "16, 3 ms wait": ("--batch-wait-ms", 3)}


def measure(options: RunOptions) -> dict[str, Any]:
    """Measure latency, load, memory over time, and batching."""
    segmenter = automask.load(device="cpu")
    pick, folder = options.pick, options.folder / "service"
    with serving(folder, "--workers", THREADS) as (server, calls):
        calls[LIBRARY] = lambda photo, prompt: segmenter.mask(photo, prompt).output
        figures: dict[str, Any] = {
            "photo_bytes": len(PHOTO),
            "workers": THREADS,
            "latency": latency(calls, *pick((300, 5), (1, 0))),
            "load": throughput(calls, pick(CLIENTS, (1, 2)), pick(300, 2), pick(3, 1)),
            "soak": soak(calls, server.pid, pick(600, 0), pick(8, 1)),
        }
    return {**figures, "batching": batching(folder, pick(list(BATCHES), list(BATCHES)[-1:]), pick(300, 16), pick(3, 1))}


def latency(calls: Mapping[str, Call], rounds: int, warm: int) -> dict[str, dict[str, Spread]]:
    """Time single calls, each way in turn, on a cached photo and on new ones."""
    found = {}
    for name, is_new, number in (("cached photo", False, rounds), ("new photo", True, max(1, rounds // 10))):
        contenders: dict[str, Contender] = {
            way: lambda turn, call=call, is_new=is_new: call(  # type: ignore[misc]
                unseen(PHOTO) if is_new else PHOTO, PROMPTS[turn % len(PROMPTS)]
            )
            for way, call in calls.items()
        }
        found[name] = time_in_turns(contenders, number, warm=warm)
    return found


def throughput(
    calls: Mapping[str, Call], clients: tuple[int, ...], number: int, rounds: int
) -> dict[str, dict[str, Load]]:
    """Load each way with more and more clients, beside the library in as many threads as the server has workers."""
    found: dict[str, dict[str, Load]] = {}
    for name, new_every, total in (("cached photo", 0, number), ("new photos", 1, max(clients) + number // 10)):
        runs: dict[str, list[Load]] = {}
        for _ in range(rounds):
            load = run_clients(calls[LIBRARY], THREADS, first(total), new_every=new_every)
            runs.setdefault(LIBRARY, []).append(load)
            for many in clients:
                for way in (UNIX, FORM):
                    load = run_clients(calls[way], many, first(total), new_every=new_every)
                    runs.setdefault(f"{way}, {many}", []).append(load)
        found[name] = {way: _median_load(loads) for way, loads in runs.items()}
    return found


def batching(folder: Path, kinds: Sequence[str], number: int, rounds: int) -> dict[str, Load]:
    """Load a cached photo with 16 and with 2 clients: without batches, with them, and with a wait to fill them."""
    runs: dict[str, list[Load]] = {}
    with ExitStack() as servers:
        calls = {}
        for index, kind in enumerate(kinds):
            _, ways = servers.enter_context(serving(folder / str(index), "--workers", THREADS, *BATCHES[kind]))
            calls[kind] = ways[UNIX]
            calls[kind](PHOTO, PROMPTS[0])
        for clients in [16, 2] * rounds:
            for kind, call in calls.items():
                load = run_clients(call, clients, first(number), new_every=0)
                runs.setdefault(f"{kind}, {clients}", []).append(load)
    return {kind: _median_load(loads) for kind, loads in runs.items()}


def _median_load(loads: list[Load]) -> Load:
    """Return the median of each figure, and the sum of the errors."""
    middle = {key: round(median(one[key] for one in loads), 3) for key in loads[0]}
    return middle | {"errors": sum(one["errors"] for one in loads)}


def soak(calls: Mapping[str, Call], pid: int, seconds: float, clients: int) -> list[dict[str, Any]]:
    """Load with some clients for a long time, in ten spans; each way in turn, and every tenth photo is new."""
    spans = []
    for _ in range(10):
        span: dict[str, Any] = {"ms": {}}
        for way in (UNIX, FORM, SUBMIT):
            span["ms"][way] = run_clients(calls[way], clients, during(seconds / 30), new_every=10)
        spans.append({**span, "megabytes": _resident_megabytes(pid)})
    return spans


def _resident_megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    return "\n".join((_latency(figures), _throughput(figures), _batching(figures["batching"]), _soak(figures["soak"])))


def _latency(figures: dict[str, Any]) -> str:
    cached, new = figures["latency"].values()
    ways = [LIBRARY, *(way for way in cached if way != LIBRARY)]
    rows = [[way, *(f"{format_spread(ms[way])}; {digits(ms[way]['p99'])}" for ms in (cached, new))] for way in ways]
    added = {way: cached[way]["median"] - cached[LIBRARY]["median"] for way in (TCP, SUBMIT)}
    head = (
        f"**The service beside the library** (a real server and its clients on the same cores, JPEG of 1200×800 and "
        f"{figures['photo_bytes'] // 1000} KB, embedded model, milliseconds: median (quartiles); p99)\n\n"
    )
    return (
        head
        + table(["one at a time", "cached photo", "new photo"], rows)
        + f"\nMilliseconds more than the library: a call {with_target(added[TCP], 3, at_least=False)}, "
        f"a request that is stored on disk {with_target(added[SUBMIT], 15, at_least=False)}.\n"
    )


def _throughput(figures: dict[str, Any]) -> str:
    loads: dict[str, dict[str, Load]] = figures["load"]
    rows, errors = [], sum(one["errors"] for ways in loads.values() for one in ways.values())
    clients = sorted({int(way.rpartition(", ")[2]) for way in loads["cached photo"] if way != LIBRARY})
    for photos, ways in loads.items():
        library = ways[LIBRARY]["per_second"]
        for way in (UNIX, FORM):
            per_second = (ways[f"{way}, {many}"]["per_second"] for many in clients)
            rows.append([f"{photos}, {way}", digits(library), *map(digits, per_second)])
    new = loads["new photos"]
    share = new[f"{UNIX}, {min(16, clients[-1])}"]["per_second"] / new[LIBRARY]["per_second"]
    columns = [
        "masks per second",
        f"library, {figures['workers']} threads",
        *(f"{many} client{'s' * (many > 1)}" for many in clients),
    ]
    return (
        table(columns, rows) + "\nFrom 16 clients, new photos over a Unix socket get "
        f"{with_target(share, 0.95, at_least=True)} of the library's throughput. Errors in total: {errors}.\n"
    )


def _batching(loads: dict[str, Load]) -> str:
    rows = [
        [kind, *(digits(loads[f"{kind}, {many}"]["per_second"]) for many in (16, 2))]
        for kind in BATCHES
        if f"{kind}, 2" in loads
    ]
    return table(["masks per second, cached photo", "16 clients", "2 clients"], rows)


def _soak(spans: list[dict[str, Any]]) -> str:
    first, last = spans[0], spans[-1]
    requests = sum(load["n"] for span in spans for load in span["ms"].values())
    errors = sum(load["errors"] for span in spans for load in span["ms"].values())
    rows = [
        [way, *(f"{digits(span['ms'][way]['median'])}; {digits(span['ms'][way]['p99'])}" for span in (first, last))]
        for way in first["ms"]
    ]
    memory = [span["megabytes"] for span in spans]
    return (
        table(["soak, 8 clients, every tenth photo new: ms, median; p99", "first tenth", "last tenth"], rows)
        + f"\n{requests:,} requests, {errors} errors; the server's memory after each tenth: "
        f"{', '.join(f'{one:.0f}' for one in memory)} MB.\n"
    )
