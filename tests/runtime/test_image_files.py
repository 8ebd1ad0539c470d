"""Reading images: paths, HEIC, GIF, open files, and JPEG files decoded at a smaller size."""

import io
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from automask.errors import AutomaskError, ImageError
from automask.images import SUFFIXES, encoded_bytes, read_image, read_reduced
from support.image_files import (
    FORMATS,
    LOSSLESS,
    ORIENTATION,
    Pixels,
    close,
    encode,
)

# Paths, names, what is no image


def test_paths_and_buffers(tmp_path: Path, portrait: Pixels) -> None:
    file = encode(portrait, "PNG")
    path = tmp_path / "photo 照片.png"
    path.write_bytes(file)
    for source in (path, str(path), file, bytearray(file), memoryview(file), memoryview(file + b"x")[:-1]):
        assert np.array_equal(read_image(source), portrait)
        assert encoded_bytes(source) == file
    assert np.array_equal(read_image(path, encoded=encode(255 - portrait, "PNG")), 255 - portrait)
    assert encoded_bytes(portrait) is None
    assert encoded_bytes(Image.fromarray(portrait)) is None


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
def test_other_formats_of_pillow_are_refused(kind: str, portrait: Pixels) -> None:
    with pytest.raises(ImageError, match=r"(JPEG 2000|ICO) is not supported; use JPEG"):
        read_image(encode(portrait[:32, :32], kind))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.001, 0.3, 0.6, 0.95])
def test_truncated_files_are_refused(kind: str, share: float, portrait: Pixels, tmp_path: Path) -> None:
    file = encode(portrait, kind)
    path = tmp_path / "cut"
    path.write_bytes(file[: max(16, int(len(file) * share))])
    with pytest.raises(ImageError, match="(?i)truncated|damaged") as caught:
        read_image(path)
    assert isinstance(caught.value, AutomaskError | ValueError)
    assert "cut': " in str(caught.value)


def test_suffixes_are_the_formats(portrait: Pixels, tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        path = tmp_path / f"photo{suffix}"
        if suffix in {".heic", ".heif"}:
            path.write_bytes(heic(portrait))
        else:
            Image.fromarray(portrait).save(path)
        want = np.asarray(Image.fromarray(portrait).quantize().convert("RGB")) if suffix == ".gif" else portrait
        assert close(read_image(path), want)


# HEIC, with the extra


def heic(pixels: Pixels, **options: Any) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(file, quality=95, **options)
    return file.getvalue()


def test_a_heic_file_is_read_in_full_color(portrait: Pixels) -> None:
    pixels = read_image(heic(portrait))
    assert pixels.shape == portrait.shape
    assert np.abs(pixels.astype(int) - portrait).mean() < 4  # it is a lossy format


def test_transparency_of_a_heic_file_is_laid_over_white() -> None:
    clear = np.zeros((64, 64, 4), np.uint8)
    clear[:, 32:] = (200, 30, 60, 255)
    pixels = read_image(heic(clear))
    assert pixels[:, :24].min() > 245
    assert np.abs(pixels[:, 40:].astype(int) - (200, 30, 60)).mean() < 8


def test_a_truncated_heic_file_is_refused(portrait: Pixels) -> None:
    file = heic(portrait)
    for share in (0.01, 0.3, 0.9):
        with pytest.raises(ImageError, match="(?i)truncated|damaged"):
            read_image(file[: int(len(file) * share)])


def test_the_limit_on_pixels_holds_before_a_heic_file_is_decoded(portrait: Pixels) -> None:
    with pytest.raises(ImageError, match=r"over the limit of 0\.05 megapixels"):
        read_image(heic(portrait), max_pixels=50_000)


def test_without_the_extra_a_heic_file_says_what_to_install(portrait: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    file = heic(portrait[:64, :64])
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


def test_a_transparent_gif_is_over_white(each_photo: Pixels) -> None:
    paletted = Image.fromarray(each_photo).quantize(16)
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


def test_open_files_are_read_from_their_position(each_photo: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(b"prefix" + encode(each_photo, "PNG"))
    with path.open("rb") as file:
        file.seek(6)
        assert np.array_equal(read_image(file), each_photo)
        with pytest.raises(ImageError, match="file is empty"):
            read_image(file)
    assert np.array_equal(read_image(io.BytesIO(encode(each_photo, "PNG"))), each_photo)
    with pytest.raises(ImageError, match="cannot read the open file"):
        read_image(file)
    with path.open(encoding="latin-1") as text, pytest.raises(ImageError, match="open it with open"):
        read_image(text)  # type: ignore[arg-type]


# Smaller than they are


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("progressive", [False, True])
def test_large_jpeg_is_decoded_smaller_and_upright(orientation: int, progressive: bool, portrait: Pixels) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    large = np.asarray(cv2.resize(portrait, (1001, 1501), interpolation=cv2.INTER_CUBIC), np.uint8)
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


def test_only_jpeg_is_reduced(portrait: Pixels) -> None:
    for kind in LOSSLESS:
        pixels, size = read_reduced(file := encode(portrait, kind), file, 20)
        assert np.array_equal(pixels, portrait)
        assert size == portrait.shape[:2]


def test_reduced_reading_refuses_the_same_files(portrait: Pixels, tmp_path: Path) -> None:
    file = encode(portrait, "JPEG")
    with pytest.raises(ImageError, match="over the limit"):
        read_reduced(file, file, 64, max_pixels=1000)
    with pytest.raises(ImageError, match=r"cut\.jpg': (truncated|damaged)"):
        read_reduced(tmp_path / "cut.jpg", file[: len(file) // 2], 64)
