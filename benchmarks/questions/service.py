"""The service beside the library: what a call costs more over each way, and what many clients get at once.

A real `automask serve` with the embedded model in a process of its own, clients in this one, both on the same cores.
The library does the same work (decode, mask, PNG) in this process, in as many threads as the server has workers;
library and server take turns within one run. The photo has 1200×800 pixels and some 300 KB.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import grpc
import httpx
from google.protobuf.duration_pb2 import Duration

import automask
from automask.service import Client
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from harness.machine import THREADS
from harness.photos import PROMPTS, photo, unseen
from harness.turns import Spread, by_turns, digits, show, spread, table, target
from harness.workplace import Workplace
from support.server_process import ServerProcess

PHOTO = photo(1200, 800, least_bytes=290_000)
CLIENTS = (1, 2, 4, 8, 16, 32, 64)
LIBRARY, TCP, UNIX, CLIENT = "library, JPEG to PNG", "`Generate`, TCP", "`Generate`, Unix socket", "`Client.mask`, Unix"
FORM, JSON, SUBMIT = "HTTP v1, multipart", "HTTP v1, JSON", "`Submit`, then `GetResult`"
BATCHES = {"--max-batch 1": ("--max-batch", 1), "--max-batch 16": (), "16, 3 ms wait": ("--batch-wait-ms", 3)}

Ask = Callable[[bytes, str], object]
Load = dict[str, Any]
"""Masks `per_second`, the spread of their milliseconds, and how many `errors` there were."""


def task(data: bytes, prompt: str) -> mask_pb2.MaskTask:
    """Ask for the mask as a PNG, with every parameter left at its default."""
    return mask_pb2.MaskTask(image=mask_pb2.Image(encoded=data), prompts=[prompt])


def through(target_address: str) -> Ask:
    """Ask with `Generate`."""
    stub = MaskServiceStub(grpc.insecure_channel(target_address))
    return lambda data, prompt: stub.Generate(messages.GenerateRequest(task=task(data, prompt)))


def submitting(target_address: str) -> Ask:
    """Ask with `Submit`, and wait for the result."""
    stub = MaskServiceStub(grpc.insecure_channel(target_address))

    def ask(data: bytes, prompt: str) -> object:
        request_id = stub.Submit(messages.SubmitRequest(task=task(data, prompt))).status.request_id
        return stub.GetResult(messages.GetResultRequest(request_id=request_id, wait=Duration(seconds=60)))

    return ask


def posting(http: httpx.Client, *, form: bool) -> Ask:
    """Ask as one asks the hosted API: with an uploaded file, or with the photo as base64 in JSON."""

    def ask(data: bytes, prompt: str) -> object:
        if form:
            body: dict[str, Any] = {"data": {"prompt": prompt}, "files": {"image": ("photo.jpg", data, "image/jpeg")}}
        else:
            body = {"json": {"prompt": prompt, "image": base64.b64encode(data).decode("ascii")}}
        return http.post("/v1/automatic-mask-generator", **body).raise_for_status().content

    return ask


@contextmanager
def serving(folder: Path, *options: object, device: str = "cpu") -> Iterator[tuple[ServerProcess, dict[str, Ask]]]:
    """Serve, and give every way to ask."""
    uds = folder / "automask.sock"
    folder.mkdir(parents=True, exist_ok=True)
    common = ("--port", 0, "--http-port", 0, "--uds", uds, "--store", folder / "requests.sqlite3")
    with ExitStack() as stack:
        server = stack.enter_context(ServerProcess(*common, "--device", device, "--log-level", "info", *options))
        limits = httpx.Limits(max_connections=None)
        address = f"http://{server.http_address}"
        http = stack.enter_context(httpx.Client(base_url=address, timeout=60, limits=limits))
        client = stack.enter_context(Client(f"unix:{uds}"))
        ways: dict[str, Ask] = {
            TCP: through(server.address),
            UNIX: through(f"unix:{uds}"),
            CLIENT: lambda data, prompt: client.mask(data, prompt).mask,
            FORM: posting(http, form=True),
            JSON: posting(http, form=False),
            SUBMIT: submitting(f"unix:{uds}"),
        }
        yield server, ways
        server.end()


def latency(ways: Mapping[str, Ask], rounds: int) -> dict[str, dict[str, Spread]]:
    """Ask one after the other, each way in turn."""
    found = {}
    for name, fresh, number in (("cached photo", False, rounds), ("new photo", True, max(1, rounds // 10))):
        contenders = {
            way: lambda turn, ask=ask, fresh=fresh: ask(unseen(PHOTO) if fresh else PHOTO, PROMPTS[turn % len(PROMPTS)])
            for way, ask in ways.items()
        }
        found[name] = by_turns(contenders, number, warm=5)
    return found


def flood(ask: Ask, clients: int, more: Callable[[], bool], *, fresh: int) -> Load:
    """Ask from so many threads at once while there is more to do; every `fresh`-th photo is new, none if 0."""
    times: list[float] = []
    errors: list[str] = []
    lock, numbers = threading.Lock(), count()

    def client() -> None:
        while True:
            with lock:
                if not more():
                    return
                number = next(numbers)
            data = unseen(PHOTO) if fresh and number % fresh == 0 else PHOTO
            start = perf_counter()
            try:
                ask(data, PROMPTS[number % len(PROMPTS)])
            except (grpc.RpcError, httpx.HTTPError, automask.AutomaskError) as error:
                errors.append(str(error))
            times.append((perf_counter() - start) * 1e3)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    start = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = perf_counter() - start
    return {"per_second": round(len(times) / seconds, 2), **spread(times), "errors": len(errors)}


def times(number: int) -> Callable[[], bool]:
    """Say that there is more to do, so many times."""
    left = iter(range(number))
    return lambda: next(left, None) is not None


def over_rounds(loads: list[Load]) -> Load:
    """Take medians; errors add up."""
    middle = {key: round(median(one[key] for one in loads), 3) for key in loads[0]}
    return middle | {"errors": sum(one["errors"] for one in loads)}


def sweep(ways: Mapping[str, Ask], clients: tuple[int, ...], number: int, rounds: int) -> dict[str, dict[str, Load]]:
    """Many clients at once over each way, beside the library in as many threads as the server has workers."""
    found: dict[str, dict[str, Load]] = {}
    for name, fresh, total in (("cached photo", 0, number), ("new photos", 1, max(clients) + number // 10)):
        runs: dict[str, list[Load]] = {}
        for _ in range(rounds):
            runs.setdefault(LIBRARY, []).append(flood(ways[LIBRARY], THREADS, times(total), fresh=fresh))
            for many in clients:
                for way in (UNIX, FORM):
                    load = flood(ways[way], many, times(total), fresh=fresh)
                    runs.setdefault(f"{way}, {many}", []).append(load)
        found[name] = {way: over_rounds(loads) for way, loads in runs.items()}
    return found


def batching(folder: Path, number: int, rounds: int) -> dict[str, Load]:
    """Ask for a cached photo from 16 and from 2 clients: without batches, with them, and with a wait for them."""
    runs: dict[str, list[Load]] = {}
    with ExitStack() as servers:
        asks = {}
        for index, (kind, options) in enumerate(BATCHES.items()):
            _, ways = servers.enter_context(serving(folder / str(index), "--workers", THREADS, *options))
            asks[kind] = ways[UNIX]
            asks[kind](PHOTO, PROMPTS[0])
        for clients in [16, 2] * rounds:
            for kind, ask in asks.items():
                runs.setdefault(f"{kind}, {clients}", []).append(flood(ask, clients, times(number), fresh=0))
    return {kind: over_rounds(loads) for kind, loads in runs.items()}


def resident(pid: int) -> float:
    """Megabytes of memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def soak(ways: Mapping[str, Ask], pid: int, seconds: float) -> list[dict[str, Any]]:
    """Ask from 8 clients in ten spans of time, by turns over each way; every tenth photo is new."""
    spans = []
    for _ in range(10):
        span: dict[str, Any] = {"ms": {}}
        for way in (UNIX, FORM, SUBMIT):
            end = perf_counter() + seconds / 30
            span["ms"][way] = flood(ways[way], 8, lambda end=end: perf_counter() < end, fresh=10)  # type: ignore[misc]
        spans.append({**span, "megabytes": resident(pid)})
    return spans


def measure(workplace: Workplace) -> dict[str, Any]:
    """Everything; but for the batches, against one server."""
    segmenter = automask.load(device="cpu")
    pick, folder = workplace.pick, workplace.folder / "service"
    with serving(folder, "--workers", THREADS) as (server, ways):
        ways[LIBRARY] = lambda data, prompt: segmenter.mask(data, prompt).output
        figures: dict[str, Any] = {
            "photo_bytes": len(PHOTO),
            "workers": THREADS,
            "latency": latency(ways, pick(300, 3)),
            "load": sweep(ways, pick(CLIENTS, (1, 4)), pick(300, 10), pick(3, 1)),
            "soak": soak(ways, server.pid, pick(600, 2)),
        }
    return {**figures, "batching": batching(folder, pick(300, 10), pick(3, 1))}


def markdown(figures: dict[str, Any]) -> str:
    """Lay out what `measure` gave."""
    return "\n".join(
        (_latency(figures), _load(figures["load"]), _batching(figures["batching"]), _soak(figures["soak"]))
    )


def _latency(figures: dict[str, Any]) -> str:
    cached, new = figures["latency"].values()
    ways = [LIBRARY, *(way for way in cached if way != LIBRARY)]
    rows = [[way, *(f"{show(ms[way])}; {digits(ms[way]['p99'])}" for ms in (cached, new))] for way in ways]
    added = {way: cached[way]["median"] - cached[LIBRARY]["median"] for way in (TCP, SUBMIT)}
    head = (
        f"**The service beside the library** (a real server and its clients on the same cores, JPEG of 1200×800 and "
        f"{figures['photo_bytes'] // 1000} KB, embedded model, milliseconds: median (quartiles); p99)\n\n"
    )
    return (
        head
        + table(["one at a time", "cached photo", "new photo"], rows)
        + f"\nMilliseconds more than the library: a call {target(added[TCP], 3, at_least=False)}, "
        f"a request that is kept on disk {target(added[SUBMIT], 15, at_least=False)}.\n"
    )


def _load(loads: dict[str, dict[str, Load]]) -> str:
    rows, errors = [], sum(one["errors"] for ways in loads.values() for one in ways.values())
    clients = sorted({int(way.rpartition(", ")[2]) for way in loads["cached photo"] if way != LIBRARY})
    for photos, ways in loads.items():
        whole = ways[LIBRARY]["per_second"]
        for way in (UNIX, FORM):
            per_second = (ways[f"{way}, {many}"]["per_second"] for many in clients)
            rows.append([f"{photos}, {way}", digits(whole), *map(digits, per_second)])
    new = loads["new photos"]
    share = new[f"{UNIX}, {min(16, clients[-1])}"]["per_second"] / new[LIBRARY]["per_second"]
    columns = [
        "masks per second",
        f"library, {THREADS} threads",
        *(f"{many} client{'s' * (many > 1)}" for many in clients),
    ]
    return (
        table(columns, rows)
        + f"\nFrom 16 clients, new photos over a Unix socket get {target(share, 0.95, at_least=True)} of the library's "
        f"throughput. Errors in all: {errors}.\n"
    )


def _batching(loads: dict[str, Load]) -> str:
    rows = [[kind, *(digits(loads[f"{kind}, {many}"]["per_second"]) for many in (16, 2))] for kind in BATCHES]
    return table(["masks per second, cached photo", "16 clients", "2 clients"], rows)


def _soak(spans: list[dict[str, Any]]) -> str:
    first, last = spans[0], spans[-1]
    asked = sum(load["n"] for span in spans for load in span["ms"].values())
    errors = sum(load["errors"] for span in spans for load in span["ms"].values())
    rows = [
        [way, *(f"{digits(span['ms'][way]['median'])}; {digits(span['ms'][way]['p99'])}" for span in (first, last))]
        for way in first["ms"]
    ]
    memory = [span["megabytes"] for span in spans]
    return (
        table(["soak, 8 clients, each tenth photo new: ms, median; p99", "first tenth", "last tenth"], rows)
        + f"\n{asked:,} requests, {errors} errors; the server's memory after each tenth: "
        f"{', '.join(f'{one:.0f}' for one in memory)} MB.\n"
    )
