"""The same pipelines on an NVIDIA GPU, through ONNX Runtime's CUDA and TensorRT, beside torch eager in half precision.

`make bench QUESTIONS=gpu` installs what it takes where there is an NVIDIA driver: the extra `gpu` and a torch
with CUDA.
"""

from __future__ import annotations

from typing import Any

import automask
from automask.devices import pick_device
from automask.errors import AutomaskError
from harness.models import clipseg
from harness.peers import MobileSamInTorch, clipseg_in_transformers
from harness.photos import PROMPTS, photo, unseen
from harness.turns import Contender, Spread, by_turns, show, spread, table, target, times_as_fast
from harness.workplace import NotHereError, Workplace
from questions.pipeline import SIZE, graph_times
from questions.service import UNIX, serving

DEVICES = ("cuda", "tensorrt")
AIMS = {"default": 10.0, "CLIPSeg": 6.0}
COMMAND = "make bench QUESTIONS=gpu"


def why_not(device: str) -> str | None:
    """Say what is missing for a device."""
    try:
        pick_device(device)
    except AutomaskError as error:
        return str(error)
    return None


def bare(segmenter: automask.Segmenter, prompt: str, rounds: int) -> Spread:
    """Milliseconds inside the graphs alone, for a photo that was not seen before."""
    times = []
    for _ in range(rounds):
        with graph_times(segmenter) as spent:
            segmenter.mask(unseen(photo(*SIZE)), prompt)
        times.append(sum(spent.values()))
    return spread(times)


def torch_eager(workplace: Workplace, boxes: list[tuple[float, float, float, float]]) -> dict[str, Contender]:
    """Run the same models in torch, in half precision on the GPU, from JPEG to PNG or mask."""
    checkpoint, _ = clipseg(workplace, "fp32", "fp16")
    sam, dense = MobileSamInTorch("cuda"), clipseg_in_transformers(checkpoint, "cuda")
    jpeg = photo(*SIZE)
    return {
        "default": lambda _: sam(jpeg, boxes),
        "CLIPSeg": lambda turn: dense(sam.read(jpeg), [f"the cup {turn:03d}"]),
    }


def on(device: str, workplace: Workplace) -> dict[str, dict[str, Spread]]:
    """Both models on one device: the library, a call through gRPC, the graphs alone, and torch, by turns."""
    _, bundle = clipseg(workplace, "fp32", "fp16")
    rounds, found = workplace.pick(100, 2), {}
    jpeg = photo(*SIZE)
    for name, model in (("default", "default"), ("CLIPSeg", str(bundle))):
        segmenter = automask.load(model, device=device)  # type: ignore[arg-type]
        boxes = [one.box for one in segmenter.mask(jpeg, PROMPTS[0]).instances]
        theirs = torch_eager(workplace, boxes or [(0, 0, *SIZE)])[name]
        with serving(workplace.folder / device / name, "--model", model, device=device) as (_, ways):
            contenders: dict[str, Contender] = {
                "library": lambda _, one=segmenter: one.mask(unseen(jpeg), PROMPTS[0]).output,  # type: ignore[misc]
                UNIX: lambda _, ask=ways[UNIX]: ask(unseen(jpeg), PROMPTS[0]),  # type: ignore[misc]
                "torch eager, fp16": theirs,
            }
            found[name] = by_turns(contenders, rounds, warm=workplace.pick(10, 1))
        found[name]["graphs alone"] = bare(segmenter, PROMPTS[0], rounds)
    return found


def measure(workplace: Workplace) -> dict[str, Any]:
    """Measure on every device that works here.

    Raises
    ------
    NotHereError
        None does.
    """
    missing = {device: reason for device in DEVICES if (reason := why_not(device))}
    if len(missing) == len(DEVICES):
        raise NotHereError(f"{missing[DEVICES[0]]}. Where there is a GPU: {COMMAND}")
    return {"devices": {one: on(one, workplace) for one in DEVICES if one not in missing}, "missing": missing}


def markdown(figures: dict[str, Any]) -> str:
    """Lay out what `measure` gave."""
    rows = []
    for device, models in figures["devices"].items():
        for name, ms in models.items():
            served, theirs = ms[UNIX], ms["torch eager, fp16"]
            cells = [target(served["median"], AIMS[name], at_least=False)]
            cells += [target(served["median"] / ms["graphs alone"]["median"], 3, at_least=False)]
            cells += [target(times_as_fast(theirs, served), 5, at_least=True)]
            rows.append([f"{device}, {name}", *map(show, ms.values()), *cells])
    names = list(next(iter(next(iter(figures["devices"].values())).values())))
    columns = ["new 640×480 photo, ms", *names, "through gRPC, p50", "by the graphs' time", "times as fast as torch"]
    lines = [f"- {device}: {reason}" for device, reason in figures["missing"].items()]
    return "**On a GPU**\n\n" + table(columns, rows) + "\n" + "\n".join(lines) + "\n"


def without_figures() -> str:
    """Say how to get the figures."""
    return f"**On a GPU**: not measured yet. `{COMMAND}`\n"
