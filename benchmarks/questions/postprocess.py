"""The time of `automask.postprocess.grow` beside OpenCV and SciPy, on masks of 0.3 to 48 megapixels.

The alternatives are `cv2.dilate` with a disc, the usual solution, and a threshold on an exact distance transform of
OpenCV or SciPy, the usual one for large discs. First all results are compared bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.drawing import colour, use_log_scale
from harness.options import RunOptions
from harness.tables import digits, format_spread, table
from harness.timing import Contender, speedup, time_in_turns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Mask = NDArray[np.uint8]

SIZES = {"0.3": (640, 480), "2": (1600, 1200), "12": (4000, 3000), "48": (8000, 6000)}
RADII = (0, 10, 50, 100)


def disc(radius: int) -> Mask:
    """Return the structuring element: all offsets of Euclidean length up to `radius` pixels."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(x * x + y * y <= radius * radius, np.uint8)


def by_dilation(mask: Mask, radius: int) -> Mask:
    """Dilate with that disc in OpenCV."""
    return np.asarray(cv2.dilate(mask, disc(radius)), np.uint8)


def by_opencv_distance(mask: Mask, radius: int) -> Mask:
    """Threshold OpenCV's exact distance transform."""
    if not radius or not mask.any():  # without any object its result is not a distance
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
    """Return three masks: one object on a tenth of the picture, several on most of it, and noise, the worst case."""
    sparse, dense = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    cv2.ellipse(sparse, (width // 3, height // 2), (width // 6, height // 5), 20, 0, 360, 255, -1)
    for i in range(6):
        centre = (width * (i + 1) // 7, height * (1 + i % 3) // 4)
        cv2.ellipse(dense, centre, (width // 9, height // 6), 30 * i, 0, 360, 255, -1)
    noise = (np.random.default_rng(0).random((height, width)) < 0.3).astype(np.uint8) * np.uint8(255)
    return {"sparse": sparse, "dense": dense, "noise": noise}


def contenders(mask: Mask, radius: int) -> dict[str, Contender]:
    """Return every way to grow this mask by this radius."""
    from automask.postprocess import grow

    functions = {
        "automask": grow,
        "cv2.dilate": by_dilation,
        "cv2 distance": by_opencv_distance,
        "scipy distance": by_scipy_distance,
    }
    return {name: lambda _, grow=grow: grow(mask, radius) for name, grow in functions.items()}  # type: ignore[misc]


def check() -> None:
    """Compare the results of all contenders bit for bit.

    Raises
    ------
    SystemExit
        They differ.
    """
    for mask in masks(320, 240).values():
        for radius in RADII:
            found = {name: grow(0) for name, grow in contenders(mask, radius).items()}
            wrong = [name for name, one in found.items() if not np.array_equal(one, found["automask"])]  # type: ignore[arg-type]
            if wrong:
                raise SystemExit(f"{', '.join(wrong)} and automask disagree at radius {radius}")


def measure(options: RunOptions) -> dict[str, Any]:
    """Measure milliseconds by size, mask and radius."""
    check()
    cases = []
    for megapixels in options.pick(list(SIZES), ["0.3"]):
        drawn = masks(*SIZES[megapixels])
        for name in options.pick(["sparse", "dense"], ["sparse"]) + (["noise"] if megapixels == "12" else []):
            for radius in options.pick(RADII, (0, 10)):
                ms = time_in_turns(contenders(drawn[name], radius), options.pick(15, 2), seconds=4.0)
                cases.append({"megapixels": megapixels, "mask": name, "radius": radius, "ms": ms})
    return {"cases": cases}


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    rows = []
    for case in figures["cases"]:
        ours, *others = (ms := case["ms"]).values()
        best = min(others, key=lambda other: other["median"])
        cells = [format_spread(ours), *(digits(other["median"]) for other in others), digits(speedup(best, ours))]
        rows.append([case["megapixels"], case["mask"], case["radius"], *cells])
    return "**Growing a mask** (milliseconds; the results agree bit for bit)\n\n" + table(
        ["megapixels", "mask", "radius", *ms, "best other / automask"], rows
    )


def draw(axis: Axes, figures: dict[str, Any]) -> None:
    """Draw the time by radius, on sparse masks of the largest size but one."""
    sizes = list(dict.fromkeys(case["megapixels"] for case in figures["cases"]))
    size = sizes[max(0, len(sizes) - 2)]
    cases = [case for case in figures["cases"] if case["megapixels"] == size and case["mask"] == "sparse"]
    for name in cases[0]["ms"]:
        radii = [case["radius"] for case in cases]
        middle = [case["ms"][name]["median"] for case in cases]
        axis.plot(radii, middle, "o-", color=colour(name))
        axis.annotate(
            name, (radii[-1], middle[-1]), (-4, 6), textcoords="offset points", ha="right", color=colour(name)
        )
    use_log_scale(axis)
    axis.set_title(f"growing a mask of {size} megapixels, ms", loc="left")
    axis.set_xlabel("radius, pixels")
    axis.margins(y=0.12)
