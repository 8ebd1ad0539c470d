"""Dilation of a mask by a disc: exact, without looking at most single pixels.

The mask is packed, eight pixels to a byte, and cut into cells of 8×8 pixels. A cell is set in the result if another
cell with a set pixel is so near that all their pixels are within the radius of each other. It is not set if no cell
with a set pixel has any pixel within the radius. Between the two is a narrow band along the new outline; only the tiles
that it touches are dilated bit by bit.
"""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray

__all__ = ["dilate"]

_CELL = 8  # pixels, so that a row of a cell is one byte
# A tile needs the bits around it, too: smaller tiles fit the band better, but repeat more work.
_TILE_ROWS, _TILE_BYTES = 32, 16
_CHUNK_BYTES = (
    1 << 17
)  # of tiles at once: enough to hide the cost of a call, few enough to stay in the processor's cache
_STRIP_BYTES = 1 << 18

Bits = NDArray[np.uint8]


def dilate(mask: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Return a mask dilated by a disc.

    Parameters
    ----------
    mask
        (H, W) uint8; every value but 0 is set.
    radius
        Radius in pixels, 1 or more.

    Returns
    -------
    (H, W) uint8, a new array: 255 where a set pixel is within `radius`, else 0.

    Examples
    --------
    >>> dilate(np.array([[0, 0, 0, 255]], np.uint8), 2).tolist()
    [[0, 255, 255, 255]]
    """
    height, width = mask.shape
    grown = np.zeros((height, width), np.uint8)
    packed = np.packbits(mask, axis=1)
    box = _bounding_box(packed)
    if box is None:
        return grown
    top, bottom, left, right = box
    margin = _bytes(radius)
    rows = slice(max(0, top - radius), bottom + radius)
    bits = _dilate_bits(packed[rows, max(0, left - margin) : right + margin], radius)
    part = grown[rows, _CELL * max(0, left - margin) : _CELL * (right + margin)]
    step = max(1, _STRIP_BYTES // part.shape[1])
    for start in range(0, len(part), step):
        strip = np.unpackbits(bits[start : start + step], axis=1, count=part.shape[1])
        np.negative(strip, out=part[start : start + step])
    return grown


def _bounding_box(packed: Bits) -> tuple[int, int, int, int] | None:
    """Return the first and one-past-last row, and byte column, that hold a set bit."""
    rows = np.flatnonzero(np.bitwise_or.reduce(packed, axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(np.bitwise_or.reduce(packed[rows[0] : rows[-1] + 1], axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _dilate_bits(packed: Bits, radius: int) -> Bits:
    """Return dilated packed rows, as many and as long."""
    height, width = packed.shape
    down, across = -(-height // _TILE_ROWS), -(-width // _TILE_BYTES)
    margin = _bytes(radius)
    spare = (down * _TILE_ROWS - height, across * _TILE_BYTES - width)
    padded = np.pad(packed, ((radius, radius + spare[0]), (margin, margin + spare[1])))
    inner = padded[radius : radius + down * _TILE_ROWS, margin : margin + across * _TILE_BYTES]
    sure, unsure = _classify_cells(inner, radius)
    dilated = np.repeat(np.negative(sure.view(np.uint8)), _CELL, axis=0)
    tiles = dilated.reshape(down, _TILE_ROWS, across, _TILE_BYTES)
    parts = unsure.reshape(down, _TILE_ROWS // _CELL, across, _TILE_BYTES)
    _dilate_tiles(padded, radius, tiles, *np.nonzero(parts.any(axis=(1, 3))))
    return dilated[:height, :width]


def _classify_cells(packed: Bits, radius: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which cells are surely set in the result, and which are unsure."""
    rows = packed.reshape(-1, _CELL, packed.shape[1])
    some = np.bitwise_or.reduce(rows, axis=1) != 0
    sure = np.bitwise_and.reduce(rows, axis=1) == 255
    sure |= _dilate_cells(some, _half_heights(radius, _CELL, _CELL - 1))  # the farthest pixels of two cells
    unsure = _dilate_cells(some, _half_heights(radius, _CELL, 1 - _CELL))  # the nearest
    return sure, unsure & ~sure


def _half_heights(radius: int, step: int, extra: int) -> list[int]:
    """Return the disc's reach up and down, in steps, at each offset to the side: 0, 1, … steps.

    Parameters
    ----------
    radius
        Radius in pixels.
    step
        Pixels of a step.
    extra
        Added to the distance: n steps are ``max(0, step * n + extra)`` pixels.
    """
    heights: list[int] = []
    while (away := max(0, step * len(heights) + extra)) <= radius:
        height = (isqrt(radius * radius - away * away) - extra) // step
        if height < 0:
            break
        heights.append(height)
    return heights


def _dilate_cells(cells: NDArray[np.bool_], heights: list[int]) -> NDArray[np.bool_]:
    if not heights:
        return np.zeros_like(cells)
    margin = _bytes(len(heights) - 1)
    source = np.pad(np.packbits(cells, axis=1), ((heights[0], heights[0]), (margin, margin)))
    bits = _combine(source, heights)[:, margin : source.shape[1] - margin]
    return np.unpackbits(bits, axis=1, count=cells.shape[1]).view(np.bool_)


def _dilate_tiles(padded: Bits, radius: int, tiles: Bits, down: NDArray[np.intp], across: NDArray[np.intp]) -> None:
    """Set the tiles at these indices, in place: (down, rows, across, bytes)."""
    margin, heights = _bytes(radius), _half_heights(radius, 1, 0)
    shape = _TILE_ROWS + 2 * radius, _TILE_BYTES + 2 * margin
    windows = np.lib.stride_tricks.sliding_window_view(padded, shape)[::_TILE_ROWS, ::_TILE_BYTES]
    step = _CHUNK_BYTES // (_TILE_ROWS * shape[1])
    for start in range(0, len(down), step):
        y, x = down[start : start + step], across[start : start + step]
        # The tiles side by side are one long image, in which whole rows are combined.
        source = windows.transpose(2, 0, 1, 3)[:, y, x].reshape(shape[0], -1)
        bits = _combine(source, heights).reshape(_TILE_ROWS, len(y), shape[1])
        tiles[y, :, x] = bits[..., margin : margin + _TILE_BYTES].transpose(1, 0, 2)


def _combine(source: Bits, heights: list[int]) -> Bits:
    """Return packed rows dilated by a shape that reaches `heights` up and down, less and less to the side.

    For each offset to the side, the rows dilated up and down by its height are shifted and added. Offsets that are
    equal modulo 8 differ by whole bytes, so that each costs one pass; bits are shifted once, at the end.

    Parameters
    ----------
    source
        Packed rows; the result lacks ``heights[0]`` of them at both ends. Rows are shifted as one long line, into each
        other: the bytes at both ends of a row, as far as the shape reaches, are wrong.
    heights
        At least one.
    """
    reach, width = heights[0], source.shape[1]
    line = source.reshape(-1)
    size = line.size - 2 * reach * width
    vertical = line[reach * width :][:size].copy()
    planes = np.zeros((8, size), np.uint8)
    reached = 0
    for dx, height in reversed([*enumerate(heights)]):
        for dy in range(reached + 1, height + 1):
            vertical |= line[(reach - dy) * width :][:size]
            vertical |= line[(reach + dy) * width :][:size]
        reached = height
        for offset in {dx, -dx}:
            _add_shifted(planes[offset & 7], vertical, offset >> 3)
    return _shift_bits(planes).reshape(-1, width)


def _add_shifted(plane: Bits, line: Bits, offset: int) -> None:
    """Add a line to a plane, in place, moved by `offset` bytes; what leaves it is cut."""
    end = len(line) - abs(offset)
    target = plane[max(0, offset) :][:end]
    target |= line[max(0, -offset) :][:end]


def _shift_bits(planes: Bits) -> Bits:
    """Return the union of the eight planes, each shifted to the right by its number of bits."""
    shifted: Bits = planes[0]
    part = np.empty_like(shifted)
    for number in range(1, 8):
        shifted |= np.right_shift(planes[number], number, out=part)
        shifted[1:] |= np.left_shift(planes[number], 8 - number, out=part)[:-1]
    return shifted


def _bytes(pixels: int) -> int:
    """Return the least number of bytes that hold so many pixels."""
    return -(-pixels // 8)
