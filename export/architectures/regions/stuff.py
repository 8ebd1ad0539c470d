"""Which labels are stuff: surfaces without a number, such as sky; the others are things, which can be counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["stuff_of"]

# The configurations of checkpoints do not say it. COCO panoptic has 133 labels, the 80 things first
# (https://cocodataset.org/#panoptic-2018).
_COCO_LABELS, _COCO_THINGS = 133, 80
# The 50 of ADE20K's 150 labels that its instance segmentation benchmark leaves out, by number (arXiv:1608.05442).
_ADE20K_STUFF: Final = (
    0, 1, 2, 3, 4, 5, 6, 9, 11, 13, 16, 17, 21, 25, 26, 28, 29, 34, 40, 46, 48, 51, 52, 54, 59, 60, 61, 63, 68, 77, 79,
    84, 91, 94, 96, 99, 100, 101, 105, 106, 109, 113, 114, 117, 122, 128, 131, 140, 141, 145,
)  # fmt: skip
_ADE20K_FIRST: Final = ("wall", "building", "sky", "floor", "tree", "ceiling")
# Cityscapes: people and vehicles are things (https://www.cityscapes-dataset.com/dataset-overview).
_CITYSCAPES_THINGS: Final = frozenset({"person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"})
_CITYSCAPES_FIRST: Final = ("road", "sidewalk", "building", "wall", "fence", "pole")


def stuff_of(labels: Sequence[str]) -> list[int]:
    """Return the indices of the labels of stuff; none for a label set that is not known to have any.

    Examples
    --------
    >>> stuff_of(["person", "cat"])
    []
    """
    names = tuple(label.partition(",")[0].strip().casefold() for label in labels)
    if len(names) == _COCO_LABELS and names[0] == "person":
        return list(range(_COCO_THINGS, _COCO_LABELS))
    if len(names) == 150 and names[:6] == _ADE20K_FIRST:
        return list(_ADE20K_STUFF)
    if names[:6] == _CITYSCAPES_FIRST:
        return [index for index, name in enumerate(names) if name not in _CITYSCAPES_THINGS]
    return []
