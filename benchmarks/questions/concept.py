"""SAM 3 by stages: a new photo, a new phrase, another concept, eight concepts; load and memory of each precision.

The bundle is of the published size, with random weights, and is made before, as `harness/sam3_model.py` describes:
the export needs an environment of its own. Photos have 640×480 pixels of noise. Each precision has its own
process. With `--device cuda` the figures are those of a GPU, beside their targets.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import automask
from automask.bundle import read_bundle
from automask.devices import DEVICES
from harness.machine import ROOT, THREADS
from harness.options import MissingRequirementError, RunOptions
from harness.photos import Pixels, noise
from harness.tables import digits, format_spread, table, with_target
from harness.timing import Contender, time_in_turns

from .gpu import missing_for
from .open_vocabulary import different_prompts, megabytes

NEW, PHRASE, CONCEPT, EIGHT = (
    "new photo, known phrase",
    "known photo, new phrase",
    "known photo, known phrase",
    "new photo, 8 known phrases",
)
GPU_AIMS = {NEW: 25.0, CONCEPT: 8.0, EIGHT: 35.0}
"""Milliseconds at 1008 px on an H100."""

_SECONDS = 40  # of one case, unless its first call takes longer
_START = "from questions import concept; concept.time_here({!r}, {!r}, {!r}, {}, {})"


def find_bundle(options: RunOptions) -> Path:
    """Return the folder of the bundle; a quick run makes a tiny one, which finds colours.

    Raises
    ------
    MissingRequirementError
        It was not made yet.
    """
    if options.quick:
        from support.concept_bundles import colour_bundle

        return colour_bundle(options.folder / "concept", proof=False)
    folder = options.models / "sam3"
    if not (folder / "automask.json").is_file():
        raise MissingRequirementError(
            f"needs a SAM 3 with random weights in {folder}: in the environment of docs/sam3.md, from the folder "
            f"benchmarks/, `python -m harness.sam3_model {folder} --accept-licence`"
        )
    return folder


def time_here(bundle: str, precision: str, device: str, rounds: int, warm: int) -> None:
    """Load the bundle in this process, time each case, and print the figures as JSON."""
    start = perf_counter()
    segmenter = automask.load(
        bundle,
        device=device,  # type: ignore[arg-type]
        precision=precision,
        threads=THREADS,
        cache_bytes=2 << 30,
        prove=False,
    )
    load = perf_counter() - start

    def mask(photo: Pixels, *prompts: str) -> None:
        segmenter.mask(photo, list(prompts), grow_mask=0, edges="model")

    photos, new = noise(0), different_prompts(0, 1, reads_text=True)
    known, seen = [f"cup {letter}" for letter in "abcdefgh"], next(noise(1))
    mask(seen, known[0])
    cases: dict[str, Contender] = {
        EIGHT: lambda _: mask(next(photos), *known),  # first: the others need the texts
        NEW: lambda _: mask(next(photos), known[0]),
        CONCEPT: lambda turn: mask(seen, known[1 + (turn + warm) % 7]),
        PHRASE: lambda _: mask(seen, *next(new)),
    }
    ms = {case: time_in_turns({case: one}, rounds, warm=warm, seconds=_SECONDS)[case] for case, one in cases.items()}
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    most = int(status["VmHWM"].split()[0]) / 1e3
    print(json.dumps({"ms": ms, "load, s": load, "most, MB": most}))


def time_precision(bundle: Path, precision: str, options: RunOptions) -> dict[str, Any]:
    """Return the figures of one precision, from a process of its own, and the size of its graphs."""
    code = _START.format(str(bundle), precision, options.device, options.pick(6, 1), options.warm)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT / "benchmarks", check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**figures, "graphs, MB": megabytes(bundle, precision)}


def measure(options: RunOptions) -> dict[str, Any]:
    """Measure each precision of the bundle that the device computes well.

    Raises
    ------
    MissingRequirementError
        The bundle was not made yet, or the device cannot be used.
    """
    if missing := missing_for(options.device):
        raise MissingRequirementError(missing)
    folder = find_bundle(options)
    bundle = read_bundle(folder)
    precisions = [one for one in DEVICES[options.device].precisions if one in bundle.precisions]
    return {
        "device": options.device,
        "size": bundle.image["vision_encoder"]["size"],
        "precisions": {one: time_precision(folder, one, options) for one in precisions},
    }


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    on_gpu, found = figures["device"] != "cpu", figures["precisions"]
    rows = []
    for case in (NEW, PHRASE, CONCEPT, EIGHT):
        ms = [one["ms"][case] for one in found.values()]
        aim = GPU_AIMS.get(case) if on_gpu else None
        cells = [format_spread(one) if aim is None else with_target(one["median"], aim, at_least=False) for one in ms]
        rows.append([f"{case}, ms", *cells])
    for title, case in (("known photo and phrase, of a new photo", CONCEPT), ("8 phrases, of one", EIGHT)):
        rows.append([title, *(digits(one["ms"][case]["median"] / one["ms"][NEW]["median"]) for one in found.values())])
    rows += [[key, *(digits(one[key]) for one in found.values())] for key in ("load, s", "most, MB", "graphs, MB")]
    head = f"**SAM 3 by stages** ({figures['size']} px, random weights, device {figures['device']})\n\n"
    return head + table(["", *found], rows) + ("" if on_gpu else _without_gpu())


def _without_gpu() -> str:
    aims = ", ".join(f"{case} at most {digits(aim)} ms" for case, aim in GPU_AIMS.items())
    return f"\nTargets of a GPU at 1008 px (H100): {aims}: not run: no GPU.\n"
