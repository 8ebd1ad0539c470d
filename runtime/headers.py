"""Headers of image files: what must be read before a decoder is called."""

from __future__ import annotations

import contextlib
import re
import struct

from .errors import ImageError

__all__ = ["ORIENTATION", "check_tiff", "orientation", "split_png", "webp_size", "without_avif_exif"]

_PNG_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_AVIF_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{7}|\x03.{9}))Exif", re.DOTALL)

ORIENTATION = 274  # the tag of TIFF and EXIF
_SAMPLE_FORMAT = 339
_FLOAT = 3
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "L"}
_TIFF_SCALARS = frozenset({256, 257, 259, 266, 274, 277, 278, 282, 283, 284, 296, 317, 322, 323})


def webp_size(data: bytes) -> tuple[int, int]:
    """Return width and height of the canvas (RFC 9649, section 2)."""
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def split_png(data: bytes) -> tuple[bytes, bytes]:
    """Return the file without the chunks that decoding does not need, and its EXIF block.

    Chunks of text, colour profiles and animation can be decompression bombs, and Pillow warns or fails on broken ones.
    """
    kept, exif, start = [data[:8]], b"", 8
    while start < len(data):
        kind = data[start + 4 : start + 8]
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if kind in _PNG_CHUNKS:
            kept.append(data[start:end])
        elif kind == b"eXIf":
            exif = data[start + 8 : end - 4]
        if kind == b"IEND":
            break
        start = end
    return b"".join(kept), exif


def _tiff_entries(block: bytes) -> tuple[str, int, list[tuple[int, int, int, bytes]]]:
    """Return byte order, end and complete entries (tag, type, count, value) of the first directory."""
    order = "<" if block[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "L", block, 4)
    (count,) = struct.unpack_from(order + "H", block, start)
    start, end = start + 2, start + 2 + 12 * count
    complete = max(0, min(end, len(block)) - start) // 12 * 12
    return order, end, list(struct.iter_unpack(order + "HHL4s", block[start : start + complete]))


def orientation(exif: bytes) -> int:
    """Return the orientation, 1..8, in a raw EXIF block, which is a TIFF header; 1 if there is none."""
    block = exif.removeprefix(b"Exif\0\0")
    with contextlib.suppress(struct.error, KeyError):
        order, _, entries = _tiff_entries(block)
        for tag, kind, _, value in entries:
            if tag == ORIENTATION:
                return int(struct.unpack_from(order + _TIFF_INTEGERS[kind], value)[0])
    return 1


def check_tiff(data: bytes) -> None:
    """Refuse a directory of which Pillow would use a part, with only a warning.

    Raises
    ------
    ImageError
        The directory is truncated, or an entry is damaged or unsupported.
    """
    order, end, entries = _tiff_entries(data)
    if end + 4 > len(data):
        raise ImageError("truncated TIFF: truncated header")
    outside = 0
    for tag, kind, count, value in entries:
        size = _TIFF_SIZES.get(kind, 0) * count
        if size > len(value):
            (offset,) = struct.unpack(order + "L", value)
            value = data[offset : offset + size]  # noqa: PLW2901
            outside += size
        if len(value) < size or outside > len(data):
            raise ImageError(f"damaged or truncated TIFF: tag {tag} points outside the file")
        if tag in _TIFF_SCALARS and count != 1:
            raise ImageError(f"damaged TIFF: tag {tag} has {count} values, must have 1")
        if tag == _SAMPLE_FORMAT and struct.unpack_from(order + "H", value)[0] == _FLOAT:
            raise ImageError("floating-point TIFF is not supported: scale to 0..255 and convert to 8 bits first")


def without_avif_exif(data: bytes) -> bytes:
    """Return an AVIF file with its EXIF item renamed, so that no decoder reads it.

    The properties irot and imir define the orientation, and Pillow reports them as EXIF. The EXIF item itself has no
    effect, but a broken one would fail the image.
    """
    return _AVIF_EXIF_ITEM.sub(rb"\1skip", data)
