"""The structure of image files, checked and trimmed before a decoder sees them.

A decoder's work must follow from the image's size and the file's length. So each module here counts what its format
lets a file repeat (scans, segments, chunks, tags, boxes), refuses what no real file has, and drops what decoding
does not need. A loop over a file's parts always has a bound; what scans whole files runs in C.
"""

from __future__ import annotations

from typing import NoReturn

from . import avif, bmp, gif, jpeg, png, tiff, webp
from .exif import ORIENTATION, orientation
from .formats import identify
from .trimmed import CheckSize, Trim, Trimmed

__all__ = ["ORIENTATION", "TRIMS", "CheckSize", "Trim", "Trimmed", "orientation", "stated_work"]

TRIMS: dict[str, Trim] = {
    "AVIF": avif.trim,
    "BMP": bmp.trim,
    "GIF": gif.trim,
    "HEIC": avif.trim,  # the same container
    "JPEG": jpeg.trim,
    "PNG": png.trim,
    "TIFF": tiff.trim,
    "WebP": webp.trim,
}


class _Stated(Exception):  # noqa: N818 (it is a result)
    pass


def _state(width: int, height: int) -> NoReturn:
    raise _Stated(width * height)


def stated_work(data: bytes) -> int:
    """Return about how many pixels decoding a file computes, as its header states; 0 if it cannot be read.

    It is the number of pixels of the image, and for a JPEG of more scans than an ordinary one has, a multiple of it.
    Nothing else is checked.
    """
    try:
        kind = identify(data)
        if TRIMS[kind] is avif.trim:
            return avif.stated_pixels(data)
        TRIMS[kind](data, _state)
    except _Stated as stated:
        return int(stated.args[0]) * (jpeg.stated_passes(data) if kind == "JPEG" else 1)
    except Exception:  # noqa: BLE001 (damaged files raise anything, and their decoder says what is wrong)
        return 0
    return 0
