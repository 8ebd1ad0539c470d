"""Image files that are small or legal, and cost a decoder far more than they should."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["ATTACKS", "LARGE", "encode", "jpeg_of_scans", "png_chunk", "png_header", "tiff_file", "zeros_png"]

_MB = 1_000_000
_SOI, _EOI, _SOS = b"\xff\xd8", b"\xff\xd9", b"\xff\xda"


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Encode an image with Pillow."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each segment before the first scan's data."""
    at = 2
    while True:
        end = at + 2 + struct.unpack_from(">H", jpeg, at + 2)[0]
        yield jpeg[at + 1], jpeg[at:end]
        if jpeg[at + 1] == _SOS[1]:
            return
        at = end


def jpeg_of_scans(sof: int, scans: int, side: int, *, extra: bytes = b"", components: int = 1) -> bytes:
    """A JPEG of `side`² pixels with empty scans, of 1 or 3 components; `sof` is the frame type: 0, 1, 2, 9 or 10."""
    small = encode(Image.new("RGB", (16, 16)), "JPEG", progressive=sof in {2, 10}, subsampling=0)
    head, progressive = _SOI, sof in {2, 10}
    for marker, segment in _segments(small):
        if 0xC0 <= marker <= 0xC2:
            head += b"\xff" + bytes([0xC0 + sof]) + segment[2:5] + struct.pack(">HH", side, side) + segment[9:]
        elif marker != _SOS[1]:
            head += segment
    # Of one component or progressive, so that the decoder has to collect all scans before it can show any.
    spectral = b"\0\0\0" if progressive else b"\0\x3f\0"
    selected = b"".join(bytes([number + 1, 0x11 * bool(number)]) for number in range(components))
    scan = _SOS + struct.pack(">HB", 6 + len(selected), components) + selected + spectral
    return head + extra + scan * scans + _EOI


def _jpeg_with(filling: bytes) -> bytes:
    jpeg = encode(Image.new("RGB", (64, 64)), "JPEG")
    at = jpeg.index(b"\xff\xdb")
    return jpeg[:at] + filling + jpeg[at:]


def _jpeg_filled_scan(filling: bytes) -> bytes:
    jpeg = encode(Image.new("RGB", (640, 640)), "JPEG")
    at = jpeg.index(_SOS) + 2 + struct.unpack_from(">H", jpeg, jpeg.index(_SOS) + 2)[0]
    return jpeg[:at] + filling + jpeg[at:]


def _jpeg_tables() -> bytes:
    table = b"".join(b"\0" + bytes([1] * 64) for _ in range(1000))
    return _jpeg_with((b"\xff\xdb" + struct.pack(">H", len(table) + 2) + table) * 450)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int, bits: int = 8, colour: int = 0) -> bytes:
    """Signature and IHDR."""
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


def _png_with(chunk: bytes, size: int = 30 * _MB) -> bytes:
    png = encode(Image.new("P", (64, 64)), "PNG")
    at = png.index(b"IDAT") - 4
    return png[:at] + chunk * (size // len(chunk)) + png[at:]


def zeros_png(width: int, height: int, bits: int, colour: int, samples: int) -> bytes:
    """A PNG of zeros; `colour` is the colour type, `samples` those of a pixel."""
    packer, left, packed = zlib.compressobj(6), height * (1 + width * samples * bits // 8), b""
    while left:
        block = min(left, 10 * _MB)
        packed += packer.compress(bytes(block))
        left -= block
    packed += packer.flush()
    return png_header(width, height, bits, colour) + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")


def _png_empty_blocks() -> bytes:
    """Deflate blocks that hold nothing: stored ones, five bytes each."""
    packed = b"\x78\x01" + b"\0\0\0\xff\xff" * (6 * _MB) + zlib.compress(bytes(65 * 64))[2:]
    return png_header(64, 64) + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")


def tiff_file(tags: Mapping[int, tuple[int, int, bytes | int]], data: bytes = b"") -> bytes:
    """A little-endian TIFF: `data` from byte 8 on, then the values and the directory.

    `tags` gives type, count and value (a number, or the packed values); a number below 8 bytes stands in the entry.
    """
    body, entries = b"II*\0\0\0\0\0" + data, []
    for tag, (kind, count, value) in sorted(tags.items()):
        if isinstance(value, int):
            packed = struct.pack("<L", value)
        elif len(value) <= 4:
            packed = value.ljust(4, b"\0")
        else:
            body += b"\0" * (len(body) % 2)
            packed = struct.pack("<L", len(body))
            body += value
        entries.append(struct.pack("<HHL", tag, kind, count) + packed)
    body += b"\0" * (len(body) % 2)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return body[:4] + struct.pack("<L", len(body)) + body[8:] + directory


def _grey_tiff(width: int = 8, height: int = 8, **tags: tuple[int, int, bytes | int]) -> bytes:
    """Grey, 8 bits, deflated; `tags` by name ``t273``."""
    packed = zlib.compress(bytes(width * min(height, 64)))
    basic: dict[int, tuple[int, int, bytes | int]] = {
        256: (4, 1, width),
        257: (4, 1, height),
        258: (3, 1, 8),
        259: (3, 1, 8),
        262: (3, 1, 1),
        273: (4, 1, 8),
        277: (3, 1, 1),
        278: (4, 1, height),
        279: (4, 1, len(packed)),
    }
    basic |= {int(name[1:]): value for name, value in tags.items()}
    return tiff_file({tag: value for tag, value in basic.items() if value[1]}, packed)


def _tiff_offsets(megabytes: int) -> bytes:
    count = megabytes * _MB // 4
    values = struct.pack("<L", 8) * count
    return _grey_tiff(t259=(3, 1, 1), t273=(4, count, values), t278=(4, 1, 1))


def _tiff_short_offsets() -> bytes:
    offsets = struct.pack("<H", 8) * (15 * _MB)
    return _grey_tiff(t259=(3, 1, 1), t273=(3, 15 * _MB, offsets), t278=(4, 1, 1))


def _tiff_same_strip() -> bytes:
    """65,000 strips that are all the same 30 MB, with the bits of each byte in reverse order."""
    count, data = 65_000, zlib.compress(bytes(64)) + bytes(30 * _MB)
    tags: dict[int, tuple[int, int, bytes | int]] = {
        256: (4, 1, 64),
        257: (4, 1, count),
        258: (3, 1, 8),
        259: (3, 1, 8),
        262: (3, 1, 1),
        266: (3, 1, 2),
        273: (4, count, struct.pack("<L", 8) * count),
        277: (3, 1, 1),
        278: (4, 1, 1),
        279: (4, count, struct.pack("<L", len(data)) * count),
    }
    return tiff_file(tags, data)


def _tiff_unknown_tags() -> bytes:
    unknown: dict[str, tuple[int, int, bytes | int]] = {f"t{tag}": (3, 1, 0) for tag in range(600, 48_000)}
    del unknown["t34675"]
    return _grey_tiff(8, 8, **unknown)


def _tiff_rationals() -> bytes:
    return _grey_tiff(t34675=(5, 3 * _MB, struct.pack("<LL", 7, 3) * (3 * _MB)))


def _tiff_tiles_outside() -> bytes:
    """One column of pixels, stored in 4,000 tiles of 48 megapixels."""
    packer = zlib.compressobj(9)
    tile = b"".join(packer.compress(bytes(_MB)) for _ in range(48)) + packer.flush()
    count = 4000
    tags: dict[int, tuple[int, int, bytes | int]] = {
        256: (4, 1, 1),
        257: (4, 1, 16 * count),
        258: (3, 1, 8),
        259: (3, 1, 8),
        262: (3, 1, 1),
        277: (3, 1, 1),
        322: (4, 1, 3_000_000),
        323: (4, 1, 16),
        324: (4, count, struct.pack("<L", 8) * count),
        325: (4, count, struct.pack("<L", len(tile)) * count),
    }
    return tiff_file(tags, tile)


def _tiff_jpeg_scans() -> bytes:
    """A strip that is a JPEG with as many scans as libtiff takes."""
    side = 7000
    jpeg = jpeg_of_scans(2, 95, side)
    tags: dict[int, tuple[int, int, bytes | int]] = {
        256: (4, 1, side),
        257: (4, 1, side),
        258: (3, 3, struct.pack("<HHH", 8, 8, 8)),
        259: (3, 1, 7),
        262: (3, 1, 6),
        273: (4, 1, 8),
        277: (3, 1, 3),
        278: (4, 1, side),
        279: (4, 1, len(jpeg)),
        530: (3, 2, struct.pack("<HH", 1, 1)),
    }
    return tiff_file(tags, jpeg)


def _tiff_cmyk16() -> bytes:
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(8_000_000)) for _ in range(50)) + packer.flush()
    tags: dict[int, tuple[int, int, bytes | int]] = {
        256: (4, 1, 10_000),
        257: (4, 1, 5_000),
        258: (3, 4, struct.pack("<HHHH", 16, 16, 16, 16)),
        259: (3, 1, 8),
        262: (3, 1, 5),
        273: (4, 1, 8),
        277: (3, 1, 4),
        278: (4, 1, 5_000),
        279: (4, 1, len(packed)),
    }
    return tiff_file(tags, packed)


def _bmp(width: int, height: int, bits: int, compression: int, data: bytes) -> bytes:
    palette = bytes(4 << bits)
    start = 54 + len(palette)
    head = struct.pack("<2sLHHL", b"BM", start + len(data), 0, 0, start)
    info = struct.pack("<LllHHLLllLL", 40, width, height, 1, bits, compression, len(data), 0, 0, 1 << bits, 0)
    return head + info + palette + data


def _webp_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<L", len(body)) + body + b"\0" * (len(body) % 2)


def _webp(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<L", len(chunks) + 4) + b"WEBP" + chunks


def _webp_image() -> bytes:
    return encode(Image.new("RGB", (8, 8), "red"), "WEBP", lossless=True)[12:]


def _webp_of_chunks() -> bytes:
    head = _webp_chunk(b"VP8X", bytes(4) + b"\7\0\0\7\0\0")
    return _webp(head + _webp_image() + _webp_chunk(b"abcd", b"") * (30 * _MB // 8))


def _webp_of_frames() -> bytes:
    head = _webp_chunk(b"VP8X", b"\2\0\0\0\7\0\0\7\0\0") + _webp_chunk(b"ANIM", bytes(6))
    frame = _webp_chunk(b"ANMF", bytes(6) + b"\7\0\0\7\0\0" + b"\1\0\0\0" + _webp_image())
    return _webp(head + frame * (30 * _MB // len(frame)))


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body) + 8) + kind + body


def _avif_of_items() -> bytes:
    """An item location box with a million entries: decoders look each one up in a list."""
    avif = bytearray(encode(Image.new("RGB", (16, 16), "red"), "AVIF"))
    count = 1_000_000
    items = np.zeros(count, [("id", ">u4"), ("method", ">u2"), ("reference", ">u2"), ("extents", ">u2")])
    items["id"] = np.arange(10, count + 10)
    box = _box(b"iloc", b"\2\0\0\0\0\0" + struct.pack(">L", count) + items.tobytes())
    at = avif.index(b"iloc") - 4
    old = struct.unpack_from(">L", avif, at)[0]
    meta = avif.index(b"meta") - 4
    struct.pack_into(">L", avif, meta, struct.unpack_from(">L", avif, meta)[0] + len(box) - old)
    return bytes(avif[:at]) + box + bytes(avif[at + old :])


def _avif_of_boxes() -> bytes:
    avif = encode(Image.new("RGB", (16, 16), "red"), "AVIF")
    return avif + _box(b"free", b"") * (30 * _MB // 8)


def _noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Smooth at large scale and rough at small, as photos are."""
    random = np.random.default_rng(0)
    bands = len(mode)
    coarse = Image.merge(mode, [Image.fromarray(random.integers(0, 256, (40, 60), np.uint8)) for _ in range(bands)])
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def _large(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    return encode(_noise(10_000, 5_000, mode), kind, **options)


ATTACKS: Mapping[str, Callable[[], bytes]] = {
    "jpeg-scans-sof0-13k": partial(jpeg_of_scans, 0, 1_290, 7_000),
    "jpeg-scans-sof0-64k": partial(jpeg_of_scans, 0, 6_400, 7_000),
    "jpeg-scans-sof1": partial(jpeg_of_scans, 1, 6_400, 7_000),
    "jpeg-scans-sof2": partial(jpeg_of_scans, 2, 6_400, 7_000),
    "jpeg-scans-sof9": partial(jpeg_of_scans, 9, 1_290, 7_000),
    "jpeg-scans-4mp": partial(jpeg_of_scans, 9, 495, 2_000),
    "jpeg-scans-sof10": partial(jpeg_of_scans, 10, 1_290, 7_000),
    "jpeg-scans-interleaved": partial(jpeg_of_scans, 10, 40, 7_000, components=3),
    "jpeg-scans-restarts": partial(jpeg_of_scans, 0, 200, 7_000, extra=b"\xff\xdd\0\4\0\1"),
    "jpeg-scans-tiny": partial(jpeg_of_scans, 0, 3_000_000, 8),
    "jpeg-padding": lambda: _jpeg_with(b"\xff" * (30 * _MB)),
    "jpeg-app-markers": lambda: _jpeg_with(b"\xff\xe5\0\2" * (30 * _MB // 4)),
    "jpeg-com-markers": lambda: _jpeg_with(b"\xff\xfe\0\2" * (30 * _MB // 4)),
    "jpeg-zeros": lambda: _jpeg_with(bytes(30 * _MB)),
    "jpeg-restarts-outside": lambda: _jpeg_with(b"\xff\xd0" * (15 * _MB)),
    "jpeg-tables": _jpeg_tables,
    "jpeg-padding-in-scan": lambda: _jpeg_filled_scan(b"\xff" * (30 * _MB)),
    "jpeg-restarts-in-scan": lambda: _jpeg_filled_scan(b"\xff\xd0" * (15 * _MB)),
    "jpeg-zeros-in-scan": lambda: _jpeg_filled_scan(bytes(30 * _MB)),
    "jpeg-stuffing-in-scan": lambda: _jpeg_filled_scan(b"\xff\0" * (15 * _MB)),
    "tiff-offsets-6mb": partial(_tiff_offsets, 6),
    "tiff-offsets-30mb": _tiff_short_offsets,
    "tiff-same-strip": _tiff_same_strip,
    "tiff-unknown-tags": _tiff_unknown_tags,
    "tiff-rationals": _tiff_rationals,
    "tiff-tiles-outside": _tiff_tiles_outside,
    "tiff-jpeg-scans": _tiff_jpeg_scans,
    "tiff-cmyk16-50mp": _tiff_cmyk16,
    "png-empty-idat": lambda: _png_with(png_chunk(b"IDAT", b"")),
    "png-empty-plte": lambda: _png_with(png_chunk(b"PLTE", b"")),
    "png-small-plte": lambda: _png_with(png_chunk(b"PLTE", b"abc")),
    "png-empty-blocks": _png_empty_blocks,
    "png-line-50mp": partial(zeros_png, 50_000_000, 1, 8, 2, 3),
    "png-column-50mp": partial(zeros_png, 1, 50_000_000, 8, 2, 3),
    "png-rgba16-50mp": partial(zeros_png, 10_000, 5_000, 16, 6, 4),
    "png-rgba16-16mp": partial(zeros_png, 4_000, 3_999, 16, 6, 4),
    "bmp-rle8-ends-of-line": lambda: _bmp(64, 64, 8, 1, b"\0\0" * (15 * _MB)),
    "bmp-rle8-deltas": lambda: _bmp(64, 64, 8, 1, b"\0\2\0\0" * (30 * _MB // 4)),
    "bmp-rle8-runs": lambda: _bmp(5_000, 9_000, 8, 1, b"\1\1" * (15 * _MB)),
    "bmp-rle4-runs": lambda: _bmp(10_000, 5_000, 4, 2, b"\xff\x12" * (50 * _MB // 255)),
    "bmp-rle8-pixel-then-end": lambda: _bmp(10_000, 5_000, 8, 1, b"\1\1\0\0" * 5_000),
    "webp-chunks": _webp_of_chunks,
    "webp-frames": _webp_of_frames,
    "avif-items": _avif_of_items,
    "avif-boxes": _avif_of_boxes,
}
"""Each a file of at most 32 MB, by name."""

LARGE: Mapping[str, Callable[[], bytes]] = {
    "jpeg": partial(_large, "JPEG"),
    "jpeg-progressive-444": partial(_large, "JPEG", progressive=True, subsampling=0),
    "jpeg-cmyk-progressive": partial(_large, "JPEG", mode="CMYK", progressive=True),
    "png": partial(_large, "PNG", compress_level=1),
    "png-rgba": partial(_large, "PNG", mode="RGBA", compress_level=1),
    "webp": partial(_large, "WEBP", method=0),
    "webp-lossless": partial(_large, "WEBP", lossless=True, method=0, quality=0),
    "webp-rgba": partial(_large, "WEBP", mode="RGBA", method=0),
    "avif-420": partial(_large, "AVIF", speed=10, subsampling="4:2:0"),
    "avif-444": partial(_large, "AVIF", speed=10, subsampling="4:4:4"),
    "avif-rgba": partial(_large, "AVIF", mode="RGBA", speed=10),
    "tiff": partial(_large, "TIFF"),
    "tiff-deflate": partial(_large, "TIFF", compression="tiff_adobe_deflate"),
    "tiff-jpeg": partial(_large, "TIFF", compression="jpeg"),
    "bmp": partial(_large, "BMP"),
    "gif": partial(_large, "GIF", mode="L"),
}
"""Legal files of 50 megapixels, by name."""
