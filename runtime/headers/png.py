"""PNG: chunks (PNG specification, third edition, section 5)."""

from __future__ import annotations

import struct

from ..errors import ImageError
from .trimmed import CheckSize, Trimmed

__all__ = ["trim"]

_MAX_CHUNKS = 65_536  # encoders write 8 KB or more of the image into each
_MAX_CHUNK_BYTES = (1 << 31) - 1
_ONCE = frozenset({b"IHDR", b"PLTE", b"tRNS"})


def trim(data: bytes, check_size: CheckSize) -> Trimmed:
    """Keep header, palette, transparency and image data, the latter in one chunk.

    Text, colour profile and animation chunks can be bombs, and Pillow warns or fails on broken ones.

    Raises
    ------
    ImageError
        It has more chunks than a real file.
    """
    if data[12:16] == b"IHDR" and len(data) >= 24:
        check_size(*struct.unpack_from(">LL", data, 16))
    kept: dict[bytes, bytes] = {}
    image, exif, start, end_chunk = [], b"", 8, b""
    for _ in range(_MAX_CHUNKS):
        kind = data[start + 4 : start + 8]
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if kind in _ONCE:
            kept.setdefault(kind, data[start:end])
        elif kind == b"IDAT":
            image.append(data[start + 8 : end - 4])
        elif kind == b"eXIf":
            exif = data[start + 8 : end - 4]
        elif kind == b"IEND":
            end_chunk = data[start:end]
        if kind == b"IEND" or end >= len(data):
            return Trimmed(data[:8] + b"".join(kept.values()) + _image_chunk(image) + end_chunk, exif)
        start = end
    raise ImageError(f"PNG has more than {_MAX_CHUNKS} chunks, too many")


def _image_chunk(parts: list[bytes]) -> bytes:
    body = b"".join(parts)
    if len(body) > _MAX_CHUNK_BYTES:
        raise ImageError(f"PNG has {len(body)} bytes of image data, must have at most {_MAX_CHUNK_BYTES}")
    # Pillow does not compare the checksum of image data; zlib's own is inside.
    return struct.pack(">L", len(body)) + b"IDAT" + body + bytes(4) if body else b""
