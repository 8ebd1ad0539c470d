"""Reading images: limits, hostile files and random bytes."""

import os
import struct
import subprocess
import sys
import textwrap
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from automask.errors import ImageError, ParameterError
from automask.images import read_image
from support.image_files import (
    FORMATS,
    FUZZ,
    LOSSLESS,
    ORIENTATION,
    Pixels,
    blank_png,
    cv2_encode,
    encode,
    load_photo,
    png_chunk,
    png_header,
    tiff,
    with_chunks,
)

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


def test_text_and_profiles_of_png_are_not_decompressed(portrait: Pixels) -> None:
    zeros = zlib.compress(bytes(4 << 20))
    file = with_chunks(
        encode(portrait, "PNG"),
        *[png_chunk(b"zTXt", b"a\0\0" + zeros)] * 20,
        png_chunk(b"iCCP", b"a\0\0" + zeros),
        png_chunk(b"acTL", bytes(8)),
        png_chunk(b"fcTL", bytes(5)),
        png_chunk(b"tIME", b""),
    )
    assert np.array_equal(read_image(file), portrait)


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


def test_threads_read_the_same_pixels(portrait: Pixels) -> None:
    files = [encode(portrait, kind) for kind in FORMATS] * 4
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
