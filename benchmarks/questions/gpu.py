"""The same pipelines on an NVIDIA GPU, through ONNX Runtime's CUDA and TensorRT, beside torch eager in half precision.

Where there is an NVIDIA driver, `make bench QUESTIONS=gpu` installs the extra `gpu` and a torch with CUDA.
"""

from __future__ import annotations

from typing import Any

import automask
from automask.devices import pick_device
from automask.errors import AutomaskError
from harness.models import clipseg
from harness.options import MissingRequirementError, RunOptions
from harness.peers import MobileSamInTorch, clipseg_in_transformers
from harness.photos import PROMPTS, photo, unseen
from harness.service_calls import UNIX, serving
from harness.stages import graph_times
from harness.tables import format_spread, table, with_target
from harness.timing import Contender, Spread, speedup, spread, time_in_turns

SIZE = (640, 480)
DEVICES = ("cuda", "tensorrt")
AIMS = {"default": 10.0, "CLIPSeg": 6.0}
COMMAND = "make bench QUESTIONS=gpu"


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
    sam, dense = MobileSamInTorch("cuda"), clipseg_in_transformers(checkpoint, "cuda")
    jpeg = photo(*SIZE)
    return {
        "default": lambda _: sam(jpeg, boxes),
        "CLIPSeg": lambda turn: dense(sam.read(jpeg), [f"the cup {turn:03d}"]),
    }


def measure_on(device: str, options: RunOptions) -> dict[str, dict[str, Spread]]:
    """Time both models on one device: the library, a call through gRPC, torch, in turn; then the graphs alone."""
    _, bundle = clipseg(options, "fp32", "fp16")
    rounds, found = options.pick(100, 2), {}
    jpeg = photo(*SIZE)
    for name, model in (("default", "default"), ("CLIPSeg", str(bundle))):
        segmenter = automask.load(model, device=device)  # type: ignore[arg-type]
        boxes = [one.box for one in segmenter.mask(jpeg, PROMPTS[0]).instances]
        theirs = torch_eager(options, boxes or [(0, 0, *SIZE)])[name]
        with serving(options.folder / device / name, "--model", model, device=device) as (_, calls):
            contenders: dict[str, Contender] = {
                "library": lambda _, one=segmenter: one.mask(unseen(jpeg), PROMPTS[0]).output,  # type: ignore[misc]
                UNIX: lambda _, call=calls[UNIX]: call(unseen(jpeg), PROMPTS[0]),  # type: ignore[misc]
                "torch eager, fp16": theirs,
            }
            found[name] = time_in_turns(contenders, rounds, warm=options.pick(10, 1))
        found[name]["graphs alone"] = graphs_alone(segmenter, PROMPTS[0], rounds)
    return found


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
    return {"devices": {one: measure_on(one, options) for one in DEVICES if one not in missing}, "missing": missing}


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    rows = []
    for device, models in figures["devices"].items():
        for name, ms in models.items():
            served, theirs = ms[UNIX], ms["torch eager, fp16"]
            cells = [with_target(served["median"], AIMS[name], at_least=False)]
            cells += [with_target(served["median"] / ms["graphs alone"]["median"], 3, at_least=False)]
            cells += [with_target(speedup(theirs, served), 5, at_least=True)]
            rows.append([f"{device}, {name}", *map(format_spread, ms.values()), *cells])
    names = list(next(iter(next(iter(figures["devices"].values())).values())))
    columns = ["new 640×480 photo, ms", *names, "through gRPC, p50", "by the graphs' time", "times as fast as torch"]
    lines = [f"- {device}: {reason}" for device, reason in figures["missing"].items()]
    return "**On a GPU**\n\n" + table(columns, rows) + "\n" + "\n".join(lines) + "\n"


def without_figures() -> str:
    """Return the command that measures them."""
    return f"**On a GPU**: not measured yet. `{COMMAND}`\n"
