"""BMP: size and compression of the bitmap header."""

from __future__ import annotations

import struct

from ..errors import ImageError
from .trimmed import CheckSize, Trimmed

__all__ = ["trim"]

# Pillow unpacks run lengths in Python, run by run and partly pixel by pixel.
_MAX_RUN_BYTES = 4_000_000
_MAX_RUN_PIXELS = 10_000_000
_RLE8, _RLE4 = 1, 2
_OS2_HEADER = 12


def trim(data: bytes, check_size: CheckSize) -> Trimmed:
    """Check size and run lengths; the file stays as it is.

    Raises
    ------
    ImageError
        It is compressed by run lengths and larger than images are that were ever stored so.
    """
    if int.from_bytes(data[14:18], "little") == _OS2_HEADER:
        check_size(*struct.unpack_from("<HH", data, 18))
        return Trimmed(data)
    width, height, _, _, compression = struct.unpack_from("<llHHL", data, 18)
    check_size(width, abs(height))
    if compression in {_RLE8, _RLE4}:
        (start,) = struct.unpack_from("<L", data, 10)
        if len(data) - start > _MAX_RUN_BYTES or width * abs(height) > _MAX_RUN_PIXELS:
            raise ImageError(
                f"BMP of {width}×{abs(height)} with {len(data) - start} bytes of run lengths is over the limit of "
                f"{_MAX_RUN_PIXELS} pixels and {_MAX_RUN_BYTES} bytes for them: save it without compression"
            )
    return Trimmed(data)
