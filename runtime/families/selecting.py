"""Selections on objects: indices, a box and points applied to what a finder found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np

from ..instance import Instance
from ..selection import Point, Selection
from .drawers import Drawer, Drawing, Hint
from .extent import extent
from .family import Picture, Prediction, Stopwatch
from .finders import Detections

__all__ = ["NOTHING", "select"]

NOTHING: Final = Detections(Prediction(()), np.empty((0, 4), np.float32), np.empty(0, np.float32), ())
"""What a finder found where there is no prompt."""

_ADDED = "object"  # label of an object that a box or points add
_SAME = 0.3  # least IoU of a box with that of the instance it corrects

_Box: TypeAlias = tuple[float, float, float, float]


@dataclass(slots=True)
class _Target:
    """An object to draw.

    Attributes
    ----------
    label, score
        As in `Instance`; without a score, the IoU that the drawer predicts.
    box, points
        Where it is, as in `Hint`.
    drawing
        Its mask, once drawn.
    """

    label: str
    score: float | None
    box: _Box | None
    points: list[Point] = field(default_factory=list)
    drawing: Drawing | None = None


def select(drawer: Drawer, picture: Picture, found: Detections, selection: Selection, watch: Stopwatch) -> Prediction:
    """Return the prediction for a selection; `Selection` documents its meaning.

    Parameters
    ----------
    drawer, picture, watch
        Draw the masks.
    found
        The objects of the prompt; `NOTHING` where there is none.
    selection
        Inside the picture.

    Raises
    ------
    ParameterError
        There is no instance with an index that was passed.
    """
    targets = [
        _Target(found.labels[index], float(found.scores[index]), _as_box(found.boxes[index].tolist()))
        for index in selection.pick(len(found.labels))
    ]
    if selection.box is not None:
        _apply_box(targets, selection.box)
    if found is NOTHING:
        targets = [_Target(_ADDED, None, selection.box, list(selection.points))]
    elif selection.points:
        _draw(drawer, picture, targets, watch)
        _apply_points(targets, selection.points, picture.size)
    _draw(drawer, picture, [target for target in targets if target.points or target.drawing is None], watch)
    return replace(found.prediction, instances=tuple(_instance(target, picture.size) for target in targets))


def _apply_box(targets: list[_Target], box: _Box) -> None:
    """Replace the box of the object that a box corrects, or add an object."""
    best = max(targets, key=lambda target: _iou(target.box, box), default=None)
    if best is not None and _iou(best.box, box) >= _SAME:
        best.box = box
    else:
        targets.append(_Target(_ADDED, None, box))


def _apply_points(targets: list[_Target], points: Sequence[Point], size: tuple[int, int]) -> None:
    """Give each point to the drawn objects that it refines, or to one new object."""
    added = _Target(_ADDED, None, None)
    for point in points:
        under = [target for target in targets if _covers(target, point, size)]
        nearest = min(targets, key=lambda target: (_distance(target.box, point), _area(target.box)), default=None)
        if under:
            for target in under:
                target.points.append(point)
        elif nearest is None or (point[2] == 1 and _is_far(nearest.box, point)):
            added.points.append(point)
        else:
            nearest.points.append(point)
    for target in targets:
        target.box = _around(target.box, target.points)
    if any(label == 1 for _, _, label in added.points):
        targets.append(added)


def _draw(drawer: Drawer, picture: Picture, targets: Sequence[_Target], watch: Stopwatch) -> None:
    if not targets:
        return
    hints = [Hint(target.box, tuple(target.points)) for target in targets]
    for target, drawing in zip(targets, drawer.draw_hints(picture, hints, watch), strict=True):
        target.drawing = drawing


def _instance(target: _Target, size: tuple[int, int]) -> Instance:
    drawing = target.drawing
    assert drawing is not None, "every target is drawn"  # noqa: S101
    score = drawing.iou if target.score is None else target.score
    box = _around_mask(drawing, target.points, size) if target.box is None else target.box
    return Instance(target.label, score, box, size, drawing.logits, tuple(target.points))


def _covers(target: _Target, point: Point, size: tuple[int, int]) -> bool:
    """Return whether a point lies in the mask of a drawn object."""
    if target.drawing is None:
        return False
    logits = target.drawing.logits
    row, column = (
        min(int(at * low / full), low - 1)
        for at, low, full in zip((point[1], point[0]), logits.shape, size, strict=True)
    )
    return bool(logits[row, column] > 0)


def _around_mask(drawing: Drawing, points: Sequence[Point], size: tuple[int, int]) -> _Box:
    """Return the box around a mask, in pixels of the image; of an empty one, around its points."""
    box = extent(drawing.logits, size)
    if box is None:
        xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
        return min(xs), min(ys), max(xs), max(ys)
    return box


def _around(box: _Box | None, points: Sequence[Point]) -> _Box | None:
    """Return a box, enlarged so that the object's points are inside."""
    if box is None:
        return None
    left, top, right, bottom = box
    for x, y, label in points:
        if label == 1:
            left, top, right, bottom = min(left, x), min(top, y), max(right, x), max(bottom, y)
    return left, top, right, bottom


def _is_far(box: _Box | None, point: Point) -> bool:
    """Return whether a point is further from a box than half its longer side."""
    if box is None:
        return False
    return _distance(box, point) > 0.5 * max(box[2] - box[0], box[3] - box[1])


def _distance(box: _Box | None, point: Point) -> float:
    """Return the distance of a point from a box, 0 inside."""
    if box is None:
        return math.inf
    left, top, right, bottom = box
    x, y, _ = point
    return math.hypot(max(left - x, 0, x - right), max(top - y, 0, y - bottom))


def _area(box: _Box | None) -> float:
    return 0.0 if box is None else max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _iou(a: _Box | None, b: _Box) -> float:
    if a is None:
        return 0.0
    both = _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return both / (_area(a) + _area(b) - both)


def _as_box(sides: Sequence[float]) -> _Box:
    left, top, right, bottom = sides
    return left, top, right, bottom
