"""Where the time of the embedded model goes: a photo it has not seen, and another prompt on the same photo.

Stages are those of `Result.timings`; a photo that was seen before comes from the cache. Medians over rounds that
alternate between the cases. The photo is `examples/coffee.jpg`, with a few bytes after
the end of the picture that make it new each time.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median

import automask
import machine

PHOTO = Path(__file__).parents[1] / "examples" / "coffee.jpg"
STAGES = ("decode", "detect", "encode", "masks", "postprocess", "total")
CASES = ("new photo", "same photo, another prompt", "new photo, nothing found")


def measure(device: str, repeats: int) -> dict[str, dict[str, float]]:
    """Median milliseconds by stage, for each case."""
    segmenter = automask.load(device=device)  # type: ignore[arg-type]
    jpeg = PHOTO.read_bytes()
    rounds: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
    for number in range(-2, repeats):
        seen, unseen = (jpeg + f"{name} {number}".encode() for name in ("seen", "unseen"))
        jobs = ((seen, "cup"), (seen, "dining table"), (unseen, "zebra"))
        for case, (photo, prompt) in zip(CASES, jobs, strict=True):
            timings = segmenter.mask(photo, prompt).timings
            if number >= 0:
                rounds[case].append(dict(timings))
    return {case: {s: median(one.get(s, 0.0) for one in found) for s in STAGES} for case, found in rounds.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or tensorrt (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=21, help="rounds (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    ms = measure(arguments.device, arguments.repeats)
    print(f"600×400 photo, milliseconds (median of {arguments.repeats}), grow_mask 10, {machine.line()}\n")
    print(f"| case | {' | '.join(STAGES)} |\n|---|{'---|' * len(STAGES)}")
    for case, row in ms.items():
        print(f"| {case} | {' | '.join(f'{row[stage]:.1f}' for stage in STAGES)} |")
    ratio = ms["new photo"]["total"] / ms["same photo, another prompt"]["total"]
    print(f"\nanother prompt on the same photo: {ratio:.1f} times as fast as the first")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine.describe(), "ms": ms}, indent=2) + "\n")


if __name__ == "__main__":
    main()
