"""The structure of image files, checked and trimmed before a decoder sees them.

A decoder's work must follow from the image's size and the file's length. So each module here counts what its format
lets a file repeat (scans, segments, chunks, tags, boxes), refuses what no real file has, and drops what decoding
does not need. A loop over a file's parts always has a bound; what scans whole files runs in C.
"""

from __future__ import annotations

from . import avif, bmp, gif, jpeg, png, tiff, webp
from .exif import ORIENTATION, orientation
from .trimmed import CheckSize, Trim, Trimmed

__all__ = ["ORIENTATION", "TRIMS", "CheckSize", "Trim", "Trimmed", "orientation"]

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
