"""A selection in an image: a box, points, and which instances of the prompt to keep."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TypeAlias

from .errors import ParameterError

__all__ = ["MAX_POINTS", "Point", "Selection"]

MAX_POINTS = 64
_MAX_INDICES = 1000  # more than a model finds

Point: TypeAlias = tuple[float, float, int]
"""x and y in pixels of the image, and 1 for a point of the object or 0 for a point outside it."""

_Box: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a caller selects in an image by a box, by points and by the indices of a prompt's instances.

    Attributes
    ----------
    box
        Left, top, right, bottom in pixels of the image, around one object. Without a prompt, that object is masked.
        With a prompt, the box replaces that of the instance with which its IoU is largest; if that is below 0.3, it
        adds an object. A model of the family `concept` takes it as an example instead: with or without a prompt, the
        objects are masked that look like the one in it.
    points
        At most 64. Without a prompt, the points (and the box) mean one object. With a prompt, a point refines each
        instance in whose mask it lies; a point in no mask refines the instance whose box is nearest, the smallest one
        of those around it. Points with label 1 that are further from the nearest box than half its longer side, or
        where nothing was found, add one object.
    keep, drop
        Indices of the prompt's instances, best first, without those that a box or points add: which ones to keep, all
        by default, and which ones to drop.

    Raises
    ------
    ParameterError
        A value is of the wrong type, or out of its range.

    Examples
    --------
    >>> Selection.build(box=[10, 20, 110, 90], points=[(30, 40, 0)]).box
    (10.0, 20.0, 110.0, 90.0)
    >>> Selection.build(box=[110, 20, 10, 90])
    Traceback (most recent call last):
        ...
    automask.errors.ParameterError: box must have left < right and top < bottom, got (110.0, 20.0, 10.0, 90.0)
    """

    box: _Box | None = None
    points: tuple[Point, ...] = ()
    keep: tuple[int, ...] = ()
    drop: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.box is not None and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ParameterError("box", "have left < right and top < bottom", self.box)
        if len(self.points) > MAX_POINTS:
            raise ParameterError("points", f"hold at most {MAX_POINTS} points", len(self.points))

    @classmethod
    def build(
        cls,
        box: Sequence[float] | None = None,
        points: Iterable[Sequence[float]] = (),
        keep: Iterable[int] = (),
        drop: Iterable[int] = (),
    ) -> Selection:
        """Build a selection from sequences of any kind.

        Raises
        ------
        ParameterError
            A value is of the wrong type, or out of its range.
        """
        return cls(
            box=None if box is None else _parse_box(box),
            points=tuple(
                _parse_point(f"points[{index}]", point)
                for index, point in enumerate(_items("points", points, MAX_POINTS))
            ),
            keep=_parse_indices("keep", keep),
            drop=_parse_indices("drop", drop),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields that are set."""
        return tuple(name for name in ("box", "points", "keep", "drop") if getattr(self, name) not in (None, ()))

    @property
    def is_object(self) -> bool:
        """Whether box and points mean an object by themselves."""
        return self.box is not None or any(label == 1 for _, _, label in self.points)

    def check_size(self, size: tuple[int, int]) -> None:
        """Check that box and points are inside an image.

        Parameters
        ----------
        size
            Height and width of the image, in pixels.

        Raises
        ------
        ParameterError
            The box or a point is outside.
        """
        height, width = size
        inside = f"be inside the image, which is {width}×{height}"
        if self.box is not None:
            left, top, right, bottom = self.box
            if left < 0 or top < 0 or right > width or bottom > height:
                raise ParameterError("box", inside, self.box)
        for index, (x, y, _) in enumerate(self.points):
            if not (0 <= x <= width and 0 <= y <= height):
                raise ParameterError(f"points[{index}]", inside, (x, y))

    def pick(self, count: int) -> list[int]:
        """Return the indices to keep, in rising order, of `count` instances.

        Raises
        ------
        ParameterError
            An index is `count` or more.
        """
        for name, indices in (("keep", self.keep), ("drop", self.drop)):
            if indices and max(indices) >= count:
                found = f"the prompt has {count} instances" if count else "nothing was found for the prompt"
                raise ParameterError(name, f"hold indices below {count}, because {found}", max(indices))
        return [index for index in range(count) if (not self.keep or index in self.keep) and index not in self.drop]


def _parse_box(value: object) -> _Box:
    sides = [_number(side) for side in _items("box", value)]
    if len(sides) != 4 or None in sides:
        raise ParameterError("box", "be four numbers: left, top, right, bottom", value)
    left, top, right, bottom = (side for side in sides if side is not None)
    return left, top, right, bottom


def _parse_point(name: str, value: object) -> Point:
    items = _items(name, value)
    if len(items) != 3:
        raise ParameterError(name, "be three numbers: x, y and a label, 1 or 0", value)
    x, y, label = map(_number, items)
    if x is None or y is None:
        raise ParameterError(name, "have numbers as x and y", value)
    if label not in {0, 1}:
        raise ParameterError(name, "have the label 1 (part of the object) or 0 (not part of it)", items[2])
    return x, y, int(label)


def _parse_indices(name: str, value: object) -> tuple[int, ...]:
    indices = _items(name, value, _MAX_INDICES)
    for index in indices:
        if isinstance(index, bool) or not isinstance(index, Integral) or index < 0:
            raise ParameterError(name, "hold indices of instances: integers, 0 or more", index)
    return tuple(dict.fromkeys(int(index) for index in indices if isinstance(index, Integral)))


def _items(name: str, value: object, most: int | None = None) -> list[object]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ParameterError(name, "be a sequence", value)
    if most is not None and isinstance(value, Sized) and len(value) > most:  # before millions of them are checked
        raise ParameterError(name, f"hold at most {most} {'points' if name == 'points' else 'indices'}", len(value))
    return list(value)


def _number(value: object) -> float | None:
    """Return a finite number as a float, else None."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
