"""The same pipelines on an NVIDIA GPU, through ONNX Runtime's CUDA and TensorRT, beside torch eager in half precision.

Where there is an NVIDIA driver, `make bench QUESTIONS=gpu` installs the extra `gpu` and a torch with CUDA. Elsewhere it
says so, and writes no figures. Models are warmed up before: engines are built, and verdicts kept.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import mean
from typing import Any

import automask
from automask.devices import pick_device
from automask.errors import AutomaskError
from harness.load import during, run_clients
from harness.models import clipseg
from harness.options import MissingRequirementError, RunOptions
from harness.peers import MobileSamInTorch, clipseg_in_transformers
from harness.photos import PROMPTS, photo, unseen
from harness.service_calls import UNIX, serving
from harness.stages import graph_times
from harness.tables import digits, format_spread, table, with_target
from harness.timing import Contender, Spread, speedup, spread, time_in_turns

from .startup import run_once

SIZE = (640, 480)
DEVICES = ("cuda", "tensorrt")
TORCH = "cuda"  # where torch runs
CLIENTS = 16
COMMAND = "make bench QUESTIONS=gpu"
LIBRARY, ANOTHER, TORCH_EAGER, GRAPHS = "library", "another prompt", "torch eager, fp16", "graphs alone"
AIMS = {
    "embedded": {LIBRARY: 6.0, UNIX: 8.0, ANOTHER: 2.0},
    "CLIPSeg": {LIBRARY: 6.0},
}
"""Milliseconds at the median on one H100: a new 640×480 photo from JPEG to PNG, or another prompt on the same one."""
LEAST_BUSY, LONGEST_START = 90.0, 5.0  # percent; seconds

_START = """
import automask
mark("import")
segmenter = automask.load({model!r}, device={device!r})
mark("load")
run = lambda data: segmenter.mask(data, "cup").mask
"""


def missing_for(device: str) -> str | None:
    """Return why a device cannot be used here; None if it can."""
    try:
        pick_device(device)
    except AutomaskError as error:
        return str(error)
    return None


def graphs_alone(segmenter: automask.Segmenter, prompt: str, rounds: int) -> Spread:
    """Return the milliseconds inside the graphs, for photos that were not seen before."""
    times = []
    for _ in range(rounds):
        with graph_times(segmenter) as spent:
            segmenter.mask(unseen(photo(*SIZE)), prompt)
        times.append(sum(spent.values()))
    return spread(times)


def torch_eager(options: RunOptions, boxes: list[tuple[float, float, float, float]]) -> dict[str, Contender]:
    """Return the same models in torch, in half precision on the GPU, from JPEG to PNG or mask."""
    checkpoint, _ = clipseg(options, "fp32", "fp16")
    sam, dense = MobileSamInTorch(TORCH), clipseg_in_transformers(checkpoint, TORCH)
    jpeg = photo(*SIZE)
    return {
        "embedded": lambda _: sam(jpeg, boxes),
        "CLIPSeg": lambda turn: dense(sam.read(jpeg), [f"the cup {turn:03d}"]),
    }


@contextmanager
def gpu_use() -> Iterator[list[float]]:
    """Collect how busy the GPU is, in percent, ten times a second; nothing without `nvidia-smi`."""
    samples: list[float] = []
    if shutil.which("nvidia-smi") is None:
        yield samples
        return
    query = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=100", "--id=0")
    with subprocess.Popen(query, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield samples
        finally:
            process.terminate()
            assert process.stdout  # noqa: S101 (it is piped)
            samples += [float(line) for line in process.stdout if line.strip().isdecimal()]


def measure_model(name: str, model: str, device: str, options: RunOptions) -> dict[str, Any]:
    """Time one model on one device: the library, a call through gRPC and torch, in turn; then load, and cold starts."""
    rounds, jpeg = options.pick(100, 2), photo(*SIZE)
    segmenter = automask.load(model, device=device)  # type: ignore[arg-type]
    boxes = [one.box for one in segmenter.mask(jpeg, PROMPTS[0]).instances]
    theirs = torch_eager(options, boxes or [(0, 0, *SIZE)])[name]
    figures: dict[str, Any] = {"precision": segmenter.precision}
    with serving(options.folder / device / name, "--model", model, device=device) as (_, calls):
        call = calls[UNIX]
        contenders: dict[str, Contender] = {
            LIBRARY: lambda _: segmenter.mask(unseen(jpeg), PROMPTS[0]).output,
            UNIX: lambda _: call(unseen(jpeg), PROMPTS[0]),
            ANOTHER: lambda turn: segmenter.mask(jpeg, PROMPTS[turn % 2]).output,
            TORCH_EAGER: theirs,
        }
        figures["ms"] = time_in_turns(contenders, rounds, warm=options.pick(10, 1))
        with gpu_use() as samples:
            figures["load"] = run_clients(call, CLIENTS, during(options.pick(20, 0.1)), new_every=1)
    figures["load"]["busy"] = round(mean(samples), 1) if samples else None
    figures["ms"][GRAPHS] = graphs_alone(segmenter, PROMPTS[0], rounds)
    file = options.folder / "photo.jpg"
    file.write_bytes(jpeg)
    code = _START.format(model=model, device=device)
    starts = [run_once(code, file)["python to first mask, s"] for _ in range(options.pick(5, 1))]
    return {**figures, "cold start, s": spread(starts)}


def measure(options: RunOptions) -> dict[str, Any]:
    """Measure every device that works here.

    Raises
    ------
    MissingRequirementError
        No device works here.
    """
    missing = {device: reason for device in DEVICES if (reason := missing_for(device))}
    if len(missing) == len(DEVICES):
        raise MissingRequirementError(f"{missing[DEVICES[0]]}. On a machine with a GPU: {COMMAND}")
    models = {"embedded": "default", "CLIPSeg": str(clipseg(options, "fp32", "fp16")[1])}
    found = {
        device: {name: measure_model(name, model, device, options) for name, model in models.items()}
        for device in DEVICES
        if device not in missing
    }
    return {"devices": found, "missing": missing}


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    rows = [
        _row(f"{device}, {name}", AIMS[name], one)
        for device, models in figures["devices"].items()
        for name, one in models.items()
    ]
    columns = [
        "640×480 JPEG to PNG, ms", "precision", LIBRARY, UNIX, ANOTHER, TORCH_EAGER, GRAPHS, "torch by gRPC",
        f"masks per second, {CLIENTS} clients", "GPU busy, %", "cold start to first mask, s",
    ]  # fmt: skip
    lines = [f"- {device}: {reason}" for device, reason in figures["missing"].items()]
    return "**On a GPU**\n\n" + table(columns, rows) + "\n" + "\n".join(lines) + "\n"


def _row(title: str, aims: dict[str, float], one: dict[str, Any]) -> list[str]:
    ms: dict[str, Spread] = one["ms"]
    cells = [
        with_target(ms[case]["median"], aims[case], at_least=False) if case in aims else format_spread(ms[case])
        for case in (LIBRARY, UNIX, ANOTHER, TORCH_EAGER, GRAPHS)
    ]
    busy = one["load"]["busy"]
    return [
        title,
        one["precision"],
        *cells,
        with_target(speedup(ms[TORCH_EAGER], ms[UNIX]), 5, at_least=True),
        digits(one["load"]["per_second"]),
        "-" if busy is None else with_target(busy, LEAST_BUSY, at_least=True),
        with_target(one["cold start, s"]["median"], LONGEST_START, at_least=False),
    ]


def without_figures() -> str:
    """Return the command that measures them."""
    return f"**On a GPU**: not measured yet. `{COMMAND}`\n"
