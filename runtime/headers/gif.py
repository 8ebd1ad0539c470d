"""GIF: blocks (GIF89a specification, W3C)."""

from __future__ import annotations

from ..errors import ImageError
from .trimmed import CheckSize, Trimmed

__all__ = ["trim"]

_HEADER = 13  # bytes of signature and logical screen descriptor
_DESCRIPTOR = 10  # bytes of an image descriptor, with its introducer
_MAX_EXTENSIONS = 1_000  # before the first frame; a real file has a few
_CONTROL = 0xF9  # label of the extension that holds the transparent colour
_TRAILER = b";"


def trim(data: bytes, check_size: CheckSize) -> Trimmed:
    """Keep the header, the transparent colour and the first frame, alone.

    Raises
    ------
    ImageError
        The first frame reaches over the canvas, there is none, or the file has more extensions than a real one.
    """
    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    check_size(width, height)
    start = _HEADER + _palette(data[10])
    head, control = data[:start], b""
    for _ in range(_MAX_EXTENSIONS):
        if data[start : start + 1] == b",":
            _check_frame(data, start, width, height)
            end = _skip_blocks(data, start + _DESCRIPTOR + _palette(data[start + 9]) + 1)
            return Trimmed(head + control + data[start:end] + _TRAILER, decoder_bytes=width * height)
        if data[start : start + 1] != b"!":
            raise ImageError("damaged GIF: it has no frame")
        end = _skip_blocks(data, start + 2)
        if data[start + 1] == _CONTROL:
            control = data[start:end]
        start = end
    raise ImageError(f"GIF has more than {_MAX_EXTENSIONS} extensions before its first frame, too many")


def _palette(flags: int) -> int:
    """Return the bytes of the palette that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _check_frame(data: bytes, start: int, width: int, height: int) -> None:
    left, top, frame_width, frame_height = (
        int.from_bytes(data[at : at + 2], "little") for at in range(start + 1, start + 9, 2)
    )
    # Pillow would enlarge the canvas.
    if left + frame_width > width or top + frame_height > height:
        raise ImageError(
            f"damaged GIF: its first frame, {frame_width}×{frame_height} at {left},{top}, reaches over the canvas of "
            f"{width}×{height}"
        )


def _skip_blocks(data: bytes, start: int) -> int:
    """Return the end of a chain of data blocks. Each has at least one byte, so that the file's length is the bound."""
    while start < len(data) and data[start]:
        start += 1 + data[start]
    if start >= len(data):
        raise ImageError("truncated GIF: it ends within its first frame")
    return start + 1
