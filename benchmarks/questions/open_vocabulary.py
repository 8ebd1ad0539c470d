"""Models that read any text or know fixed labels, beside the same models in transformers, eager.

Each finder draws with MobileSAM at 512 pixels, in torch as well; EoMT draws its own masks. Weights are random, sizes
are real. What random weights find means nothing, so all contenders run the whole finder, nothing reaches its threshold,
and each prompt gets three fixed boxes, or the three best masks. Photos have 640×480 pixels of noise. transformers reads
all prompts of a call in one pass, and keeps MobileSAM's encoding for the next call on a photo.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

from automask.bundle import graph_files, read_bundle
from harness.fixed_objects import FixedObjects
from harness.machine import ROOT, THREADS, has_vnni
from harness.open_models import MODELS, PRECISIONS, exported, labels
from harness.open_peers import OpenInTransformers
from harness.options import RunOptions
from harness.peers import Pixels
from harness.photos import noise
from harness.tables import digits, format_spread, table, with_target
from harness.timing import Contender, Spread, speedup, time_in_turns

OBJECTS = 3


class Case(NamedTuple):
    """Prompts of a call, objects of each prompt, and the target speedup over transformers in int8."""

    prompts: int
    objects: int
    aim: float | None = 1.3


NEW, SAME, EIGHT = "new photo, new prompt", "same photo, new prompt", "new photo, 8 prompts"
CASES = {
    NEW: Case(1, OBJECTS),
    "new photo, cached prompt": Case(1, OBJECTS),
    SAME: Case(1, OBJECTS),
    EIGHT: Case(8, OBJECTS),
    "finder alone: new photo, new prompt": Case(1, 0, None),
}
_SAME_AIM, _EIGHT_AIM, _INT8_AIM = 0.333, 1.5, 1.2
_SAME_WITH_AIM, _EIGHT_WITH_AIM = ("owlvit", "omdet"), ("owlvit", "omdet", "grounding-dino")
_TRANSFORMERS = "transformers"

_CHILD = """
import json, sys
from time import perf_counter
start = perf_counter()
{code}
loaded = perf_counter()
import numpy
mask(numpy.zeros((480, 640, 3), numpy.uint8), [{prompt!r}], {objects})
first = perf_counter()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps([loaded - start, first - loaded, int(status["VmHWM"].split()[0]) / 1e3]))
"""


def different_prompts(series: int, number: int, *, reads_text: bool) -> Iterator[list[str]]:
    """Yield lists of `number` prompts: words that no other list has, or labels of the label sets in turn."""
    names = list(labels().values())
    for start in count(1000 * series, number):
        yield [
            f"cup {_letters(index)}" if reads_text else names[index % len(names)]
            for index in range(start, start + number)
        ]


def _letters(number: int) -> str:
    """Return four consonants, which differ for each number below 10,000: digits are not in all tokenizers."""
    return f"{number:04d}".translate(str.maketrans("0123456789", "bcdfghjklm"))


def calls(case: str, rounds: int, *, reads_text: bool) -> list[tuple[Pixels, list[str]]]:
    """Return the photo and the prompts of each call, after one call for warming up."""
    series = list(CASES).index(case)
    photos, texts = noise(series), different_prompts(series, CASES[case].prompts, reads_text=reads_text)
    same, cached = next(photos), next(texts)
    return [
        (same if case.startswith("same photo") else next(photos), cached if "cached" in case else next(texts))
        for _ in range(rounds + 1)
    ]


def time_cases(name: str, options: RunOptions) -> dict[str, dict[str, Spread]]:
    """Return milliseconds by case and contender; all of them are loaded at once."""
    checkpoint, bundle = exported(name, options)
    contenders: dict[str, Any] = {_TRANSFORMERS: OpenInTransformers(name, checkpoint, *_settings(options))}
    contenders |= {f"automask {kind}": FixedObjects(str(bundle), kind, THREADS) for kind in PRECISIONS}
    rounds, found = options.pick(7, 1), {}
    for case in options.pick(tuple(CASES), (NEW, SAME, EIGHT)):
        objects = CASES[case].objects
        inputs = calls(case, rounds, reads_text=MODELS[name].reads_text)
        turns: dict[str, Contender] = {
            who: lambda turn, one=one, inputs=inputs, objects=objects: one(*inputs[turn + 1], objects)  # type: ignore[misc]
            for who, one in contenders.items()
        }
        found[case] = time_in_turns(turns, rounds, warm=options.warm)
    return found


def _settings(options: RunOptions) -> tuple[int, int]:
    """Return the side of MobileSAM's photos, and torch's threads: two that wait for each other burn processor time."""
    return options.pick((512, THREADS), (128, 1))


def start_times(name: str, options: RunOptions) -> dict[str, dict[str, float]]:
    """Load each contender in a process of its own; return its seconds and the most megabytes that it had.

    A quick run has one of them, because importing torch takes seconds.
    """
    checkpoint, bundle = exported(name, options)
    side, threads = _settings(options)
    peer = f"OpenInTransformers({name!r}, Path({str(checkpoint)!r}), {side}, {threads})"
    codes = {
        f"automask {kind}": "from harness.fixed_objects import FixedObjects\n"
        f"mask = FixedObjects({str(bundle)!r}, {kind!r}, {THREADS})"
        for kind in PRECISIONS
    }
    theirs = f"from pathlib import Path\nfrom harness.open_peers import OpenInTransformers\nmask = {peer}"
    codes = options.pick({_TRANSFORMERS: theirs, **codes}, dict(islice(codes.items(), 1)))
    prompt = next(different_prompts(0, 1, reads_text=MODELS[name].reads_text))[0]
    return {who: _start(_CHILD.format(code=code, prompt=prompt, objects=OBJECTS)) for who, code in codes.items()}


def _start(script: str) -> dict[str, float]:
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT / "benchmarks", check=True, stdout=subprocess.PIPE, text=True)
    load, first, most = json.loads(done.stdout.splitlines()[-1])
    return {"load, s": load, "first call, s": first, "most, MB": most}


def megabytes(bundle: Path, precision: str) -> float:
    """Return the size of the graphs of a precision, and of the weights that MobileSAM's precisions share."""
    graphs = [bundle / graph.choose([precision, "fp32"]) for graph in read_bundle(bundle).graphs.values()]
    files = [file for graph in graphs for file in graph_files(graph)]
    return sum(file.stat().st_size for file in (*files, *bundle.glob("*.bin"))) / 1e6


def measure(options: RunOptions) -> dict[str, Any]:
    """Measure one model after the other; a quick run has a tiny one of each kind."""
    names = options.pick(list(MODELS), ["owlvit", "eomt"])
    found: dict[str, Any] = {}
    for name in names:
        _, bundle = exported(name, options)
        found[name] = {"ms": time_cases(name, options), "graphs, MB": {k: megabytes(bundle, k) for k in PRECISIONS}}
        gc.collect()  # before the next model, so that the memory of only one is needed
        if not options.quick or name == names[0]:
            found[name]["start"] = start_times(name, options)
    return {"vnni": has_vnni(), "models": found}


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    models, vnni = figures["models"], figures["vnni"]
    return "\n".join((_format_cases(models), _format_ratios(models, vnni=vnni), _format_start(models)))


def _format_cases(models: dict[str, Any]) -> str:
    rows = []
    for name, found in models.items():
        for case, ms in found["ms"].items():
            theirs, fp32, int8 = ms.values()
            aim = CASES[case].aim
            ratio = speedup(theirs, int8)
            faster = digits(ratio) if aim is None else with_target(ratio, aim, at_least=True)
            times = map(format_spread, ms.values())
            rows.append([MODELS[name].title, case, *times, digits(speedup(theirs, fp32)), faster])
    columns = ["model", "case", _TRANSFORMERS, "automask fp32", "automask int8", "fp32 faster by", "int8 faster by"]
    head = (
        f"**Beside transformers** (640×480 pixels to a mask for each prompt, {OBJECTS} objects in each, milliseconds; "
        "MobileSAM at 512 pixels on both sides; transformers reads Grounding DINO's photo without padding)\n\n"
    )
    return head + table(columns, rows)


def _format_ratios(models: dict[str, Any], *, vnni: bool) -> str:
    rows = []
    for name, found in models.items():
        new, same, eight = (found["ms"][case] for case in (NEW, SAME, EIGHT))
        ours = "automask int8"
        again, several = same[ours]["median"] / new[ours]["median"], eight[ours]["median"] / new[ours]["median"]
        faster = speedup(new["automask fp32"], new[ours])
        rows.append(
            [
                MODELS[name].title,
                with_target(again, _SAME_AIM, at_least=False) if name in _SAME_WITH_AIM else digits(again),
                with_target(several, _EIGHT_AIM, at_least=False) if name in _EIGHT_WITH_AIM else digits(several),
                with_target(faster, _INT8_AIM, at_least=True) if vnni else digits(faster),
            ]
        )
    columns = ["model", "same photo, new prompt, of a new photo", "8 prompts, of one", "int8 faster than fp32 by"]
    has = "has" if vnni else "lacks"
    return f"**What is shared** (int8; the processor {has} VNNI)\n\n" + table(columns, rows)


def _format_start(models: dict[str, Any]) -> str:
    rows = []
    for name, found in models.items():
        for who, one in found.get("start", {}).items():
            size = found["graphs, MB"].get(who.rpartition(" ")[2])
            rows.append([MODELS[name].title, who, digits(size) if size else "-", *map(digits, one.values())])
    columns = ["model", "", "graphs, MB", "import and load, s", "first call, s", "most memory, MB"]
    return "**Load and memory** (a process of its own, a new photo and prompt)\n\n" + table(columns, rows)
