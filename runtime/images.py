"""Decoding of untrusted images: a path, bytes, an array or a PIL image as RGB pixels.

Pillow decodes, because it reports a truncated file, where OpenCV 4 fills the rest with grey without an error. Its
plugin classes are called directly, not through `PIL.Image.open`: so no other parser runs, and there is no warning about
decompression bombs, which only process-wide settings can silence.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from . import headers
from .errors import ImageError, ParameterError
from .headers.formats import HEAD, SUPPORTED, identify
from .limits import Limit, decoding_memory

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "SUFFIXES",
    "SUPPORTED",
    "Decoder",
    "ImageSource",
    "decode",
    "encoded_bytes",
    "identify",
    "read_image",
    "read_reduced",
]

ImageSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray[Any] | Image.Image"
)

DEFAULT_MAX_PIXELS = 50_000_000

SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

_STRIP_PIXELS = 1 << 16  # a strip stays in the processor's cache: three times as fast as 12 megapixels at once

_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"})

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_ON_THEIR_SIDE = frozenset({5, 6, 7, 8})


def _allocate(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.empty(shape, np.uint8)


class Decoder(Protocol):
    """Decodes image files; `decode` is one."""

    def __call__(
        self, encoded: bytes, *, shortest: int | None = None, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """Return the pixels, (h, w, 3) RGB, and the full height and width; raises `ImageError`."""


def read_image(
    source: ImageSource, *, max_pixels: int = DEFAULT_MAX_PIXELS, encoded: bytes | None = None
) -> NDArray[np.uint8]:
    """Return an image as upright RGB.

    Parameters
    ----------
    source
        One of

        - a path to, or the bytes of, a JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP or GIF file. Of several frames or pages
          the first is read; of an animated PNG, its still image.
        - a file that is open for reading in binary mode, or an `io.BytesIO`; it is read from its position on.
        - a uint8 array: H×W or H×W×1 (grey), H×W×3 (RGB) or H×W×4 (RGBA).
        - a PIL image, in its current frame. One that was opened lazily is loaded.
    max_pixels
        Most pixels (width times height) an image may have, none of its sides more than 1,000,000. Checked before
        anything is decoded. Decoding may take 10 bytes for each of them, and 500 MB in any case. For files,
        ``PIL.Image.MAX_IMAGE_PIXELS`` (89 megapixels unless you changed it) is a second limit.
    encoded
        What `encoded_bytes` returned for this source, so that the file is not read again.

    Returns
    -------
    numpy.ndarray
        uint8, H×W×3, RGB, C-contiguous, turned upright by the EXIF orientation. Transparency is composited over white,
        16-bit samples are scaled to 8 bits, CMYK is converted by formula. ICC profiles are ignored. A C-contiguous
        uint8 H×W×3 array is returned as it is, not copied. The source is not changed.

    Raises
    ------
    ImageError
        The source cannot be opened, is no image, has an unsupported format or pixel type, or is truncated, damaged,
        empty or over the pixel limit.
    ParameterError
        `max_pixels` is less than 1.

    Examples
    --------
    >>> import numpy as np
    >>> read_image(np.zeros((2, 3), np.uint8)).shape
    (2, 3, 3)
    """
    if max_pixels < 1:
        raise ParameterError("max_pixels", "be at least 1", max_pixels)
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, Image.Image):
        return _from_pil(source, max_pixels)
    data = encoded_bytes(source) if encoded is None else encoded
    if data is None:
        kind = type(source).__name__
        raise ImageError(f"an image must be a path, bytes, an open file, a numpy array or a PIL image, got {kind}")
    with _naming(source):
        return decode(data, max_pixels=max_pixels)[0]


def read_reduced(
    source: ImageSource,
    encoded: bytes,
    shortest: int,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    decoder: Decoder | None = None,
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Read as much of an image as a model needs: a large JPEG at 1/2, 1/4 or 1/8 of its size, which is far quicker.

    Parameters
    ----------
    source, encoded, max_pixels
        As for `read_image`; `encoded` is required.
    shortest
        Pixels that the shorter side keeps at least, where it has them.
    decoder
        What decodes; by default `decode`.

    Returns
    -------
    As from `read_image`, and the full height and width of the upright image.

    Raises
    ------
    ImageError
        As from `read_image`.
    """
    with _naming(source):
        return (decoder or decode)(encoded, shortest=shortest, max_pixels=max_pixels)


def decode(
    encoded: bytes,
    *,
    shortest: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    allocate: Callable[[tuple[int, int, int]], NDArray[np.uint8]] = _allocate,
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decode the bytes of an image file.

    Parameters
    ----------
    encoded, max_pixels
        As for `read_image`.
    shortest
        As for `read_reduced`; None for the image at its own size.
    allocate
        Returns the uint8 array, of the shape given, that the pixels are written to.

    Returns
    -------
    As from `read_reduced`.

    Raises
    ------
    ImageError
        As from `read_image`.
    """
    return _from_bytes(encoded, max_pixels, shortest, allocate)


def encoded_bytes(source: ImageSource) -> bytes | None:
    """Return the encoded image of a source, by which a cache can identify it before it is decoded.

    Parameters
    ----------
    source
        As for `read_image`.

    Returns
    -------
    bytes or None
        The content of the file, or the bytes; None for an array or a PIL image.

    Raises
    ------
    ImageError
        The path names no readable file, or one that does not begin like an image.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        with _naming(source):
            return _read_file(os.fsdecode(source))
    if isinstance(source, io.TextIOBase):
        raise ImageError("the file is open in text mode: open it with open(path, 'rb')")
    return None if isinstance(source, np.ndarray | Image.Image) or not hasattr(source, "read") else _read_open(source)


def _read_open(file: BinaryIO) -> bytes:
    try:
        data = file.read()
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise ImageError(f"cannot read the open file: {error}") from error
    if not isinstance(data, bytes):
        raise ImageError(f"the file's read() must return bytes, got {type(data).__name__}")
    return data


def _from_array(array: NDArray[Any], max_pixels: int) -> NDArray[np.uint8]:
    met = f"array is {array.dtype} of shape {array.shape}"
    if array.dtype != np.uint8:
        advice = {"f": "multiply by 255 and convert to uint8", "b": "convert to uint8 and multiply by 255"}
        raise ImageError(f"{met}, must be uint8: {advice.get(array.dtype.kind, 'scale to 0..255 and convert')}")
    if array.ndim not in {2, 3} or (array.ndim == 3 and array.shape[2] not in {1, 3, 4}):
        raise ImageError(f"{met}, must be H×W, H×W×1, H×W×3 (RGB) or H×W×4 (RGBA)")
    height, width = array.shape[:2]
    Limit(max_pixels, "max_pixels").check_size(width, height)
    pixels = np.asarray(array).reshape(height, width, -1)
    if pixels.shape[2] == 3:
        return np.ascontiguousarray(pixels)
    out = np.empty((height, width, 3), np.uint8)
    for rows in _strips(width, height):
        out[rows] = pixels[rows] if pixels.shape[2] == 1 else _over_white(pixels[rows])
    return out


def _from_pil(image: Image.Image, max_pixels: int) -> NDArray[np.uint8]:
    Limit(max_pixels, "max_pixels").check_size(*image.size)
    _check_mode(image)
    with _decoding(image.format or "PIL image"):
        image.load()
        orientation = 1
        # The caller may have edited the EXIF block since the file was opened: ask Pillow, not the file. A broken block
        # does not spoil the pixels.
        with contextlib.suppress(Exception):
            orientation = int(image.getexif().get(headers.ORIENTATION, 1))
        return _to_rgb(image, orientation)


def _read_file(name: str) -> bytes:
    if re.match(r"[a-z][a-z0-9+.-]+://|data:", name, re.IGNORECASE):
        raise ImageError("this is a URL, and automask fetches nothing: download it, then pass a path or bytes")
    try:
        # A pipe would block; a device would never end.
        if not stat.S_ISREG(Path(name).stat().st_mode):
            raise ImageError("this is not a file")
        with Path(name).open("rb") as file:
            identify(file.read(HEAD))
            file.seek(0)
            return file.read()
    except FileNotFoundError as error:
        raise ImageError("no such file") from error
    except OSError as error:
        raise ImageError(f"cannot open it: {error.strerror}") from error


@contextlib.contextmanager
def _naming(source: object) -> Iterator[None]:
    """Put the path, cut to a readable length, before the message of an error."""
    try:
        yield
    except ValueError as error:  # an ImageError is one, and so is what a path with a null byte raises
        if not isinstance(source, str | os.PathLike):
            raise
        name = os.fsdecode(source)
        shown = repr(name if len(name) <= 200 else name[:200] + "…")
        raise ImageError(f"{shown}: {error}") from error.__cause__ or error


def _from_bytes(
    data: bytes,
    max_pixels: int,
    shortest: int | None,
    allocate: Callable[[tuple[int, int, int]], NDArray[np.uint8]],
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    kind = identify(data)
    limit = Limit(max_pixels, "max_pixels")
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        limit = Limit(Image.MAX_IMAGE_PIXELS, "PIL.Image.MAX_IMAGE_PIXELS")
    with _decoding(kind):
        trimmed = headers.TRIMS[kind](data, limit.check_size)
        limit.check_memory(kind, trimmed.decoder_bytes)
        with _OPENERS[kind](io.BytesIO(trimmed.data)) as image:
            orientation = headers.orientation(trimmed.exif or image.info.get("exif", b""))
            size = image.size
            limit.check_size(*size)
            limit.check_memory(kind, decoding_memory(kind, image, trimmed.decoder_bytes))
            _check_mode(image)
            if shortest is not None:
                _reduce(image, shortest)
            expected = image.size
            image.load()
            if sorted(image.im.size) != sorted(expected):
                raise ImageError(f"damaged {kind}: header says {expected}, decoded {image.im.size}")
            return _to_rgb(image, orientation, allocate), size if orientation in _ON_THEIR_SIDE else size[::-1]


def _reduce(image: ImageFile.ImageFile, shortest: int) -> None:
    """Let the decoder shrink the image by 2, 4 or 8, which only JPEG supports."""
    times = min(8, min(image.size) // shortest)
    if times > 1:
        image.draft(None, (image.width // times, image.height // times))


def _check_mode(image: Image.Image) -> None:
    if image.mode not in _MODES and not image.mode.startswith("I;16"):
        kind = {"I": "32-bit integer", "F": "floating-point"}.get(image.mode, image.mode)
        raise ImageError(f"{kind} pixels are not supported: scale to 0..255 and convert to 8-bit RGB first")


@contextlib.contextmanager
def _decoding(kind: str) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(f"decoding this {kind} takes more memory than is available") from error
    # Damaged files make Pillow raise nearly anything, MemoryError and its SyntaxError included.
    except Exception as error:
        short = isinstance(error.__cause__ or error, struct.error)
        reason = "truncated header" if short else str(error) or type(error).__name__
        state = "truncated" if "truncated" in reason.lower() else "damaged or unsupported"
        raise ImageError(f"{state} {kind}: {reason}") from error


class _Jpeg(JpegImageFile):
    def _read_dpi_from_exif(self) -> None:
        """Do not parse the EXIF block: Pillow reads the resolution from it, and warns if it is broken."""


class _Tiff(TiffImageFile):
    def load_end(self) -> None:
        """Keep the rows as stored: Pillow would parse every EXIF directory here, then turn a second copy."""
        self._size = self.im.size


def _open_heic(file: io.BytesIO) -> ImageFile.ImageFile:
    try:
        from pi_heif import HeifImageFile
    except ImportError:
        raise ImageError("HEIC needs another package: pip install 'automask[heif]'") from None
    image: ImageFile.ImageFile = HeifImageFile(file)
    image.info.pop("exif", None)  # its orientation is applied already
    return image


_OPENERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "JPEG": _Jpeg,
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "AVIF": AvifImageFile,
    "TIFF": _Tiff,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "HEIC": _open_heic,
}


def _to_rgb(
    image: Image.Image, orientation: int, allocate: Callable[[tuple[int, int, int]], NDArray[np.uint8]] = _allocate
) -> NDArray[np.uint8]:
    """Convert and turn an image strip by strip, so that there is no second full-size copy."""
    width, height = image.size
    turned, from_end = orientation in _ON_THEIR_SIDE, orientation in {3, 4, 6, 7}
    out = allocate((width, height, 3) if turned else (height, width, 3))
    for rows in _strips(width, height):
        strip = image.crop((0, rows.start, width, rows.stop))
        if orientation in _TURNS:
            strip = strip.transpose(_TURNS[orientation])
        target = slice(height - rows.stop, height - rows.start) if from_end else rows
        out[(slice(None), target) if turned else target] = _strip_to_rgb(strip)
    return out


def _strips(width: int, height: int) -> Iterator[slice]:
    step = max(1, _STRIP_PIXELS // width)
    return (slice(start, min(start + step, height)) for start in range(0, height, step))


def _strip_to_rgb(strip: Image.Image) -> NDArray[np.uint8]:
    if strip.mode.startswith("I;16"):
        deep = np.asarray(strip)
        grey = ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)  # rounds 65535 to 255 exactly
        if isinstance(clear := strip.info.get("transparency"), int):
            grey[deep == clear] = 255
        return grey[..., np.newaxis]
    if strip.has_transparency_data:
        return _over_white(np.asarray(strip.convert("RGBA")))
    return np.asarray(strip.convert("RGB"))


def _over_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    darkness = (255 - rgba[..., :3]).astype(np.uint16) * rgba[..., 3:]
    return 255 - ((darkness + 127) // 255).astype(np.uint8)
