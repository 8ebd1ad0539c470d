"""Edges of masks: refine them along the photo's own edges, make them soft, and free soft edges of the background.

Pure functions on numpy arrays. A *mask* is (H, W) uint8, 0 or 255; an *alpha* is (H, W) uint8, 0..255; an *image* is
(H, W, 3) uint8 RGB. A model draws masks on a coarse grid: at the photo's size their edges have steps. A guided filter
(He, Sun, Tang: Guided Image Filtering, TPAMI 2013) of the mask, with the photo as its guide, follows the edges in the
photo instead. It runs in a band along the outline only: elsewhere the mask is right, and would become transparent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from .dilation import dilate
from .errors import ParameterError
from .postprocess import check_image, check_mask

__all__ = ["MAX_FEATHER", "edge_radius", "feather", "foreground", "inside", "matte", "refine"]

MAX_FEATHER = 100
"""Largest width of the ramp that `feather` takes, in pixels."""

Floats: TypeAlias = NDArray[np.float32]
T = TypeVar("T", np.float32, np.int32, np.bool_)

_EPS = 1e-3  # regularisation of the guided filter, for colours in 0..1: contrast below its root (0.03) is no edge
_SIDE_PER_RADIUS = 100  # the radius at which the measured photos, 640 pixels wide, gained most is 6
_RAMP = (0.15, 0.85)  # filtered values that become 0 and 1: below and above, texture leaves a haze
_TILE = 32  # cells: smaller tiles follow the outline more closely, but their margins cost more
_LONGEST = 96  # cells of tiles that are joined: longer arrays leave the cache
_TILE_PIXELS = 64  # about: where only pixels are computed, without margins
_SAMPLES = 3  # in a radius of the filter: as good as all of them (boundary IoU over 67 pairs: 0.5468 and 0.5471)
_NOTHING = np.float32(1e-3)
_HALF = 128  # the least alpha that counts as inside


def edge_radius(height: int, width: int) -> int:
    """Return the radius for `refine` and `matte` that suits a photo of this size, in pixels, at least 1.

    It grows with the photo, as the steps of a mask do that a model drew on its own grid.

    Examples
    --------
    >>> edge_radius(480, 640)
    6
    """
    return max(1, round(max(height, width) / _SIDE_PER_RADIUS))


def refine(mask: NDArray[np.uint8], image: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Move the outline of a mask to the nearest edge in the photo.

    Parameters
    ----------
    mask
        (H, W) uint8, 0 or 255.
    image
        (H, W, 3) uint8, RGB: the photo.
    radius
        Radius of the filter in pixels, 0 or more. Pixels farther from the outline keep their value.

    Returns
    -------
    (H, W) uint8, 0 or 255, a new array.

    Raises
    ------
    ParameterError
        A wrong dtype, shapes that do not belong together, or a negative radius.
    """
    _check(mask, image, radius)
    return inside(_filter(mask, image, radius))


def inside(alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mask of an alpha: (H, W) uint8, a new array, 255 where the alpha is at least 128, else 0.

    Examples
    --------
    >>> inside(np.array([[0, 127, 128, 255]], np.uint8))
    array([[  0,   0, 255, 255]], dtype=uint8)
    """
    bits = np.asarray(alpha >> 7, np.uint8)  # the highest bit is that of 128
    return np.asarray(np.negative(bits, out=bits), np.uint8)


def matte(mask: NDArray[np.uint8], image: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Turn a mask into a soft alpha that follows hair, rims and blur in the photo.

    The filter of `refine` runs twice, the second time with half the radius: that removes the haze the first one leaves.

    Parameters
    ----------
    mask, image, radius
        As in `refine`.

    Returns
    -------
    (H, W) uint8, 0..255, a new array: 255 inside, 0 outside, between them only near the outline. Where it is at least
    128, the mask of `refine` is set, and nowhere else.

    Raises
    ------
    ParameterError
        As in `refine`.
    """
    _check(mask, image, radius)
    once = _filter(mask, image, radius)
    twice = _filter(once, image, (radius + 1) // 2)
    return np.where(once >= _HALF, np.maximum(twice, _HALF), np.minimum(twice, _HALF - 1))


def foreground(image: NDArray[np.uint8], alpha: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Estimate the object's own colours where it is partly transparent, so that no background shines through.

    Each pixel starts from the mean colours of object and background around it, and moves both so that, mixed, they give
    the photo's own colour (Forte: Approximate Fast Foreground Colour Estimation, ICIP 2021).

    Parameters
    ----------
    image
        (H, W, 3) uint8, RGB: the photo.
    alpha
        (H, W) uint8, 0..255.
    radius
        Radius in pixels with which `matte` made the alpha, 0 or more.

    Returns
    -------
    (H, W, 3) uint8, RGB, a new array; equal to `image` where `alpha` is 0 or 255.

    Raises
    ------
    ParameterError
        A wrong dtype, shapes that do not belong together, or a negative radius.
    """
    _check(alpha, image, radius)
    out = image.copy()
    if radius == 0:
        return out
    step = max(1, radius // _SAMPLES)
    soft = (alpha > 0) & (alpha < 255)
    front, back = _mean_colours(alpha, image, step, -(-2 * radius // step))
    cells = max(1, _TILE_PIXELS // step)
    weights = _interpolation(cells, step)
    for tile in _tiles(_cells(soft, step), cells):
        part = _pixels(tile, step)
        photo, opacity = image[part] * np.float32(1 / 255), alpha[part] * np.float32(1 / 255)
        where = soft[part]
        for channel in range(3):
            ours, other = (_interpolate(means[channel], tile, weights, opacity.shape) for means in (front, back))
            rest = photo[..., channel] - opacity * ours - (1 - opacity) * other
            estimate = np.clip(ours + opacity * rest, 0, 1) * 255 + np.float32(0.5)
            np.copyto(out[part][..., channel], estimate.astype(np.uint8), where=where)
    return out


def feather(mask: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Add a smooth ramp around a mask, from 255 at its outline down to 0, for inpainting and soft pastes.

    Parameters
    ----------
    mask
        (H, W) uint8; every value but 0 counts as set.
    width
        Width of the ramp in pixels, 0..100; 0 returns the mask.

    Returns
    -------
    (H, W) uint8, 0..255, a new array; 255 where `mask` is set.

    Raises
    ------
    ParameterError
        `width` is not an integer in 0..100, or `mask` is not (H, W) uint8.
    """
    check_mask(mask)
    if isinstance(width, bool) or not isinstance(width, (int, np.integer)) or not 0 <= width <= MAX_FEATHER:
        raise ParameterError("feather", f"be an integer in [0, {MAX_FEATHER}]", width)
    solid = np.where(mask != 0, np.uint8(255), np.uint8(0))
    if width == 0:
        return solid
    # Half of the ramp comes from growing, half from blurring what has grown: together they end `width` pixels away.
    blur = int(width) // 2
    grown = dilate(solid, int(width) - blur).astype(np.int32)
    for size in (blur // 2, blur - blur // 2):
        grown = _window_sums(np.pad(grown, size, "edge"), size) // (2 * size + 1) ** 2
    return np.maximum(np.minimum(grown, 254).astype(np.uint8), solid)  # 255 is the mask's alone


def _check(mask: NDArray[np.uint8], image: NDArray[np.uint8], radius: int) -> None:
    check_image(image, mask)
    if radius < 0:
        raise ParameterError("radius", "be 0 or more", radius)


def _filter(alpha: NDArray[np.uint8], image: NDArray[np.uint8], radius: int) -> NDArray[np.uint8]:
    """Filter an alpha with the photo as guide, in the cells whose window is neither all 0 nor all 255.

    The coefficients of the filter are smooth: they are computed for every `step`-th pixel and interpolated (He, Sun:
    Fast Guided Filter, 2015), which makes the time nearly independent of the radius.
    """
    out = alpha.copy()
    if radius == 0:
        return out
    step = max(1, radius // _SAMPLES)
    reach = -(-radius // step)
    values = _sample(alpha, step, 2 * reach + 1)
    inner = _shrink(values, reach + 1)
    mixed = _window_sums(inner > 0, reach) & _window_sums(inner < 1, reach)  # a sum of truths is whether one is true
    guide = _sample(image, step, 2 * reach + 1)
    functions = np.zeros((4, mixed.shape[0] + 2, mixed.shape[1] + 2), np.float32)
    for rows, columns in _merge_rows(_tiles(mixed, _TILE)):
        window = slice(rows.start, rows.stop + 4 * reach + 2), slice(columns.start, columns.stop + 4 * reach + 2)
        functions[:, rows.start : rows.stop + 2, columns.start : columns.stop + 2] = _regress(
            values[window], guide[:, *window], reach
        )
    cells = max(1, _TILE_PIXELS // step)
    weights = _interpolation(cells, step)
    for tile in _tiles(mixed, cells):
        part = _pixels(tile, step)
        target, photo = out[part], image[part]
        slopes_and_offset = _interpolate(functions, tile, weights, target.shape)
        filtered = slopes_and_offset[3]
        for channel in range(3):
            filtered += slopes_and_offset[channel] * photo[..., channel]
        np.clip(filtered, 0, 255, out=filtered)
        near = mixed[tile].repeat(step, axis=0).repeat(step, axis=1)[: target.shape[0], : target.shape[1]]
        np.copyto(target, filtered.astype(np.uint8), where=near)
    return out


def _regress(values: Floats, guide: Floats, radius: int) -> Floats:
    """Slopes and offset of the guided filter, (4, h, w), 2 · `radius` smaller on each side, for pixels 0..255.

    In each window the values are a linear function of the three colours, by ridge regression; the functions of all
    windows that a sample lies in are averaged.
    """
    scale = np.float32(1 / (2 * radius + 1) ** 2)
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    planes = np.empty((13, *values.shape), np.float32)
    planes[:3], planes[3] = guide, values
    np.multiply(guide, values, out=planes[4:7])
    for plane, (i, j) in zip(planes[7:], pairs, strict=True):
        np.multiply(guide[i], guide[j], out=plane)
    means = _window_sums(planes, radius)
    means *= scale
    colour, value = means[:3], means[3]
    r, g, b = means[4:7] - colour * value
    eps = np.float32(_EPS)
    rr, rg, rb, gg, gb, bb = (means[7 + n] - colour[i] * colour[j] + eps * (i == j) for n, (i, j) in enumerate(pairs))
    # The inverse of a symmetric 3×3 matrix, by its cofactors.
    c00, c01, c02 = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    c11, c12, c22 = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    slopes = np.stack((c00 * r + c01 * g + c02 * b, c01 * r + c11 * g + c12 * b, c02 * r + c12 * g + c22 * b))
    slopes /= rr * c00 + rg * c01 + rb * c02
    offset = value - (slopes * colour).sum(axis=0)
    low, high = _RAMP
    stretch = 1 / (high - low)
    functions = _window_sums(np.concatenate((slopes, offset[np.newaxis])), radius) * (scale * np.float32(stretch))
    functions[3] = 255 * (functions[3] - np.float32(low * stretch)) + np.float32(0.5)  # halves are rounded up
    return functions


def _mean_colours(alpha: NDArray[np.uint8], image: NDArray[np.uint8], step: int, radius: int) -> tuple[Floats, Floats]:
    """Mean colours of object and background around each sample, (3, h + 2, w + 2) each: one sample more at each end."""
    opacity, colours = (_sample(plane, step, radius + 1) for plane in (alpha, image))
    ours, total = _window_sums(colours * opacity, radius), _window_sums(colours, radius)
    weight, count = _window_sums(opacity, radius), (2 * radius + 1) ** 2
    # Where a window has next to nothing of one of the two, the photo itself stands for it.
    front = (ours + _NOTHING * total) / (weight + _NOTHING * count)
    back = (total - ours + _NOTHING * total) / (count - weight + _NOTHING * count)
    return front, back


def _sample(plane: NDArray[np.uint8], step: int, margin: int) -> Floats:
    """Take the middle one of every `step` pixels, 0..1, and a margin repeated from the border; colours come first."""
    y, x = (
        np.clip(np.arange(-margin, -(-length // step) + margin) * step + step // 2, step // 2, length - 1)
        for length in plane.shape[:2]
    )
    taken = plane.take(np.minimum(y, plane.shape[0] - 1), axis=0).take(np.minimum(x, plane.shape[1] - 1), axis=1)
    return np.ascontiguousarray(taken if plane.ndim == 2 else np.moveaxis(taken, -1, 0)) * np.float32(1 / 255)


def _cells(pixels: NDArray[np.bool_], step: int) -> NDArray[np.bool_]:
    """Whether any pixel of a cell of `step` × `step` is set."""
    for axis in (0, 1):
        pixels = np.logical_or.reduceat(pixels, np.arange(0, pixels.shape[axis], step), axis=axis)
    return pixels


def _tiles(wanted: NDArray[np.bool_], side: int) -> Iterator[tuple[slice, slice]]:
    """Yield the tiles of `side` × `side` cells that hold a wanted cell."""
    height, width = wanted.shape
    for row, column in zip(*(found.tolist() for found in np.nonzero(_cells(wanted, side))), strict=True):
        top, left = row * side, column * side
        yield slice(top, min(height, top + side)), slice(left, min(width, left + side))


def _merge_rows(tiles: Iterator[tuple[slice, slice]]) -> Iterator[tuple[slice, slice]]:
    """Join tiles that touch in a row: fewer calls and margins."""
    rows, columns = next(tiles, (slice(0, 0), slice(0, 0)))
    for more_rows, more_columns in tiles:
        if more_rows == rows and columns.start + _LONGEST > more_columns.start == columns.stop:
            columns = slice(columns.start, more_columns.stop)
        else:
            yield rows, columns
            rows, columns = more_rows, more_columns
    if rows.stop:
        yield rows, columns


def _pixels(tile: tuple[slice, slice], step: int) -> tuple[slice, slice]:
    """Pixels of a tile of cells."""
    rows, columns = (slice(side.start * step, side.stop * step) for side in tile)
    return rows, columns


def _interpolation(cells: int, step: int) -> Floats:
    """Matrix that interpolates linearly from the samples of a row of cells, and one more at each end, to its pixels."""
    position = (np.arange(cells * step) - step // 2) / step + 1
    weights = np.maximum(0, 1 - np.abs(position[:, np.newaxis] - np.arange(cells + 2)))
    return np.asarray(weights, np.float32)


def _interpolate(samples: Floats, tile: tuple[slice, slice], weights: Floats, size: tuple[int, ...]) -> Floats:
    """Interpolate samples of a whole image, with one more at each end, to the pixels of a tile of this size."""
    rows, columns = (slice(side.start, side.stop + 2) for side in tile)
    part = samples[..., rows, columns]
    down, across = (weights[:length, :count] for length, count in zip(size, part.shape[-2:], strict=True))
    return np.asarray(down @ part @ across.T, np.float32)


def _shrink(planes: Floats, margin: int) -> Floats:
    """Cut a margin off the last two axes."""
    return planes[..., margin : planes.shape[-2] - margin, margin : planes.shape[-1] - margin]


def _window_sums(planes: NDArray[T], radius: int) -> NDArray[T]:
    """Sum (…, h, w) over the square window of `radius` around each pixel; `radius` smaller on each side."""
    return _run_sums(_run_sums(planes, radius, -2), radius, -1)


def _run_sums(planes: NDArray[T], radius: int, axis: int) -> NDArray[T]:
    """Sum 2 · `radius` + 1 neighbours along an axis, by doubling: a running sum would lose digits."""
    count = 2 * radius + 1
    length = planes.shape[axis] - 2 * radius
    total = first = _part(planes, 0, length, axis)
    start, run, size = 1, planes, 1
    while 2 * size <= count:
        grown = run.shape[axis] - size
        run = _part(run, 0, grown, axis) + _part(run, size, grown, axis)
        size *= 2
        if count & size:
            more = _part(run, start, length, axis)
            total = total + more if total is first else np.add(total, more, out=total)
            start += size
    return total


def _part(planes: NDArray[T], start: int, length: int, axis: int) -> NDArray[T]:
    return planes[..., start : start + length, :] if axis == -2 else planes[..., start : start + length]
