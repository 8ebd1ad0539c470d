"""How long `automask.postprocess.grow` takes beside OpenCV and SciPy, from 0.3 to 48 megapixels.

`cv2.dilate` with a disc is what one finds first; thresholding an exact distance transform, OpenCV's or SciPy's, is what
one comes to with large discs. All results are compared bit for bit first.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.turns import Contender, by_turns, digits, show, table, times_as_fast
from harness.workplace import Workplace

Mask = NDArray[np.uint8]

SIZES = {"0.3": (640, 480), "2": (1600, 1200), "12": (4000, 3000), "48": (8000, 6000)}
RADII = (0, 10, 50, 100)


def disc(radius: int) -> Mask:
    """Structuring element: all offsets of Euclidean length up to `radius`."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(x * x + y * y <= radius * radius, np.uint8)


def by_dilation(mask: Mask, radius: int) -> Mask:
    """OpenCV's dilation with that disc."""
    return np.asarray(cv2.dilate(mask, disc(radius)), np.uint8)


def by_opencv_distance(mask: Mask, radius: int) -> Mask:
    """Threshold OpenCV's exact distance transform."""
    if not radius or not mask.any():  # what it gives with nothing to measure from is not a distance
        return mask.copy()
    distances = cv2.distanceTransform(cv2.bitwise_not(mask), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return (distances <= radius + 1e-3).view(np.uint8) * np.uint8(255)  # it computes in float32


def by_scipy_distance(mask: Mask, radius: int) -> Mask:
    """Threshold SciPy's exact distance transform."""
    from scipy import ndimage

    if not radius or not mask.any():
        return mask.copy()
    return (ndimage.distance_transform_edt(mask == 0) <= radius).astype(np.uint8) * np.uint8(255)


def masks(width: int, height: int) -> dict[str, Mask]:
    """Draw an object over a tenth of the picture, several over most of it, and noise, the worst case."""
    sparse, dense = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    cv2.ellipse(sparse, (width // 3, height // 2), (width // 6, height // 5), 20, 0, 360, 255, -1)
    for i in range(6):
        centre = (width * (i + 1) // 7, height * (1 + i % 3) // 4)
        cv2.ellipse(dense, centre, (width // 9, height // 6), 30 * i, 0, 360, 255, -1)
    noise = (np.random.default_rng(0).random((height, width)) < 0.3).astype(np.uint8) * np.uint8(255)
    return {"sparse": sparse, "dense": dense, "noise": noise}


def contenders(mask: Mask, radius: int) -> dict[str, Contender]:
    """Give those that grow a mask, after a look at whether they agree."""
    from automask.postprocess import grow

    ways = {
        "automask": grow,
        "cv2.dilate": by_dilation,
        "cv2 distance": by_opencv_distance,
        "scipy distance": by_scipy_distance,
    }
    return {name: lambda _, way=way: way(mask, radius) for name, way in ways.items()}  # type: ignore[misc]


def check() -> None:
    """Let all grow the same masks, and refuse to go on where they differ."""
    for mask in masks(320, 240).values():
        for radius in RADII:
            found = {name: grow(0) for name, grow in contenders(mask, radius).items()}
            wrong = [name for name, one in found.items() if not np.array_equal(one, found["automask"])]  # type: ignore[arg-type]
            if wrong:
                raise SystemExit(f"{', '.join(wrong)} and automask disagree at radius {radius}")


def measure(workplace: Workplace) -> dict[str, Any]:
    """Milliseconds by size, mask and radius."""
    check()
    cases = []
    for megapixels in workplace.pick(list(SIZES), ["0.3"]):
        drawn = masks(*SIZES[megapixels])
        for name in workplace.pick(["sparse", "dense"], ["sparse"]) + (["noise"] if megapixels == "12" else []):
            for radius in workplace.pick(RADII, (0, 10)):
                ms = by_turns(contenders(drawn[name], radius), workplace.pick(15, 2), seconds=workplace.pick(4.0, 0.5))
                cases.append({"megapixels": megapixels, "mask": name, "radius": radius, "ms": ms})
    return {"cases": cases}


def markdown(figures: dict[str, Any]) -> str:
    """Lay out what `measure` gave."""
    rows = []
    for case in figures["cases"]:
        ours, *others = (ms := case["ms"]).values()
        best = min(others, key=lambda other: other["median"])
        cells = [show(ours), *(digits(other["median"]) for other in others), digits(times_as_fast(best, ours))]
        rows.append([case["megapixels"], case["mask"], case["radius"], *cells])
    return "**Growing a mask** (milliseconds; the results agree bit for bit)\n\n" + table(
        ["megapixels", "mask", "radius", *ms, "best other / automask"], rows
    )
