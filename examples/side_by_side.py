"""Mask a photo, and write photo, mask and cut-out side by side into one picture.

    python examples/side_by_side.py examples/coffee.jpg cup demo/cup.png

Beside the picture, mask, cut-out and preview are also written as files of their own: cup.mask.png, cup.alpha.png and
cup.preview.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import automask
from automask.compositing import over

GAP = 12
"""Pixels between the pictures."""
SQUARE = 10
"""Pixels of the side of a square of the chequered background."""


def on_squares(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay a cut-out over grey squares, the usual sign for transparency: (H, W, 4) to (H, W, 3)."""
    y, x = np.indices(rgba.shape[:2]) // SQUARE
    return over(rgba, np.where((x + y) % 2, 255, 214)[..., None].astype(np.uint8))


def side_by_side(result: automask.Result) -> NDArray[np.uint8]:
    """Return photo, mask and cut-out from left to right, with white gaps: (H, 3 W + 2 GAP, 3)."""
    gap = np.full((result.mask.shape[0], GAP, 3), 255, np.uint8)
    mask = np.repeat(result.mask[..., None], 3, axis=2)
    return np.concatenate((result.image, gap, mask, gap, on_squares(result.alpha)), axis=1)


def main() -> None:
    """Mask the photo, write the pictures, and print their paths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, help="the photo: JPEG, PNG, …")
    parser.add_argument("prompt", help="what to mask, in a few words")
    parser.add_argument("output", type=Path, help="the picture to write")
    parser.add_argument("--grow-mask", type=int, default=0, help="pixels, 0..100 (default: %(default)s)")
    arguments = parser.parse_args()
    segmenter = automask.load()
    result = segmenter.mask(arguments.image, arguments.prompt, grow_mask=arguments.grow_mask, alpha="soft")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(arguments.output), cv2.cvtColor(side_by_side(result), cv2.COLOR_RGB2BGR))
    found = ", ".join(f"{one.label} ({one.score:.2f})" for one in result.instances) or "nothing"
    print(f"found {found} in {result.timings['total']:.0f} ms on {result.device}")
    print(f"photo, mask and cut-out: {arguments.output.resolve()}")
    for kind in ("mask", "alpha", "preview"):
        print(f"{kind:<24} {result.save(arguments.output.with_suffix(f'.{kind}.png'), kind).resolve()}")


if __name__ == "__main__":
    main()
