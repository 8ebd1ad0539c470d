"""Dilation of a mask by a disc, exact, with most of the picture settled without looking at single pixels.

The mask is packed, eight pixels to a byte, and cut into cells of 8×8 pixels. A cell is surely set in the result when
another one with a set pixel is so near that all their pixels lie within the radius of each other; it is surely not set
when no such cell has any pixel within the radius. What is left is a narrow band along the new outline, and only the
tiles that it touches are worked out bit by bit.
"""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray

__all__ = ["dilate"]

_CELL = 8  # pixels, so that a row of a cell is one byte
# A tile needs the bits around it too: smaller ones fit the band better, but repeat more.
_TILE_ROWS, _TILE_BYTES = 32, 16
_CHUNK_BYTES = 1 << 17  # tiles at once: enough to hide the cost of a call, few enough for their planes to stay in cache
_STRIP_BYTES = 1 << 18

Bits = NDArray[np.uint8]


def dilate(mask: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Set, to 255, every pixel within `radius`, 1 or more, of one that is not 0: (H, W) uint8 to a new array."""
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
    """First and one-past-last row, first and one-past-last byte column that hold a set bit."""
    rows = np.flatnonzero(np.bitwise_or.reduce(packed, axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(np.bitwise_or.reduce(packed[rows[0] : rows[-1] + 1], axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _dilate_bits(packed: Bits, radius: int) -> Bits:
    """Dilate packed rows, which keep their number and length."""
    height, width = packed.shape
    down, across = -(-height // _TILE_ROWS), -(-width // _TILE_BYTES)
    margin = _bytes(radius)
    spare = (down * _TILE_ROWS - height, across * _TILE_BYTES - width)
    padded = np.pad(packed, ((radius, radius + spare[0]), (margin, margin + spare[1])))
    inner = padded[radius : radius + down * _TILE_ROWS, margin : margin + across * _TILE_BYTES]
    sure, unsure = _settle(inner, radius)
    dilated = np.repeat(np.negative(sure.view(np.uint8)), _CELL, axis=0)
    tiles = dilated.reshape(down, _TILE_ROWS, across, _TILE_BYTES)
    parts = unsure.reshape(down, _TILE_ROWS // _CELL, across, _TILE_BYTES)
    _work_out(padded, radius, tiles, *np.nonzero(parts.any(axis=(1, 3))))
    return dilated[:height, :width]


def _settle(packed: Bits, radius: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which cells will surely be set, and which may be or not."""
    rows = packed.reshape(-1, _CELL, packed.shape[1])
    some = np.bitwise_or.reduce(rows, axis=1) != 0
    sure = np.bitwise_and.reduce(rows, axis=1) == 255
    sure |= _dilate_cells(some, _half_heights(radius, _CELL, _CELL - 1))  # the farthest pixels of two cells
    unsure = _dilate_cells(some, _half_heights(radius, _CELL, 1 - _CELL))  # the nearest
    return sure, unsure & ~sure


def _half_heights(radius: int, step: int, extra: int) -> list[int]:
    """Reach up and down at each offset to the side, 0, 1, …; n steps away are ``max(0, step * n + extra)`` pixels."""
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


def _work_out(padded: Bits, radius: int, tiles: Bits, down: NDArray[np.intp], across: NDArray[np.intp]) -> None:
    """Fill in the tiles at these places: (down, rows, across, bytes)."""
    margin, heights = _bytes(radius), _half_heights(radius, 1, 0)
    shape = _TILE_ROWS + 2 * radius, _TILE_BYTES + 2 * margin
    windows = np.lib.stride_tricks.sliding_window_view(padded, shape)[::_TILE_ROWS, ::_TILE_BYTES]
    step = _CHUNK_BYTES // (_TILE_ROWS * shape[1])
    for start in range(0, len(down), step):
        y, x = down[start : start + step], across[start : start + step]
        # Side by side, the tiles are one long picture, in which whole rows are combined.
        source = windows.transpose(2, 0, 1, 3)[:, y, x].reshape(shape[0], -1)
        bits = _combine(source, heights).reshape(_TILE_ROWS, len(y), shape[1])
        tiles[y, :, x] = bits[..., margin : margin + _TILE_BYTES].transpose(1, 0, 2)


def _combine(source: Bits, heights: list[int]) -> Bits:
    """Dilate packed rows by a shape that reaches `heights` up and down, less and less to the side.

    For every offset to the side, what is dilated up and down by its height is shifted and added. Offsets that are equal
    modulo 8 differ by whole bytes, so that each costs one pass; shifting by bits is left to the end.

    Parameters
    ----------
    source
        ``heights[0]`` rows fall away at both ends. Rows are shifted as one long line, into each other: the bytes that
        the shape reaches at both ends of a row come out wrong.
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
    """Add the line, moved by so many bytes; its ends are cut."""
    end = len(line) - abs(offset)
    target = plane[max(0, offset) :][:end]
    target |= line[max(0, -offset) :][:end]


def _shift_bits(planes: Bits) -> Bits:
    """Put the eight planes over each other, each shifted to the right by its number."""
    shifted: Bits = planes[0]
    part = np.empty_like(shifted)
    for number in range(1, 8):
        shifted |= np.right_shift(planes[number], number, out=part)
        shifted[1:] |= np.left_shift(planes[number], 8 - number, out=part)[:-1]
    return shifted


def _bytes(pixels: int) -> int:
    """Least number of bytes that hold so many pixels."""
    return -(-pixels // 8)
