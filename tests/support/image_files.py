"""Image files of every format, and parts of them, for the tests of reading images."""

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray
from PIL import Image
from skimage import data as photos

__all__ = [
    "FORMATS",
    "FUZZ",
    "LOSSLESS",
    "LOSSY_BOUND",
    "ORIENTATION",
    "Pixels",
    "blank_png",
    "close",
    "cv2_encode",
    "encode",
    "load_photo",
    "png_chunk",
    "png_header",
    "tiff",
    "with_chunks",
]

Pixels = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP")
LOSSLESS = ("PNG", "TIFF", "BMP")
# Mean absolute error in grey levels of the photos below at quality 90; a swapped channel is off by 20 and more.
LOSSY_BOUND = 4.0
ORIENTATION = 274
FUZZ = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def encode(image: Image.Image | Pixels, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, kind, **options)
    return file.getvalue()


def cv2_encode(array: NDArray[Any], suffix: str) -> bytes:
    return cv2.imencode(suffix, array)[1].tobytes()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int, bits: int = 8, colour: int = 0) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """The same PNG with chunks put right after its header, which is 33 bytes long."""
    return png[:33] + b"".join(chunks) + png[33:]


def blank_png(width: int, height: int) -> bytes:
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    return png_header(width, height) + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")


def tiff(width: int, height: int, extra: dict[int, tuple[int, int]], strip: bytes) -> bytes:
    """A deflated RGB TIFF of one strip or tile; `extra` maps a tag to its type and value."""
    tags = {256: (4, width), 257: (4, height), 258: (3, 8), 259: (3, 8), 262: (3, 2), 277: (3, 3)} | extra
    start = 8 + 2 + 12 * len(tags) + 4
    if 324 not in tags:
        tags[273], tags[279] = (4, start + 24), (4, len(strip))
        start += 24
    entries = [
        struct.pack("<HHLHH", tag, kind, 1, value, 0) if kind == 3 else struct.pack("<HHLL", tag, kind, 1, value)
        for tag, (kind, value) in sorted(tags.items())
    ]
    return b"II*\0" + struct.pack("<LH", 8, len(entries)) + b"".join(entries) + struct.pack("<L", 0) + strip


def load_photo(name: str) -> Pixels:
    return np.asarray(getattr(photos, name)(), np.uint8)


def close(got: Pixels, want: Pixels) -> bool:
    return got.shape == want.shape and float(np.abs(got.astype(int) - want.astype(int)).mean()) < LOSSY_BOUND
