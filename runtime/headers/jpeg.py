"""JPEG: segments and scans (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from ..errors import ImageError
from .trimmed import CheckSize, Trimmed

__all__ = ["MAX_SCANNED_PIXELS", "stated_passes", "trim"]

# Each scan makes the decoder walk the whole image for each of its components, and an empty one takes a dozen bytes: 40
# such walks over 50 megapixels, where an ordinary progressive file has 12 in 10 scans.
MAX_SCANNED_PIXELS = 2_000_000_000
_ORDINARY_SCANS = 10  # of a progressive file
_MAX_SEGMENTS = 4_096  # 64 KB each at most; those of colour profiles and extended XMP are some hundreds
_MAX_GAP = 4_096  # bytes of padding before a marker
_MAX_FILL = b"\xff" * 64  # fill bytes inside a scan, which a decoder reads again and again until it sees their end
_MAX_TABLES, _MAX_TABLES_PER_SCAN = 65_536, 4_400  # bytes; two quantization and eight Huffman tables

_MARKER = re.compile(rb"\xff[^\0\xff]")
_SCAN_END = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length: TEM, RST0..7, SOI
_EOI, _SOS, _DHT, _DQT, _DAC, _APP0, _APP1, _APP14, _APP15, _COM = (
    0xD9,
    0xDA,
    0xC4,
    0xDB,
    0xCC,
    0xE0,
    0xE1,
    0xEE,
    0xEF,
    0xFE,
)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, _DAC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_DROPPED = frozenset({*range(_APP0 + 1, _APP14), _APP15, _COM, *_ALONE})


def trim(data: bytes, check_size: CheckSize) -> Trimmed:
    """Keep frame, tables and scans of the first image; count them.

    Raises
    ------
    ImageError
        It has more scans, segments, tables or padding than a real file, or is truncated before its first scan.
    """
    kept, exif = [data[:2]], [b""]
    width = height = scans = walks = tables = 0
    progressive, per_pixel = False, 0.0
    for marker, start, end in _segments(data):
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, start + 5)
            check_size(width, height)
            per_pixel = _samples_per_pixel(data[start:end])
            progressive = marker in _PROGRESSIVE
        elif marker == _APP1 and data.startswith(b"Exif\0\0", start + 4):
            exif.append(data[start + 10 : end])
        elif marker in {_DQT, _DHT, _DAC}:
            tables += end - start
        elif marker == _SOS:
            scans += 1
            walks += data[start + 4]
        if marker not in _DROPPED:
            kept.append(data[start:end])
    if walks * width * height > MAX_SCANNED_PIXELS:
        kind = "progressive" if progressive else "sequential"
        raise ImageError(f"JPEG of {width}×{height} has {scans} {kind} scans, too many")
    if tables > _MAX_TABLES + scans * _MAX_TABLES_PER_SCAN:
        raise ImageError(f"JPEG has {tables} bytes of tables, too many for {scans} scans")
    coefficients = 2 * width * height * per_pixel if progressive or scans > 1 else 0
    return Trimmed(b"".join(kept), b"".join(exif), round(coefficients))


def stated_passes(data: bytes) -> int:
    """Return how many times as many scans a file has as an ordinary progressive one, at least 1."""
    return max(1, data.count(b"\xff\xda") // _ORDINARY_SCANS)  # inside a scan, no other byte but 0 follows 255


def _samples_per_pixel(frame: bytes) -> float:
    """Return the samples of all components for each pixel: 3 in 4:4:4, 1.5 in 4:2:0."""
    factors = [factor for factor in frame[11::3] if factor >> 4 and factor & 15]
    if not factors:
        return 0.0
    whole = max(factor >> 4 for factor in factors) * max(factor & 15 for factor in factors)
    return sum((factor >> 4) * (factor & 15) for factor in factors) / whole


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment after SOI, a scan's data included, up to EOI or the end."""
    at, has_scan = 2, False
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, at, at + _MAX_GAP)
        if found is None:
            if has_scan and at >= len(data):
                return
            gap = f"no marker in {_MAX_GAP} bytes from byte {at} on"
            raise ImageError(f"damaged JPEG: {gap}" if at + _MAX_GAP <= len(data) else "truncated JPEG: no image data")
        start, marker = found.start(), data[found.end() - 1]
        at = found.end() if marker in _ALONE or marker == _EOI else _segment_end(data, start)
        if marker == _SOS:
            at, has_scan = _scan_end(data, at), True
        yield marker, start, at
        if marker == _EOI:
            return
    raise ImageError(f"JPEG has more than {_MAX_SEGMENTS} segments, too many")


def _segment_end(data: bytes, start: int) -> int:
    if start + 4 > len(data):
        raise ImageError("truncated JPEG: a segment ends early")
    (length,) = struct.unpack_from(">H", data, start + 2)
    if length < 2:
        raise ImageError(f"damaged JPEG: a segment of {length} bytes at byte {start}, must have 2 or more")
    if start + 2 + length > len(data):
        raise ImageError("truncated JPEG: a segment ends early")
    return int(start + 2 + length)


def _scan_end(data: bytes, start: int) -> int:
    found = _SCAN_END.search(data, start)
    end = len(data) if found is None else found.start()
    fill = data.find(_MAX_FILL, start, end)
    if fill >= 0:
        raise ImageError(f"damaged JPEG: {len(_MAX_FILL)} fill bytes in a scan at byte {fill}")
    return end
