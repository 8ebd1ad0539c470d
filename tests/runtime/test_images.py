"""Reading images: files, arrays and PIL images of every format and mode."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

import automask.images
from automask.errors import ImageError
from automask.images import read_image
from support.image_files import (
    FORMATS,
    LOSSLESS,
    ORIENTATION,
    Pixels,
    close,
    cv2_encode,
    encode,
    png_chunk,
    tiff,
    with_chunks,
)

# Formats and modes


@pytest.mark.parametrize("kind", FORMATS)
def test_images_are_contiguous_writable_rgb(kind: str, each_photo: Pixels) -> None:
    got = read_image(encode(each_photo, kind, **({} if kind in LOSSLESS else {"quality": 90})))
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    assert got.flags.writeable
    assert np.array_equal(got, each_photo) if kind in LOSSLESS else close(got, each_photo)


def test_webp_lossless_is_exact(each_photo: Pixels) -> None:
    assert np.array_equal(read_image(encode(each_photo, "WEBP", lossless=True)), each_photo)


@pytest.mark.parametrize("kind", FORMATS)
def test_grey_becomes_three_equal_channels(kind: str, portrait: Pixels) -> None:
    grey = np.ascontiguousarray(portrait[..., 1])
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
def test_palette(kind: str, portrait: Pixels) -> None:
    image = Image.fromarray(portrait).quantize(17)
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
def test_16_bit_colour(suffix: str, channels: int, portrait: Pixels) -> None:
    deep = np.full((*portrait.shape[:2], channels), 65535, np.uint16)
    deep[..., :3] = portrait[..., ::-1].astype(np.uint16) * 257  # OpenCV writes BGR
    assert np.array_equal(read_image(cv2_encode(deep, suffix)), portrait)


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
def test_compressed_tiff(compression: str, each_photo: Pixels) -> None:
    got = read_image(encode(each_photo, "TIFF", compression=compression))
    assert close(got, each_photo) if compression == "jpeg" else np.array_equal(got, each_photo)


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


def test_arrays(portrait: Pixels) -> None:
    assert read_image(portrait[::2, ::-1]).tolist() == portrait[::2, ::-1].tolist()
    grey = portrait[..., 0]
    for array in (grey, grey[..., None], grey.T.copy().T):
        assert np.array_equal(read_image(array), np.repeat(grey[..., None], 3, 2))
    opaque = np.dstack([portrait, np.full(grey.shape, 255, np.uint8)])
    assert np.array_equal(read_image(opaque), portrait)


def test_contiguous_rgb_array_is_not_copied() -> None:
    array = np.zeros((3, 4, 3), np.uint8)
    assert np.shares_memory(read_image(array), array)
    for other in (array[:, ::2], np.zeros((3, 4, 4), np.uint8), np.zeros((3, 4), np.uint8)):
        assert not np.shares_memory(read_image(other), other)


def test_inputs_are_not_changed(portrait: Pixels) -> None:
    rgba = np.dstack([portrait, portrait[..., 0]])
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


def test_pil_image_without_pixels_truncated_or_closed(portrait: Pixels) -> None:
    with pytest.raises(ImageError, match="0×5, without a single pixel"):
        read_image(Image.new("RGB", (0, 5)))
    cut = Image.open(io.BytesIO(encode(portrait, "JPEG")[:5000]))
    with pytest.raises(ImageError, match="truncated JPEG"):
        read_image(cut)


@pytest.mark.parametrize("source", [None, 3, [[1, 2]], object()])
def test_other_types_are_refused(source: Any) -> None:
    with pytest.raises(ImageError, match=f"an open file, a numpy array or a PIL image, got {type(source).__name__}"):
        read_image(source)


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
