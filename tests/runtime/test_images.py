"""Reading images: real files of every format and mode, and hostile ones."""

import io
import os
import struct
import subprocess
import sys
import textwrap
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from skimage import data as photos

import automask.images
from automask.errors import AutomaskError, ImageError, ParameterError
from automask.images import SUFFIXES, encoded_bytes, read_image, read_reduced

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


@pytest.fixture(scope="module")
def astronaut() -> Pixels:
    return load_photo("astronaut")[100:356, 50:370].copy()


@pytest.fixture(scope="module", params=["astronaut", "coffee", "chelsea"])
def photo(request: pytest.FixtureRequest) -> Pixels:
    return load_photo(request.param)[:200, :301].copy()


def close(got: Pixels, want: Pixels) -> bool:
    return got.shape == want.shape and float(np.abs(got.astype(int) - want.astype(int)).mean()) < LOSSY_BOUND


# Formats and modes


@pytest.mark.parametrize("kind", FORMATS)
def test_images_are_contiguous_writable_rgb(kind: str, photo: Pixels) -> None:
    got = read_image(encode(photo, kind, **({} if kind in LOSSLESS else {"quality": 90})))
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    assert got.flags.writeable
    assert np.array_equal(got, photo) if kind in LOSSLESS else close(got, photo)


def test_webp_lossless_is_exact(photo: Pixels) -> None:
    assert np.array_equal(read_image(encode(photo, "WEBP", lossless=True)), photo)


@pytest.mark.parametrize("kind", FORMATS)
def test_grey_becomes_three_equal_channels(kind: str, astronaut: Pixels) -> None:
    grey = np.ascontiguousarray(astronaut[..., 1])
    got = read_image(encode(grey, kind))
    want = np.repeat(grey[..., None], 3, 2)
    assert np.array_equal(got, want) if kind in LOSSLESS else close(got, want)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF"])
def test_alpha_is_composited_over_white(kind: str) -> None:
    colour = np.full((4, 5, 3), (200, 100, 0), np.uint8)
    alpha = np.tile(np.array([0, 64, 128, 191, 255], np.uint8), (4, 1))
    options = {"quality": 100, "lossless": kind == "WEBP", "exact": True}
    got = read_image(encode(np.dstack([colour, alpha]), kind, **options))
    share = alpha[..., None] / 255
    want = colour * share + 255 * (1 - share)
    assert np.abs(got - want).max() <= (0.5 if kind != "AVIF" else 4)


@pytest.mark.parametrize("alpha", range(0, 256, 15))
def test_compositing_rounds_to_nearest(alpha: int) -> None:
    rgba = np.full((16, 16, 4), alpha, np.uint8)
    rgba[..., :3] = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    want = (rgba[..., :3].astype(float) * alpha + 255 * (255 - alpha)) / 255
    assert np.abs(read_image(rgba) - want).max() <= 0.5


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_alpha(kind: str) -> None:
    image = Image.merge("LA", [Image.new("L", (3, 2), 100), Image.new("L", (3, 2), 51)])
    assert (read_image(encode(image, kind)) == 224).all()  # 100 * 0.2 + 255 * 0.8


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_palette(kind: str, astronaut: Pixels) -> None:
    image = Image.fromarray(astronaut).quantize(17)
    assert np.array_equal(read_image(encode(image, kind)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 255])])
def test_transparent_palette_entry_becomes_white(transparency: int | bytes) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2])
    want = [[[10, 20, 30], [255, 255, 255], [70, 80, 90]]]
    assert read_image(encode(image, "PNG", transparency=transparency)).tolist() == want


def test_transparent_colour_of_png_becomes_white() -> None:
    rgb = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    assert read_image(encode(rgb, "PNG", transparency=(1, 2, 3))).tolist() == [[[255] * 3, [4, 5, 6]]]
    grey = np.array([[7, 8]], np.uint8)
    assert read_image(encode(grey, "PNG", transparency=8)).tolist() == [[[7] * 3, [255] * 3]]
    deep = np.array([[7 * 257, 8 * 257]], np.uint16)
    png = with_chunks(cv2_encode(deep, ".png"), png_chunk(b"tRNS", struct.pack(">H", 8 * 257)))
    assert read_image(png).tolist() == [[[7] * 3, [255] * 3]]


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_grey_is_scaled_not_clipped(suffix: str) -> None:
    deep = np.arange(0, 65536, 17, dtype=np.uint16).reshape(1, -1)
    got = read_image(cv2_encode(deep, suffix))
    assert np.array_equal(got[..., 0], np.rint(deep / 257))
    assert (got.min(), got.max()) == (0, 255)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour(suffix: str, channels: int, astronaut: Pixels) -> None:
    deep = np.full((*astronaut.shape[:2], channels), 65535, np.uint16)
    deep[..., :3] = astronaut[..., ::-1].astype(np.uint16) * 257  # OpenCV writes BGR
    assert np.array_equal(read_image(cv2_encode(deep, suffix)), astronaut)


def test_cmyk_jpeg_with_and_without_the_adobe_marker() -> None:
    jpeg = encode(Image.new("CMYK", (16, 16), (255, 0, 128, 0)), "JPEG", quality=100)
    start = jpeg.index(b"\xff\xee")
    plain = jpeg[:start] + jpeg[start + 2 + struct.unpack_from(">H", jpeg, start + 2)[0] :]
    assert b"Adobe" in jpeg
    assert b"Adobe" not in plain
    for file in (jpeg, plain):
        assert np.abs(read_image(file).astype(int) - (0, 255, 127)).max() <= 2


def test_cmyk_tiff() -> None:
    assert (read_image(encode(Image.new("CMYK", (2, 2), (255, 0, 0, 51)), "TIFF")) == (0, 204, 204)).all()


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {"compression": "group4"})])
def test_one_bit(kind: str, options: dict[str, Any]) -> None:
    bits = np.indices((9, 13)).sum(0) % 3 == 0
    want = np.repeat(bits[..., None] * 255, 3, 2)
    assert np.array_equal(read_image(encode(Image.fromarray(bits), kind, **options)), want)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_compressed_tiff(compression: str, photo: Pixels) -> None:
    got = read_image(encode(photo, "TIFF", compression=compression))
    assert close(got, photo) if compression == "jpeg" else np.array_equal(got, photo)


def test_float_tiff_is_refused() -> None:
    colour = tiff(4, 4, {258: (3, 32), 339: (3, 3)}, zlib.compress(bytes(4 * 4 * 12)))
    for file in (encode(Image.new("F", (4, 4)), "TIFF"), colour):
        with pytest.raises(ImageError, match=r"floating-point TIFF is not supported: scale to 0\.\.255"):
            read_image(file)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "TIFF"])
def test_first_frame_of_several(kind: str) -> None:
    first, second = (Image.new("RGB", (8, 6), colour) for colour in ("#c80000", "#0000c8"))
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100}
    got = read_image(encode(first, kind, save_all=True, append_images=[second], **options))
    assert got.shape == (6, 8, 3)
    assert np.abs(got.astype(int) - (200, 0, 0)).max() <= 3


def test_jpeg_of_several_pictures() -> None:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("#c80000", "#0000c8"))
    mpo = encode(first, "MPO", save_all=True, append_images=[second])
    assert np.abs(read_image(mpo).astype(int) - (200, 0, 0)).max() <= 3


# Orientation


def oriented(orientation: int) -> tuple[Image.Image, Image.Exif]:
    image = Image.fromarray((np.arange(700 * 300).reshape(300, 700) // 824).astype(np.uint8)).convert("RGB")
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return image, exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {"quality": 95}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_every_orientation_as_file_and_as_pil_image(kind: str, options: dict[str, Any], orientation: int) -> None:
    image, exif = oriented(orientation)
    file = encode(image, kind, exif=exif, **options)
    turns: dict[int, Callable[[Pixels], Pixels]] = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: np.rot90,
    }
    want = turns[orientation](np.asarray(image))
    assert close(read_image(file), want)
    assert read_image(file).flags.c_contiguous
    with Image.open(io.BytesIO(file)) as opened:
        assert np.array_equal(read_image(opened), read_image(file))
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(opened)), read_image(file))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16", "CMYK"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_every_mode_is_turned(mode: str, orientation: int) -> None:
    image, _ = oriented(1)
    deep = (np.arange(700 * 300).reshape(300, 700) // 4).astype(np.uint16)
    image = Image.fromarray(deep) if mode == "I;16" else image.convert(mode)
    upright = read_image(image)
    image.getexif()[ORIENTATION] = orientation
    assert np.array_equal(read_image(image), np.asarray(ImageOps.exif_transpose(turn_as_rgb(upright, orientation))))


def turn_as_rgb(pixels: Pixels, orientation: int) -> Image.Image:
    image = Image.fromarray(pixels)
    image.getexif()[ORIENTATION] = orientation
    return image


def test_orientation_of_a_pil_image_follows_what_the_caller_set() -> None:
    image, _ = oriented(1)
    image.getexif()[ORIENTATION] = 6
    assert np.array_equal(read_image(image), np.rot90(np.asarray(image), -1))


BROKEN_EXIF = {
    "cut": b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\1\0\0\0\1\0\0\0" * 3,
    "beyond": b"Exif\0\0MM\0*\xff\xff\xff\xff\x02\x01",
    "short": b"Exif\0\0MM",
    "noise": b"Exif\0\0" + bytes(range(256)),
    "type": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\x01\x63\0\1\0\0\0\6\0\0\0\0\0\0\0",
    "value": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\x01\x03\0\1\0\0\0\x63\0\0\0\0\0\0\0",
}


@pytest.mark.parametrize("exif", BROKEN_EXIF.values(), ids=BROKEN_EXIF)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_broken_exif_does_not_fail_the_image(kind: str, exif: bytes) -> None:
    image, _ = oriented(1)
    if kind == "AVIF":
        good = Image.Exif()
        good[0x010E] = "x" * 100  # a description long enough to be found, then overwritten
        file = encode(image, kind, exif=good)
        start = file.index(b"II*\0") if b"II*\0" in file else file.index(b"MM\0*")
        block = exif.removeprefix(b"Exif\0\0")[:80]
        file = file[:start] + block + file[start + len(block) :]
    else:
        file = encode(image, kind, exif=exif)
    assert close(read_image(file), np.asarray(image))


def test_broken_exif_in_a_pil_image() -> None:
    image = Image.new("RGB", (4, 3), "red")
    image.info["exif"] = BROKEN_EXIF["noise"]
    assert read_image(image).shape == (3, 4, 3)


# Arrays and PIL images


def test_arrays(astronaut: Pixels) -> None:
    assert read_image(astronaut[::2, ::-1]).tolist() == astronaut[::2, ::-1].tolist()
    grey = astronaut[..., 0]
    for array in (grey, grey[..., None], grey.T.copy().T):
        assert np.array_equal(read_image(array), np.repeat(grey[..., None], 3, 2))
    opaque = np.dstack([astronaut, np.full(grey.shape, 255, np.uint8)])
    assert np.array_equal(read_image(opaque), astronaut)


def test_contiguous_rgb_array_is_not_copied() -> None:
    array = np.zeros((3, 4, 3), np.uint8)
    assert np.shares_memory(read_image(array), array)
    for other in (array[:, ::2], np.zeros((3, 4, 4), np.uint8), np.zeros((3, 4), np.uint8)):
        assert not np.shares_memory(read_image(other), other)


def test_inputs_are_not_changed(astronaut: Pixels) -> None:
    rgba = np.dstack([astronaut, astronaut[..., 0]])
    before = rgba.copy()
    read_image(rgba)
    assert np.array_equal(rgba, before)
    image = Image.fromarray(rgba)
    image.getexif()[ORIENTATION] = 6
    read_image(image)
    assert (image.mode, image.size, image.getexif()[ORIENTATION]) == ("RGBA", (320, 256), 6)
    assert np.array_equal(np.asarray(image), before)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3)), r"float64 of shape \(2, 3\), must be uint8: multiply by 255 and convert to uint8"),
        (np.zeros((2, 3), np.float16), "float16 .* multiply by 255"),
        (np.zeros((2, 3), bool), "bool .* convert to uint8 and multiply by 255"),
        (np.zeros((2, 3, 3), np.uint16), r"uint16 .* scale to 0\.\.255"),
        (np.zeros((2, 3), object), "object"),
        (np.zeros(3, np.uint8), r"shape \(3,\), must be H×W"),
        (np.zeros((3, 40, 50), np.uint8), r"shape \(3, 40, 50\), must be H×W, H×W×1, H×W×3 \(RGB\)"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"shape \(1, 4, 5, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), "4×0, without a single pixel"),
        (np.zeros((4, 0), np.uint8), "0×4, without a single pixel"),
    ],
)
def test_wrong_arrays_are_refused_with_advice(array: NDArray[Any], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_image(array)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "I;16"])
def test_pil_modes(mode: str) -> None:
    assert read_image(Image.new(mode, (5, 4))).shape == (4, 5, 3)


@pytest.mark.parametrize(("mode", "named"), [("F", "floating-point"), ("I", "32-bit integer"), ("LAB", "LAB")])
def test_other_pil_modes_are_refused(mode: str, named: str) -> None:
    with pytest.raises(ImageError, match=f"{named} pixels are not supported: scale"):
        read_image(Image.new(mode, (5, 4)))


def test_pil_image_without_pixels_truncated_or_closed(astronaut: Pixels) -> None:
    with pytest.raises(ImageError, match="0×5, without a single pixel"):
        read_image(Image.new("RGB", (0, 5)))
    cut = Image.open(io.BytesIO(encode(astronaut, "JPEG")[:5000]))
    with pytest.raises(ImageError, match="truncated JPEG"):
        read_image(cut)


@pytest.mark.parametrize("source", [None, 3, [[1, 2]], object()])
def test_other_types_are_refused(source: Any) -> None:
    with pytest.raises(ImageError, match=f"an open file, a numpy array or a PIL image, got {type(source).__name__}"):
        read_image(source)


# Paths, names, what is no image


def test_paths_and_buffers(tmp_path: Path, astronaut: Pixels) -> None:
    file = encode(astronaut, "PNG")
    path = tmp_path / "photo 照片.png"
    path.write_bytes(file)
    for source in (path, str(path), file, bytearray(file), memoryview(file), memoryview(file + b"x")[:-1]):
        assert np.array_equal(read_image(source), astronaut)
        assert encoded_bytes(source) == file
    assert np.array_equal(read_image(path, encoded=encode(255 - astronaut, "PNG")), 255 - astronaut)
    assert encoded_bytes(astronaut) is None
    assert encoded_bytes(Image.fromarray(astronaut)) is None


def test_unreadable_paths(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"missing\.png': no such file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="this is not a file"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="null byte"):
        read_image("a\0b.png")
    with pytest.raises(ImageError, match=r"x…': cannot open it: File name too long"):
        read_image("x" * 5000)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ImageError, match="this is not a file"):
        read_image(pipe)


@pytest.mark.parametrize("url", ["https://example.org/a.png", "file:///a.png", "data:image/png;base64,iVBORw0"])
def test_urls_are_not_fetched(url: str) -> None:
    with pytest.raises(ImageError, match="is a URL, and automask fetches nothing: download it"):
        read_image(url)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", "file is empty"),
        (b"<html><body>404", r"not an image: starts with b'<html><body>404'"),
        (b"just text", "not an image: starts with b'just text'"),
        (b"<?xml version='1.0'?><svg/>", "SVG is not supported; use JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP or GIF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript is not supported"),
        (b"8BPS\0\1", "PSD is not supported"),
        (b"%PDF-1.7", "PDF is not supported"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isomavc1", "MP4 is not supported"),
    ],
)
def test_a_file_that_is_no_image_is_refused(file: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=message):
        read_image(file)
    path = tmp_path / "upload.jpg"
    path.write_bytes(file)
    with pytest.raises(ImageError, match=rf"upload\.jpg': {message}"):
        read_image(path)


@pytest.mark.parametrize("kind", ["JPEG2000", "ICO"])
def test_other_formats_of_pillow_are_refused(kind: str, astronaut: Pixels) -> None:
    with pytest.raises(ImageError, match=r"(JPEG 2000|ICO) is not supported; use JPEG"):
        read_image(encode(astronaut[:32, :32], kind))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.001, 0.3, 0.6, 0.95])
def test_truncated_files_are_refused(kind: str, share: float, astronaut: Pixels, tmp_path: Path) -> None:
    file = encode(astronaut, kind)
    path = tmp_path / "cut"
    path.write_bytes(file[: max(16, int(len(file) * share))])
    with pytest.raises(ImageError, match="(?i)truncated|damaged") as caught:
        read_image(path)
    assert isinstance(caught.value, AutomaskError | ValueError)
    assert "cut': " in str(caught.value)


def test_suffixes_are_the_formats(astronaut: Pixels, tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"photo{suffix}"
        if suffix in {".heic", ".heif"}:
            path.write_bytes(heic(astronaut))
        else:
            Image.fromarray(astronaut).save(path)
        want = np.asarray(Image.fromarray(astronaut).quantize().convert("RGB")) if suffix == ".gif" else astronaut
        assert close(read_image(path), want)


# HEIC, with the extra


def heic(pixels: Pixels, **options: Any) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(file, quality=95, **options)
    return file.getvalue()


def test_a_heic_file_is_read_in_full_color(astronaut: Pixels) -> None:
    pixels = read_image(heic(astronaut))
    assert pixels.shape == astronaut.shape
    assert np.abs(pixels.astype(int) - astronaut).mean() < 4  # it is a lossy format


def test_transparency_of_a_heic_file_is_laid_over_white() -> None:
    clear = np.zeros((64, 64, 4), np.uint8)
    clear[:, 32:] = (200, 30, 60, 255)
    pixels = read_image(heic(clear))
    assert pixels[:, :24].min() > 245
    assert np.abs(pixels[:, 40:].astype(int) - (200, 30, 60)).mean() < 8


def test_a_truncated_heic_file_is_refused(astronaut: Pixels) -> None:
    file = heic(astronaut)
    for share in (0.01, 0.3, 0.9):
        with pytest.raises(ImageError, match="(?i)truncated|damaged"):
            read_image(file[: int(len(file) * share)])


def test_the_limit_on_pixels_holds_before_a_heic_file_is_decoded(astronaut: Pixels) -> None:
    with pytest.raises(ImageError, match=r"over the limit of 0\.05 megapixels"):
        read_image(heic(astronaut), max_pixels=50_000)


def test_without_the_extra_a_heic_file_says_what_to_install(astronaut: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    file = heic(astronaut[:64, :64])
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(ImageError, match=r"HEIC needs another package: pip install 'automask\[heif\]'"):
        read_image(file)


# GIF, the first frame


def gif(*colours: str, size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    first, *others = (Image.new("RGB", size, colour) for colour in colours)
    return encode(first, "GIF", save_all=True, append_images=others, **options)


def test_gif_is_its_first_frame() -> None:
    got = read_image(gif("#c80000", "#0000c8", comment=b"x" * 5000))
    assert got.shape == (6, 8, 3)
    assert (got == (200, 0, 0)).all()


def test_a_transparent_gif_is_over_white(photo: Pixels) -> None:
    paletted = Image.fromarray(photo).quantize(16)
    want = np.asarray(paletted.convert("RGB")).copy()
    want[np.asarray(paletted) == 3] = 255
    assert np.array_equal(read_image(encode(paletted, "GIF", transparency=3)), want)


def test_a_damaged_gif_is_refused() -> None:
    file = gif("#c80000")
    frame = file.index(b",", 13 + (3 << (file[10] & 7) + 1 if file[10] & 0x80 else 0))
    for end in range(13, len(file) - 1):
        with pytest.raises(ImageError, match="(?i)truncated|damaged"):
            read_image(file[:end])
    with pytest.raises(ImageError, match=r"its first frame, 9×6 at 0,0, reaches over the canvas of 8×6"):
        read_image(file[: frame + 5] + b"\x09" + file[frame + 6 :])
    with pytest.raises(ImageError, match="more than 1000 extensions before its first frame"):
        read_image(file[:frame] + b"!\xfe\x01a\0" * 1001 + file[frame:])
    with pytest.raises(ImageError, match=r"over the limit of 4e-05 megapixels"):
        read_image(file, max_pixels=40)


# Open files


def test_open_files_are_read_from_their_position(photo: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(b"prefix" + encode(photo, "PNG"))
    with path.open("rb") as file:
        file.seek(6)
        assert np.array_equal(read_image(file), photo)
        with pytest.raises(ImageError, match="file is empty"):
            read_image(file)
    assert np.array_equal(read_image(io.BytesIO(encode(photo, "PNG"))), photo)
    with pytest.raises(ImageError, match="cannot read the open file"):
        read_image(file)
    with path.open(encoding="latin-1") as text, pytest.raises(ImageError, match="open it with open"):
        read_image(text)  # type: ignore[arg-type]


# Smaller than they are


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("progressive", [False, True])
def test_large_jpeg_is_decoded_smaller_and_upright(orientation: int, progressive: bool, astronaut: Pixels) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    large = np.asarray(cv2.resize(astronaut, (1001, 1501), interpolation=cv2.INTER_CUBIC), np.uint8)
    file = encode(large, "JPEG", exif=exif, progressive=progressive)
    whole = read_image(file)
    pixels, size = read_reduced(file, file, 250)
    assert size == whole.shape[:2]
    assert pixels.shape[:2] == tuple(-(-side // 4) for side in size)
    assert close(pixels, np.asarray(cv2.resize(whole, pixels.shape[1::-1], interpolation=cv2.INTER_AREA), np.uint8))


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 60))
def test_reduced_keeps_the_shorter_side(width: int, height: int, shortest: int) -> None:
    file = encode(Image.new("L", (width, height), 99), "JPEG")
    pixels, size = read_reduced(file, file, shortest)
    assert size == (height, width)
    assert min(pixels.shape[:2]) >= min(shortest, width, height)
    if min(width, height) < 2 * shortest:
        assert pixels.shape[:2] == size


def test_only_jpeg_is_reduced(astronaut: Pixels) -> None:
    for kind in LOSSLESS:
        pixels, size = read_reduced(file := encode(astronaut, kind), file, 20)
        assert np.array_equal(pixels, astronaut)
        assert size == astronaut.shape[:2]


def test_reduced_reading_refuses_the_same_files(astronaut: Pixels, tmp_path: Path) -> None:
    file = encode(astronaut, "JPEG")
    with pytest.raises(ImageError, match="over the limit"):
        read_reduced(file, file, 64, max_pixels=1000)
    with pytest.raises(ImageError, match=r"cut\.jpg': (truncated|damaged)"):
        read_reduced(tmp_path / "cut.jpg", file[: len(file) // 2], 64)


# Limits


def test_pixel_limit_of_files_arrays_and_pil_images() -> None:
    image = Image.new("RGB", (40, 25))
    sources: list[Any] = [encode(image, kind) for kind in FORMATS]
    for source in [*sources, image, np.asarray(image)]:
        assert read_image(source, max_pixels=1000).shape == (25, 40, 3)
        with pytest.raises(ImageError, match=r"40×25 \(0\.0 megapixels\), over the limit of .* \(max_pixels\)"):
            read_image(source, max_pixels=999)
    with pytest.raises(ParameterError, match="max_pixels must be at least 1, got 0"):
        read_image(image, max_pixels=0)


def test_the_limit_of_pillow_applies_without_its_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [encode(Image.new("RGB", (40, 25)), kind) for kind in FORMATS]
    for least in (999, 10):  # Pillow alone would warn at the first and raise at the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", least)
        for file in files:
            with pytest.raises(ImageError, match=r"40×25 .* \(PIL\.Image\.MAX_IMAGE_PIXELS\)"):
                read_image(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert all(read_image(file).shape == (25, 40, 3) for file in files)


def claims(kind: str, width: int, height: int) -> bytes:
    """A small file whose header claims a large image."""
    if kind == "PNG":
        return png_header(width, height) + png_chunk(b"IDAT", zlib.compress(b"\0")) + png_chunk(b"IEND", b"")
    if kind == "TIFF":
        return tiff(width, height, {}, b"x")
    if kind == "VP8X":
        sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        return b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + sizes
    file = bytearray(encode(Image.new("RGB", (8, 8)), {"VP8": "WEBP"}.get(kind, kind), quality=50))
    if kind == "BMP":
        file[18:26] = struct.pack("<ll", width, height)
    elif kind == "JPEG":
        start = file.index(b"\xff\xc0")
        file[start + 5 : start + 9] = struct.pack(">HH", height, width)
    elif kind == "VP8":
        file[26:30] = struct.pack("<HH", width, height)
    elif kind == "AVIF":
        start = file.index(b"ispe")
        file[start + 8 : start + 16] = struct.pack(">II", width, height)
    return bytes(file)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "VP8X", "VP8", "BMP", "JPEG", "AVIF"])
def test_claimed_size_is_refused_from_the_header(kind: str) -> None:
    with pytest.raises(ImageError, match=r"12000×12000 \(144\.0 megapixels\), over the limit of 50 megapixels"):
        read_image(claims(kind, 12000, 12000))


def test_lossless_webp_header() -> None:
    file = bytearray(encode(Image.new("RGB", (8, 8)), "WEBP", lossless=True))
    file[21:25] = ((12000 - 1) | (9000 - 1) << 14).to_bytes(4, "little")
    with pytest.raises(ImageError, match=r"12000×9000 \(108\.0 megapixels\)"):
        read_image(bytes(file))


def test_hostile_files_cost_no_memory(tmp_path: Path) -> None:
    """12,000 × 12,000 PNG in 140 KB, and a 16 × 16 TIFF whose one tile unpacks to 300 MB."""
    (tmp_path / "bomb.png").write_bytes(blank_png(12000, 12000))
    packer = zlib.compressobj(9)
    tile = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
    tags = {322: (4, 10000), 323: (4, 10000), 324: (4, 8 + 2 + 12 * 10 + 4), 325: (4, len(tile))}
    (tmp_path / "bomb.tif").write_bytes(tiff(16, 16, tags, tile))
    assert (tmp_path / "bomb.png").stat().st_size < 150_000
    script = """
        import resource, sys
        from pathlib import Path
        from automask.errors import ImageError
        from automask.images import read_image

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

        before = peak()
        for file in map(Path, sys.argv[1:]):
            try:
                read_image(file)
            except ImageError as error:
                assert "over the limit" in str(error), error
            else:
                sys.exit(f"{file} was decoded")
        print(peak() - before)
    """
    # The import path of this process, so that whichever way the package was made importable works there too.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "bomb.png"), str(tmp_path / "bomb.tif")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert int(done.stdout) < 30, "MiB; decoding either takes 140 and more"


def test_text_and_profiles_of_png_are_not_decompressed(astronaut: Pixels) -> None:
    zeros = zlib.compress(bytes(4 << 20))
    file = with_chunks(
        encode(astronaut, "PNG"),
        *[png_chunk(b"zTXt", b"a\0\0" + zeros)] * 20,
        png_chunk(b"iCCP", b"a\0\0" + zeros),
        png_chunk(b"acTL", bytes(8)),
        png_chunk(b"fcTL", bytes(5)),
        png_chunk(b"tIME", b""),
    )
    assert np.array_equal(read_image(file), astronaut)


def test_progressive_jpeg_of_too_many_scans() -> None:
    file = encode(Image.new("L", (4000, 4000)), "JPEG", progressive=True)
    assert read_image(file).shape == (4000, 4000, 3)
    scan = file[file.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageError, match="4000×4000 has 1006 progressive scans, too many"):
        read_image(file[:-2] + scan * 1000 + file[-2:])


def test_damaged_tiff_directories() -> None:
    strip = zlib.compress(bytes(16 * 16 * 3))
    assert read_image(tiff(16, 16, {}, strip)).shape == (16, 16, 3)
    good = tiff(16, 16, {}, strip)
    for change, message in [
        ((8, b"\xff\xff"), "truncated TIFF"),
        ((10 + 4, b"\5\0\0\0"), "tag 256"),
        ((10 + 24 + 4, b"\xff\xff\xff\x0f"), "tag 258 points outside the file"),
        ((4, b"\xff\xff\xff\xff"), "truncated TIFF"),
    ]:
        at, what = change
        with pytest.raises(ImageError, match=message):
            read_image(good[:at] + what + good[at + len(what) :])


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (1, 70_000), (70_000, 1)])
def test_extreme_shapes(shape: tuple[int, int]) -> None:
    array = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for kind in LOSSLESS:
        assert np.array_equal(read_image(encode(array, kind)), array)
    assert np.array_equal(read_image(Image.fromarray(array)), array)
    rgba = np.dstack([array, np.full(shape, 255, np.uint8)])
    assert np.array_equal(read_image(rgba), array)


def test_50_megapixels() -> None:
    assert read_image(encode(Image.new("L", (10_000, 5_000), 77), "JPEG")).shape == (5_000, 10_000, 3)
    with pytest.raises(ImageError, match="over the limit"):
        read_image(np.broadcast_to(np.uint8(0), (5_001, 10_000)))


def test_threads_read_the_same_pixels(astronaut: Pixels) -> None:
    files = [encode(astronaut, kind) for kind in FORMATS] * 4
    want = [read_image(file) for file in files]
    start = threading.Barrier(4)

    def read(part: int) -> bool:
        start.wait()
        return all(np.array_equal(read_image(files[i]), want[i]) for i in range(part, len(files), 4))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(4)))


# Anything at all: an array or an ImageError, no warning (they are errors here), nothing else


def either(file: bytes) -> None:
    try:
        image = read_image(file, max_pixels=1_000_000)
    except ImageError:
        return
    assert image.dtype == np.uint8
    assert image.shape[2:] == (3,)


def small_files() -> list[bytes]:
    rgb = load_photo("astronaut")[100:124, 200:240].copy()
    rgba = np.dstack([rgb, rgb[..., 0]])
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x010E] = "description"
    exif.get_ifd(0x8769)[0x9286] = b"comment"
    files = [encode(rgb, kind, exif=exif) for kind in FORMATS if kind != "BMP"] + [encode(rgb, "BMP")]
    files += [encode(rgba, kind) for kind in ("PNG", "WEBP", "AVIF", "TIFF")]
    files += [encode(rgb, "TIFF", compression=c) for c in ("tiff_lzw", "jpeg", "tiff_adobe_deflate")]
    files += [encode(Image.fromarray(rgb).quantize(7), kind) for kind in ("PNG", "BMP", "TIFF")]
    files += [encode(rgb, "JPEG", progressive=True), encode(Image.fromarray(rgb).convert("CMYK"), "JPEG")]
    files += [cv2_encode(rgb.astype(np.uint16) * 257, suffix) for suffix in (".png", ".tiff")]
    files += [encode(rgb, k, save_all=True, append_images=[Image.fromarray(rgb)]) for k in ("PNG", "WEBP", "AVIF")]
    return files


SMALL_FILES = small_files()
MAGIC = (
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"II*\0",
    b"MM\0*",
    b"BM",
    b"RIFF\0\0\0\0WEBP",
    b"\0\0\0\x14ftypavif",
)


@FUZZ
@given(st.sampled_from(MAGIC), st.binary(max_size=400))
def test_random_bytes(magic: bytes, rest: bytes) -> None:
    either(magic + rest)


@pytest.mark.parametrize("file", SMALL_FILES, ids=range(len(SMALL_FILES)))
def test_random_damage(file: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    @FUZZ
    @given(
        st.lists(st.tuples(st.integers(0, min(len(file), 700) - 1), st.integers(0, 255)), max_size=4),
        st.lists(st.tuples(st.integers(0, len(file) - 1), st.integers(0, 255)), max_size=2),
        st.one_of(st.just(len(file)), st.integers(0, len(file))),
    )
    def damage(early: list[tuple[int, int]], anywhere: list[tuple[int, int]], end: int) -> None:
        changed = bytearray(file)
        for at, value in early + anywhere:
            changed[at] = value
        either(bytes(changed[:end]))

    damage()
    # libtiff and dav1d write there themselves, and Pillow does not stop them.
    if not (file.startswith((b"II", b"MM")) or file[4:8] == b"ftyp"):
        assert capfd.readouterr().err == ""


def test_public_names() -> None:
    assert sorted(automask.images.__all__) == sorted(
        [
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
    )
