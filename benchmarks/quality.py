"""Evaluate a model on photos with ground truth, and print its quality by prompt and by kind.

    python benchmarks/quality.py --data DIR

`questions/quality.py` describes the folder and the metric.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import mean

import automask
from harness import machine
from harness.tables import table
from questions.quality import Tally, evaluate


def report(kinds: dict[str, Tally], prompts: dict[str, Tally]) -> str:
    """Format a table of the prompts, and a line for each kind."""
    rows = [
        [
            prompt,
            len(tally.ious) + tally.refused,
            f"{mean(tally.ious):.3f}" if tally.ious else "-",
            tally.empty,
            tally.refused,
        ]
        for prompt, tally in sorted(prompts.items())
    ]
    lines = [
        f"{kind}: mean IoU ± standard error {kinds[kind].score} pairs, {kinds[kind].empty} with nothing found; "
        f"{kinds[kind].refused} refused"
        for kind in ("thing", "stuff")
    ]
    absent = kinds["absent"]
    return "\n".join(
        (
            table(["prompt", "pairs", "mean IoU", "nothing found", "refused"], rows),
            *lines,
            f"absent: {absent.false_masks.replace(' in ', ' false masks in ')}; {absent.refused} refused",
        )
    )


def main() -> None:
    """Evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with images/, masks/ and pairs.json")
    parser.add_argument("--model", default="default", help="name, folder or Hub id (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, or a name of `automask doctor` (default: %(default)s)")
    parser.add_argument("--precision", help="a precision of the bundle (default: the device's)")
    parser.add_argument("--threshold", type=float, default=0.2, help="0..1 (default: %(default)s)")
    arguments = parser.parse_args()
    segmenter = automask.load(arguments.model, device=arguments.device, precision=arguments.precision)
    print(f"{segmenter!r}, threshold {arguments.threshold}, grow_mask 0; {machine.summary()}\n")
    print(report(*evaluate(segmenter, arguments.data, arguments.threshold)))


if __name__ == "__main__":
    main()
