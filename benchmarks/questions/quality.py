"""The quality of the masks on photos with ground truth.

The folder of the photos holds `images/`, `masks/` (PNG, one label number per pixel) and `pairs.json`, a list of
{image, prompt, kind, label}. The kind is `thing` or `stuff` if the prompt is in the picture, where the mask should be
the pixels of that label, or `absent` if it is not. Pixels labelled 255 have no label and are not counted, as in the
usual evaluation of COCO-Stuff. Every prompt goes through `Segmenter.mask` with `grow_mask` 0. Prompts that the model
refuses are counted separately: they are not part of the mean, and their number is printed beside it.
"""

from __future__ import annotations

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
from harness.options import MissingRequirementError, RunOptions
from harness.tables import table

UNLABELLED = 255


@dataclass
class Tally:
    """The outcome for the prompts of one kind.

    Attributes
    ----------
    ious
        Intersection over union for each prompt that was not refused.
    refused
        Prompts that the model refused.
    empty
        Prompts for which nothing was found.
    """

    ious: list[float] = field(default_factory=list)
    refused: int = 0
    empty: int = 0

    @property
    def score(self) -> str:
        """Mean IoU ± standard error and the number of pairs: `0.668 ± 0.021 over 74`."""
        count = len(self.ious)
        if count < 2:
            return "-"
        return f"{mean(self.ious):.3f} ± {stdev(self.ious) / count**0.5:.3f} over {count}"

    @property
    def false_masks(self) -> str:
        """How many prompts got a mask; for absent things each of these is an error."""
        count, false = len(self.ious), len(self.ious) - self.empty
        return f"{false} in {count} ({100 * false / max(1, count):.1f} %)"


def iou(mask: NDArray[np.uint8], labels: NDArray[np.uint8], label: int) -> float:
    """Return intersection over union of a mask and the pixels of one label, over the labelled pixels."""
    labelled = labels != UNLABELLED
    found, truth = (mask > 0) & labelled, labels == label
    return float((found & truth).sum() / max(1, (found | truth).sum()))


def evaluate(segmenter: automask.Segmenter, data: Path, threshold: float) -> tuple[dict[str, Tally], dict[str, Tally]]:
    """Mask all pairs, and return a tally for each kind, and one for each prompt of the things."""
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


def measure(options: RunOptions) -> dict[str, Any]:
    """Evaluate the embedded model in each precision, at threshold 0.2.

    Raises
    ------
    MissingRequirementError
        No folder of photos was given.
    """
    if options.data is None:
        raise MissingRequirementError("needs photos with ground truth: --data DIR, or make bench DATA=DIR")
    found = {}
    for precision in ("int8", "fp32"):
        kinds, _ = evaluate(automask.load(device="cpu", precision=precision), options.data, threshold=0.2)
        found[precision] = {kind: asdict(tally) for kind, tally in kinds.items()}
    return found


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    rows = []
    for precision, kinds in figures.items():
        things, stuff, absent = (Tally(**kinds[kind]) for kind in ("thing", "stuff", "absent"))
        rows.append(
            [
                precision,
                f"{things.score}; nothing found for {things.empty}",
                absent.false_masks,
                f"{stuff.refused} of {stuff.refused + len(stuff.ious)}; {stuff.score}",
            ]
        )
    columns = [
        "embedded model",
        "things in the photo, mean IoU",
        "false masks of absent things",
        "stuff (grass, sky, …) refused; mean IoU of the others",
    ]
    return (
        "**Quality** (photos of COCO val2017, threshold 0.2, `grow_mask` 0; mean ± standard error over pairs of photo "
        "and prompt)\n\n" + table(columns, rows)
    )
