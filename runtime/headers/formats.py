"""Formats of image files, by their first bytes."""

from __future__ import annotations

import re

from ..errors import ImageError

__all__ = ["HEAD", "SUPPORTED", "identify"]

HEAD = 512
"""Bytes that identify every format."""

_SUPPORTED = ("JPEG", "PNG", "WebP", "AVIF", "HEIC", "TIFF", "BMP", "GIF")
SUPPORTED = " or ".join(", ".join(_SUPPORTED).rsplit(", ", 1))

_SIGNATURES: dict[str, bytes | tuple[bytes, ...]] = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "TIFF": (b"II*\0", b"MM\0*"),
    "BMP": b"BM",
    "GIF": (b"GIF87a", b"GIF89a"),
    "PSD": b"8BPS",
    "PDF": b"%PDF",
    "PostScript": b"%!PS",
    "ICO": b"\0\0\1\0",
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
    "JPEG 2000": (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "),
    "BigTIFF": (b"II+\0", b"MM\0+"),
}


def identify(data: bytes) -> str:
    r"""Return the format of a file by its first bytes, not by its name.

    Raises
    ------
    ImageError
        The file is empty, no image, or has an unsupported format.

    Examples
    --------
    >>> identify(b"\xff\xd8\xff\xe0")
    'JPEG'
    """
    if not data:
        raise ImageError("file is empty, no image in it")
    kind = next((kind for kind, magic in _SIGNATURES.items() if data.startswith(magic)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "WebP"
    elif data[4:8] == b"ftyp":
        brands = data[8 : min(int.from_bytes(data[:4], "big"), HEAD)]
        kind = "AVIF" if b"avi" in brands else "HEIC" if re.search(b"hei|hev|mif1|msf1", brands) else "MP4"
    elif b"<svg" in data[:HEAD]:
        kind = "SVG"
    if kind is None:
        raise ImageError(f"not an image: starts with {data[:16]!r}")
    if kind not in _SUPPORTED:
        raise ImageError(f"{kind} is not supported; use {SUPPORTED}")
    return kind
