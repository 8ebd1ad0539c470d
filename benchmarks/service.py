"""The service beside the library: what a call costs more, what many clients get, and whether memory stays flat.

A real `automask serve` with the embedded model in a process of its own, clients in this one, both on the same cores.
The library does the same work (decode, mask, PNG) in this process, in as many threads as the server has workers;
library and server take turns within one run. The photo is `examples/coffee.jpg`, enlarged to some 300 KB; a few bytes
after the end of the picture make it new where it shall not be in the cache.

Needs `pip install 'automask[cpu,service]'`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from PIL import Image

import automask
import machine
from automask.service import Client
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from server_process import ServerProcess

WORKERS = int(machine.describe()["processor"].split()[-2])
PROMPTS = ("cup", "dining table", "spoon", "bowl")
CLIENTS = (1, 2, 4, 8, 16, 32, 64)
TARGETS = {"Generate adds, ms": 3.0, "Submit adds, ms": 15.0, "throughput with 16 clients": 0.95}

Ask = Callable[[bytes, str], object]


def photo() -> bytes:
    """Give a JPEG of 1200×800 pixels and about 300 KB."""
    source = Image.open(Path(__file__).parents[1] / "examples" / "coffee.jpg").resize((1200, 800))
    for quality in range(80, 101):
        file = io.BytesIO()
        source.save(file, "JPEG", quality=quality)
        if file.tell() > 290_000:
            break
    return file.getvalue()


PHOTO = photo()


def new_photos() -> Iterator[bytes]:
    """Give the same picture again and again, never the same file."""
    return (PHOTO + number.to_bytes(8, "big") for number in count())


NEW = new_photos()


def task(data: bytes, prompt: str) -> mask_pb2.MaskTask:
    """Ask for the mask as a PNG, with every parameter left at its default."""
    return mask_pb2.MaskTask(image=mask_pb2.Image(encoded=data), prompts=[prompt])


def through(stub: MaskServiceStub) -> Ask:
    """Ask with `Generate`."""
    return lambda data, prompt: stub.Generate(messages.GenerateRequest(task=task(data, prompt)))


def submitting(stub: MaskServiceStub) -> Ask:
    """Ask with `Submit`, and wait for the result."""

    def ask(data: bytes, prompt: str) -> object:
        request_id = stub.Submit(messages.SubmitRequest(task=task(data, prompt))).status.request_id
        return stub.GetResult(messages.GetResultRequest(request_id=request_id, wait=Duration(seconds=60)))

    return ask


def quantiles(seconds: list[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds."""
    ordered = sorted(seconds)
    return {f"p{q}": round(1e3 * ordered[min(len(ordered) - 1, len(ordered) * q // 100)], 2) for q in (50, 95, 99)}


def latency(ways: dict[str, Ask], repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """Ask one after the other, each way in turn, and give quantiles by workload and way."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, fresh, rounds in (("cached photo", False, repeats), ("new photo", True, max(1, repeats // 10))):
        times: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(-5, rounds):
            for way, ask in ways.items():
                data, prompt = next(NEW) if fresh else PHOTO, PROMPTS[number % len(PROMPTS)]
                start = perf_counter()
                ask(data, prompt)
                if number >= 0:
                    times[way].append(perf_counter() - start)
        found[name] = {way: quantiles(one) for way, one in times.items()}
    return found


def flood(ask: Ask, clients: int, total: int, *, fresh: bool) -> dict[str, Any]:
    """Ask `total` times from so many threads at once."""
    numbers, lock = iter(range(total)), threading.Lock()
    times: list[float] = []
    errors: list[str] = []

    def client() -> None:
        while True:
            with lock:
                number = next(numbers, None)
                data = next(NEW) if fresh else PHOTO
            if number is None:
                return
            start = perf_counter()
            try:
                ask(data, PROMPTS[number % len(PROMPTS)])
            except (grpc.RpcError, automask.AutomaskError) as error:
                errors.append(str(error))
            times.append(perf_counter() - start)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    start = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = perf_counter() - start
    return {"per_second": round(total / seconds, 2), **quantiles(times), "errors": len(errors)}


def load(library: Ask, server: Ask, total: int, rounds: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Many clients at once, beside the library in `WORKERS` threads; medians over rounds."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, fresh, number in (("cached photo", False, total), ("new photos", True, max(CLIENTS) + total // 10)):
        runs: dict[str, list[dict[str, Any]]] = {}
        for _ in range(rounds):
            runs.setdefault("library", []).append(flood(library, WORKERS, number, fresh=fresh))
            for clients in CLIENTS:
                one = flood(server, clients, number, fresh=fresh)
                runs.setdefault(f"{clients} clients", []).append(one)
        found[name] = {
            way: {
                key: sum(r[key] for r in ran) if key == "errors" else round(median(r[key] for r in ran), 2)
                for key in ran[0]
            }
            for way, ran in runs.items()
        }
    return found


def batching(folder: Path, total: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Ask for a cached photo from 16 and from 2 clients: without batches, with them, and with a wait for them."""
    kinds = {
        "no batches": ("--max-batch", 1),
        "batches (default)": (),
        "batches, 3 ms wait": ("--batch-wait-ms", 3),
    }
    runs: dict[str, list[dict[str, Any]]] = {}
    with ExitStack() as servers:
        asks = {}
        for number, (kind, more) in enumerate(kinds.items()):
            uds = folder / f"{number}.sock"
            options = ["--port", 0, "--uds", uds, "--store", folder / f"{number}.sqlite3", "--workers", WORKERS, *more]
            servers.enter_context(ServerProcess(*options))
            asks[kind] = through(MaskServiceStub(grpc.insecure_channel(f"unix:{uds}")))
            asks[kind](PHOTO, PROMPTS[0])
        for clients in [16, 2] * rounds:
            for kind, ask in asks.items():
                runs.setdefault(f"{kind}, {clients} clients", []).append(flood(ask, clients, total, fresh=False))
    return {kind: {key: median(run[key] for run in ran) for key in ran[0]} for kind, ran in runs.items()}


def resident(pid: int) -> float:
    """Megabytes of memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def soak(ways: dict[str, Ask], pid: int, total: int) -> dict[str, Any]:
    """Ask `total` times from 8 threads, half of the time each way, and watch the server's memory."""
    memory = [resident(pid)]
    seconds = 0.0
    for _ in range(10):
        for ask in ways.values():
            start = perf_counter()
            flood(ask, 8, total // 10 // len(ways), fresh=False)
            seconds += perf_counter() - start
        memory.append(resident(pid))
        print(f"  {memory[-1]} MB", file=sys.stderr)
    return {"requests": total, "seconds": round(seconds, 1), "megabytes": memory}


def verdicts(figures: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Set what was measured beside what was aimed at."""
    cached = figures["latency"]["cached photo"]
    many = figures["load"]["new photos"]
    met = {
        "Generate adds, ms": cached["Generate, TCP"]["p50"] - cached["library"]["p50"],
        "Submit adds, ms": cached["Submit → result"]["p50"] - cached["library"]["p50"],
        "throughput with 16 clients": many["16 clients"]["per_second"] / many["library"]["per_second"],
    }
    return {name: {"target": TARGETS[name], "measured": round(value, 2)} for name, value in met.items()}


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run everything against one server."""
    uds = folder / "automask.sock"
    options = ["--port", 0, "--uds", uds, "--store", folder / "requests.sqlite3", "--workers", WORKERS]
    segmenter = automask.load(device="cpu")

    def library(data: bytes, prompt: str) -> object:
        return segmenter.mask(data, prompt).output

    with ServerProcess(*options, "--log-level", "info", *arguments.option) as server:
        tcp = MaskServiceStub(grpc.insecure_channel(server.address))
        unix = MaskServiceStub(grpc.insecure_channel(f"unix:{uds}"))
        client = Client(f"unix:{uds}")
        ways = {
            "library": library,
            "Generate, TCP": through(tcp),
            "Generate, Unix socket": through(unix),
            "Client.mask, Unix socket": lambda data, prompt: client.mask(data, prompt).mask,
            "Submit → result": submitting(unix),
        }
        figures: dict[str, Any] = {"machine": machine.describe(), "photo_bytes": len(PHOTO)}
        print("latency …", file=sys.stderr)
        figures["latency"] = latency(ways, arguments.repeats)
        print("load …", file=sys.stderr)
        figures["load"] = load(library, through(unix), arguments.repeats, arguments.rounds)
        print("soak …", file=sys.stderr)
        asked = {"generate": through(unix), "submit": submitting(unix)}
        figures["soak"] = soak(asked, server.pid, arguments.soak)
        server.end()
    print("batching …", file=sys.stderr)
    figures["batching"] = batching(folder, arguments.repeats, arguments.rounds)
    figures["targets"] = verdicts(figures)
    return figures


def table(rows: dict[str, dict[str, Any]], first: str) -> str:
    """Lay rows out in Markdown."""
    columns = list(next(iter(rows.values())))
    lines = [f"| {first} | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    lines += [f"| {name} | {' | '.join(str(row[column]) for column in columns)} |" for name, row in rows.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=300, help="calls for each figure (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the load table (default: %(default)s)")
    parser.add_argument("--soak", type=int, default=10_000, help="calls of the soak (default: %(default)s)")
    parser.add_argument("--option", action="append", default=[], help="more for `automask serve`, as --option=--x=y")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), arguments)
    print(f"{machine.line()}; JPEG of {len(PHOTO):,} bytes, {WORKERS} workers\n")
    for name, rows in figures["latency"].items():
        print(table(rows, f"one at a time, {name}, ms"))
    for name, rows in figures["load"].items():
        print(table(rows, f"at once, {name}; library in {WORKERS} threads"))
    print(table(figures["batching"], "at once, cached photo"))
    soaked = figures["soak"]
    print(f"{soaked['requests']:,} requests in {soaked['seconds']} s; server's memory, MB: {soaked['megabytes']}\n")
    print(table(figures["targets"], "target"))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
