"""How good the masks are on photos with ground truth.

`--data DIR` holds `images/`, `masks/` (PNG, one label number per pixel) and `pairs.json`, a list of
{image, prompt, kind, label}; kind is `thing` or `stuff` (the prompt is in the picture, where the mask equals the
label) or `absent` (it is not). Pixels labelled 255 were left unlabelled by the annotators and count for nothing, as in
the usual evaluation of COCO-Stuff. Every prompt goes through `Segmenter.mask` at the default threshold and grow_mask 0.
Prompts that the model refuses are counted apart and never as a hit: they leave the mean, and their number is
printed beside it.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import automask
from harness import machine
from harness.turns import table
from harness.workplace import NotHereError, Workplace

UNLABELLED = 255


@dataclass
class Tally:
    """What happened to the prompts of one kind: IoU of each that was answered, and what went wrong."""

    ious: list[float] = field(default_factory=list)
    refused: int = 0
    empty: int = 0


def iou(mask: NDArray[np.uint8], labels: NDArray[np.uint8], label: int) -> float:
    """Intersection over union with the pixels of one label, over the pixels that have any."""
    labelled = labels != UNLABELLED
    found, truth = (mask > 0) & labelled, labels == label
    return float((found & truth).sum() / max(1, (found | truth).sum()))


def evaluate(segmenter: automask.Segmenter, data: Path, threshold: float) -> tuple[dict[str, Tally], dict[str, Tally]]:
    """Tally by kind, and by prompt for the things."""
    kinds: dict[str, Tally] = defaultdict(Tally)
    prompts: dict[str, Tally] = defaultdict(Tally)
    for pair in json.loads((data / "pairs.json").read_text()):
        truth = data / "masks" / Path(pair["image"]).with_suffix(".png")
        labels = np.asarray(cv2.imread(str(truth), cv2.IMREAD_UNCHANGED), np.uint8)
        tallies = [kinds[pair["kind"]]] + ([prompts[pair["prompt"]]] if pair["kind"] == "thing" else [])
        try:
            result = segmenter.mask(data / "images" / pair["image"], pair["prompt"], threshold=threshold, grow_mask=0)
        except automask.UnknownPromptError:
            for tally in tallies:
                tally.refused += 1
            continue
        for tally in tallies:
            tally.ious.append(iou(result.mask, labels, pair["label"]))
            tally.empty += result.is_empty
    return kinds, prompts


def report(kinds: dict[str, Tally], prompts: dict[str, Tally]) -> None:
    """Print both tables."""
    print("| prompt | pairs | mean IoU | nothing found | refused |\n|---|---|---|---|---|")
    for prompt, tally in sorted(prompts.items()):
        score = f"{mean(tally.ious):.3f}" if tally.ious else "-"
        print(f"| {prompt} | {len(tally.ious) + tally.refused} | {score} | {tally.empty} | {tally.refused} |")
    print()
    for kind in ("thing", "stuff"):
        tally = kinds[kind]
        print(
            f"{kind}: mean IoU ± standard error {_score(tally)} pairs, {tally.empty} with nothing found; "
            f"{tally.refused} refused"
        )
    absent = kinds["absent"]
    asked, false = len(absent.ious), len(absent.ious) - absent.empty
    print(f"absent: {false} false masks in {asked} ({100 * false / max(1, asked):.1f} %); {absent.refused} refused")


def measure(workplace: Workplace) -> dict[str, Any]:
    """Tally what the embedded model says, in each precision.

    Raises
    ------
    NotHereError
        There are no photos.
    """
    if workplace.data is None:
        raise NotHereError("it takes photos with ground truth: --data DIR, or make bench DATA=DIR")
    found = {}
    for precision in ("int8", "fp32"):
        kinds, _ = evaluate(automask.load(device="cpu", precision=precision), workplace.data, threshold=0.2)
        found[precision] = {kind: asdict(tally) for kind, tally in kinds.items()}
    return found


def markdown(figures: dict[str, Any]) -> str:
    """Lay out what `measure` gave."""
    rows = []
    for precision, kinds in figures.items():
        things, stuff, absent = (Tally(**kinds[kind]) for kind in ("thing", "stuff", "absent"))
        asked, false = len(absent.ious), len(absent.ious) - absent.empty
        rows.append(
            [
                precision,
                f"{_score(things)}; nothing found for {things.empty}",
                f"{false} in {asked} ({100 * false / max(1, asked):.1f} %)",
                f"{stuff.refused} of {stuff.refused + len(stuff.ious)}; {_score(stuff)}",
            ]
        )
    columns = [
        "embedded model",
        "things that are there, mean IoU",
        "false masks of what is not there",
        "stuff (grass, sky, …) refused; mean IoU of the others",
    ]
    return (
        "**Quality** (photos of COCO val2017, threshold 0.2, `grow_mask` 0; mean ± standard error over pairs of photo "
        "and prompt)\n\n" + table(columns, rows)
    )


def _score(tally: Tally) -> str:
    count = len(tally.ious)
    if count < 2:
        return "-"
    return f"{mean(tally.ious):.3f} ± {stdev(tally.ious) / count**0.5:.3f} over {count}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with images/, masks/ and pairs.json")
    parser.add_argument("--model", default="default", help="name, folder or Hub id (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or tensorrt (default: %(default)s)")
    parser.add_argument("--precision", help="one that the bundle has (default: the device's)")
    parser.add_argument("--threshold", type=float, default=0.2, help="0..1 (default: %(default)s)")
    arguments = parser.parse_args()
    segmenter = automask.load(arguments.model, device=arguments.device, precision=arguments.precision)
    print(f"{segmenter!r}, threshold {arguments.threshold}, grow_mask 0; {machine.line()}\n")
    report(*evaluate(segmenter, arguments.data, arguments.threshold))


if __name__ == "__main__":
    main()
