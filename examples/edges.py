"""Show the edges of masks at 100 %: as the model draws them, refined, and as soft cut-outs on other backgrounds.

    python examples/edges.py docs/edges.jpg

One row for each of two photos. In the first three columns the background is white where the mask is not set, with
`edges="model"`, `"fast"` and `"fine"`; the others are the cut-out (`alpha="soft"`) on white, on black and on a photo.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import automask
from automask.compositing import cover, over
from automask.parameters import Edges

Pixels = NDArray[np.uint8]

FOLDER = Path(__file__).parent
ROWS = (
    ("astronaut.jpg", "person", (110, 20), "coffee.jpg"),
    ("coffee.jpg", "cup", (150, 30), "astronaut.jpg"),
)
"""Photo, prompt, left and top of the part that is shown, and the photo behind its cut-out."""
SIDE = 240
"""Pixels of the side of each picture."""
GAP = 8
"""Pixels between the pictures."""
EDGES: tuple[Edges, ...] = ("model", "fast", "fine")
TITLES = (*(f'edges="{edges}"' for edges in EDGES), "cut out: white", "black", "another photo")
WHITE, BLACK = np.full(3, 255, np.uint8), np.zeros(3, np.uint8)


def columns(segmenter: automask.Segmenter, photo: str, prompt: str, behind: str) -> list[Pixels]:
    """Return the pictures of one row: hard masks in each mode, then the cut-out on three backgrounds, (H, W, 3)."""
    hard = [segmenter.mask(FOLDER / photo, prompt, grow_mask=0, edges=edges) for edges in EDGES]
    soft = segmenter.mask(FOLDER / photo, prompt, grow_mask=0, alpha="soft").alpha
    other = cover(np.asarray(cv2.imread(str(FOLDER / behind)), np.uint8)[..., ::-1], soft.shape[:2])
    return [*(over(one.alpha, WHITE) for one in hard), *(over(soft, below) for below in (WHITE, BLACK, other))]


def sheet(segmenter: automask.Segmenter) -> Pixels:
    """Return the whole picture, with a line of titles: (H, W, 3)."""
    rows = [header()]
    for photo, prompt, (left, top), behind in ROWS:
        part = slice(top, top + SIDE), slice(left, left + SIDE)
        rows.append(beside([picture[part] for picture in columns(segmenter, photo, prompt, behind)]))
    gap = np.full((GAP, rows[0].shape[1], 3), 200, np.uint8)
    return np.concatenate([line for row in rows for line in (row, gap)][:-1])


def header() -> Pixels:
    """Return the titles of the columns."""
    canvas = np.full((28, len(TITLES) * (SIDE + GAP) - GAP, 3), 255, np.uint8)
    for index, title in enumerate(TITLES):
        corner = (index * (SIDE + GAP) + 4, 19)
        cv2.putText(canvas, title, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (40, 40, 40), 1, cv2.LINE_AA)
    return canvas


def beside(pictures: list[Pixels]) -> Pixels:
    """Put pictures side by side, with grey gaps."""
    gap = np.full((SIDE, GAP, 3), 200, np.uint8)
    return np.concatenate([one for picture in pictures for one in (picture, gap)][:-1], axis=1)


def main() -> None:
    """Mask the photos and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="the picture to write")
    output: Path = parser.parse_args().output
    picture = cv2.cvtColor(sheet(automask.load()), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(output), picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
    print(output)


if __name__ == "__main__":
    main()
