"""Fragments: the specks and holes that a filter makes in texture along the outline of a mask.

The parts of a mask are found over its runs, rows cut where a value changes, not over its pixels: a photo of 12
megapixels has some ten thousand of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["remove_fragments"]

_INSIDE = 128  # the least opacity of a pixel of the mask
_BLOCK = 1 << 17  # pixels that are compared at once: more leave the cache
_LEAST_PART, _LEAST_HOLE = 0.1, 0.01  # of the area of the largest part, as where a drawer removes specks

Numbers = NDArray[np.intp]
Bits = NDArray[np.bool_]


def remove_fragments(filtered: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    """Remove, in place, the specks and holes of a filtered mask that the mask itself does not have.

    Parameters
    ----------
    filtered
        (H, W) uint8, 0..255, C-contiguous; at least 128 inside.
    mask
        (H, W) uint8, 0 or 255: the mask before the filter.
    """
    runs = _Runs.of(filtered, mask)
    parts, origins = runs.parts(runs.now), cache(partial(runs.parts, runs.before))
    specks = runs.now & runs.fragments(parts, origins, runs.now, runs.before, _LEAST_PART)
    outside = ~runs.now | specks
    if specks.any():
        parts = runs.parts(outside)
    holes = outside & runs.fragments(parts, origins, outside, ~runs.before, _LEAST_HOLE)
    pixels = filtered.reshape(-1)
    for runs_of_kind, limit, value in ((specks, np.minimum, _INSIDE - 1), (holes, np.maximum, _INSIDE)):
        where = runs.pixels(runs_of_kind)
        pixels[where] = limit(pixels[where], np.uint8(value))


class _Runs(NamedTuple):
    """The runs of pixels of one row in which two masks are constant.

    Attributes
    ----------
    starts, lengths
        (n,) first pixel, counted over all rows, and number of pixels.
    now, before
        (n,) whether a run is set in the filtered mask, and in the mask before.
    neighbours
        (2, m) pairs of runs that share an edge.
    """

    starts: Numbers
    lengths: Numbers
    now: Bits
    before: Bits
    neighbours: Numbers

    @classmethod
    def of(cls, filtered: NDArray[np.uint8], mask: NDArray[np.uint8]) -> _Runs:
        """Find the runs of a filtered mask and the mask before."""
        width = filtered.shape[1]
        step = max(1, _BLOCK // width)
        blocks = [
            _constant_runs(filtered[top : top + step], mask[top : top + step]) for top in range(0, len(filtered), step)
        ]
        starts = np.concatenate([found + top * step * width for top, (found, _) in enumerate(blocks)])
        values = np.concatenate([values for _, values in blocks])
        return cls(
            starts,
            np.diff(starts, append=filtered.size),
            values >= _INSIDE,
            values & 1 > 0,
            _neighbours(starts, width),
        )

    def fragments(self, parts: Numbers, origins: Callable[[], Numbers], now: Bits, before: Bits, least: float) -> Bits:
        """Return the runs of parts that lie mostly outside what was set before, or broke off a larger part of it."""
        count, both = len(self.starts), now & before
        areas = np.bincount(parts, self.lengths * now, count)
        kept = np.bincount(parts, self.lengths * both, count)
        small = (areas > 0) & ((2 * kept < areas) | (areas < least * areas.max()))
        if not small.any():
            return np.zeros(count, np.bool_)
        origin = np.full(count, count)
        origin[parts[both]] = origins()[both]
        largest = np.zeros(count + 1)
        np.maximum.at(largest, origin, areas)
        is_fragment = (2 * kept < areas) | (areas < least * largest[origin])
        return np.asarray(is_fragment[parts], np.bool_)

    def pixels(self, chosen: Bits) -> Numbers:
        """Return the pixels of the chosen runs, counted over all rows."""
        starts, lengths = self.starts[chosen], self.lengths[chosen]
        ends = np.cumsum(lengths)
        return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)

    def parts(self, bits: Bits) -> Numbers:
        """Return for each run the first run of its part, whether that is set or not."""
        first, second = self.neighbours[:, bits[self.neighbours[0]] == bits[self.neighbours[1]]]
        parts = np.arange(len(bits))
        while True:
            one, other = parts[first], parts[second]
            if (one == other).all():
                return parts
            np.minimum.at(parts, np.maximum(one, other), np.minimum(one, other))
            while not (parts == (above := parts[parts])).all():
                parts = above


def _constant_runs(filtered: NDArray[np.uint8], mask: NDArray[np.uint8]) -> tuple[Numbers, NDArray[np.uint8]]:
    """Return the first pixel of each run, and the bits of both masks in it, 128 and 1."""
    width = filtered.shape[1]
    values = np.asarray(filtered & 0x80 | mask & 1, np.uint8).reshape(-1)
    changes = values[1:] != values[:-1]
    changes[width - 1 :: width] = True  # each row begins a run
    starts = np.concatenate(([0], np.flatnonzero(changes) + 1))
    return starts, values[starts]


def _neighbours(starts: Numbers, width: int) -> Numbers:
    """Return the pairs of runs that touch: beside each other, and in two rows, wherever a run of either begins."""
    begin_in_row = np.flatnonzero(starts % width)
    last = starts[-1] // width * width + width
    places = np.concatenate((starts[starts >= width], starts[starts < last - width] + width))
    upper, lower = (np.searchsorted(starts, place, "right") - 1 for place in (places - width, places))
    return np.stack((np.concatenate((begin_in_row - 1, upper)), np.concatenate((begin_in_row, lower))))
