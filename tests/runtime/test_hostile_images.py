"""Files made to cost a decoder far more than an image of their size: each is refused, or read at an ordinary price."""

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from automask.errors import ImageError
from automask.images import read_image
from support.hostile_images import ATTACKS, encode, png_chunk
from support.measured import MeasuredReader

MAX_SECONDS, MAX_MEGABYTES = 5, 500

# Attacks on details that decoders skip at full speed, and some just below the limits; they are read.
HARMLESS = {
    "jpeg-restarts-in-scan",
    "jpeg-zeros-in-scan",
    "jpeg-stuffing-in-scan",
    "tiff-unknown-tags",
    "tiff-rationals",
    "png-empty-blocks",
    "png-rgba16-50mp",
    "png-rgba16-16mp",
    "jpeg-scans-4mp",
}


@pytest.fixture(scope="module")
def reader() -> Iterator[MeasuredReader]:
    with MeasuredReader(timeout=200) as measured:
        yield measured


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(name: str, reader: MeasuredReader) -> None:
    file = ATTACKS[name]()
    assert len(file) <= 32_000_000
    cost = reader.read(file)
    assert (cost.error == "") == (name in HARMLESS), cost
    assert cost.seconds < MAX_SECONDS
    assert cost.megabytes < MAX_MEGABYTES


def test_sides_that_no_encoder_can_write() -> None:
    for shape in ((1, 1_000_001), (1_000_001, 1)):
        for source in (
            np.zeros(shape, np.uint8),
            Image.new("L", shape[::-1]),
            encode(Image.new("L", shape[::-1]), "PNG"),
        ):
            with pytest.raises(ImageError, match=r"image is \d+×\d+, over the limit of 1000000 pixels a side"):
                read_image(source)
    assert read_image(np.zeros((1, 1_000_000), np.uint8)).shape == (1, 1_000_000, 3)


def test_memory_of_decoding_is_limited_by_the_pixels_allowed() -> None:
    webp = bytearray(encode(Image.new("RGB", (8, 8)), "WEBP"))
    webp[26:30] = (9000).to_bytes(2, "little") + (5000).to_bytes(2, "little")
    with pytest.raises(ImageError, match=r"decoding this WebP takes about 540 MB, over the limit of 500 MB \(10 bytes"):
        read_image(bytes(webp))
    with pytest.raises(ImageError, match="damaged or unsupported WebP"):
        read_image(bytes(webp), max_pixels=80_000_000)


def test_what_is_dropped_does_not_matter() -> None:
    """Fill bytes, comments and tables between scans, chunks between image data: all of it is legal."""
    photo = Image.radial_gradient("L").convert("RGB")
    jpeg = encode(photo, "JPEG", progressive=True)
    spread = jpeg[:2] + b"\xff" * 99 + jpeg[2:].replace(b"\xff\xda", b"\xff\xfe\0\4ab\xff\xff\xda") + b"garbage" * 1000
    assert np.array_equal(read_image(spread), read_image(jpeg))
    png = encode(photo.resize((999, 999)), "PNG")
    assert png.count(b"IDAT") > 1
    cut = png.index(b"IDAT", png.index(b"IDAT") + 4) - 4
    between = png[:cut] + png_chunk(b"IDAT", b"") + png_chunk(b"tEXt", b"a\0b") + png[cut:]
    assert np.array_equal(read_image(between), np.asarray(photo.resize((999, 999))))
