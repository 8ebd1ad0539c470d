"""How long `automask.postprocess.grow` takes beside `cv2.dilate` and `scipy.ndimage`, all with the same disc.

Each row alternates between the contenders in one run, so that a busy machine slows all alike; medians are
printed, and the ratio to cv2. The three results are compared bit for bit first. `--json FILE` keeps the figures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import machine
from automask.postprocess import grow

Mask = NDArray[np.uint8]
SLOW_SECONDS = 1.0  # a contender that takes longer is timed once


def disc(radius: int) -> Mask:
    """Structuring element: all offsets of Euclidean length up to `radius`."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(x * x + y * y <= radius * radius, np.uint8)


def by_cv2(mask: Mask, radius: int) -> Mask:
    """OpenCV's dilation with that disc."""
    return np.asarray(cv2.dilate(mask, disc(radius)), np.uint8)


def by_scipy(mask: Mask, radius: int) -> Mask:
    """Threshold SciPy's exact distance transform, its fastest way to a large disc."""
    if not mask.any():
        return mask
    return (ndimage.distance_transform_edt(mask == 0) <= radius).astype(np.uint8) * np.uint8(255)


CONTENDERS: dict[str, Callable[[Mask, int], Mask]] = {"automask": grow, "cv2": by_cv2, "scipy": by_scipy}


def masks(height: int, width: int) -> dict[str, Mask]:
    """Draw an object over a tenth of the picture, several over most of it, and noise, the worst case."""
    one, many = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    cv2.ellipse(one, (width // 3, height // 2), (width // 6, height // 5), 20, 0, 360, 255, -1)
    for i in range(6):
        cv2.ellipse(
            many,
            (width * (i + 1) // 7, height * (1 + i % 3) // 4),
            (width // 9, height // 6),
            30 * i,
            0,
            360,
            255,
            -1,
        )
    noise = (np.random.default_rng(0).random((height, width)) < 0.3).astype(np.uint8) * np.uint8(255)
    return {"one object": one, "six objects": many, "noise": noise}


def measure(mask: Mask, radius: int, repeats: int) -> dict[str, float]:
    """Median milliseconds by contender, taken in turns."""
    reference, times = grow(mask, radius), {name: list[float]() for name in CONTENDERS}
    for turn in range(repeats):
        for name, contender in CONTENDERS.items():
            if turn and times[name][0] > SLOW_SECONDS:
                continue
            start = perf_counter()
            result = contender(mask, radius)
            times[name].append(perf_counter() - start)
            if turn == 0 and not np.array_equal(result, reference):
                raise SystemExit(f"{name} disagrees at radius {radius}")
    return {name: median(seconds) * 1e3 for name, seconds in times.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="4000x3000", help="width x height in pixels (default: %(default)s)")
    parser.add_argument("--radii", default="0,10,50,100", help="comma-separated, 0..100 (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    rows = [
        (name, radius, measure(mask, radius, arguments.repeats))
        for name, mask in masks(height, width).items()
        for radius in map(int, arguments.radii.split(","))
    ]
    print(f"{width}x{height}, milliseconds (median of {arguments.repeats}); {machine.line()}\n")
    print("| mask | radius | automask | cv2.dilate | scipy distance | cv2 / automask |\n|---|---|---|---|---|---|")
    for name, radius, ms in rows:
        figures = " | ".join(f"{ms[contender]:.1f}" for contender in CONTENDERS)
        print(f"| {name} | {radius} | {figures} | {ms['cv2'] / ms['automask']:.1f} |")
    if arguments.json:
        cases = [{"mask": name, "radius": radius, "ms": ms} for name, radius, ms in rows]
        report = {"size": [width, height], "machine": machine.describe(), "cases": cases}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
