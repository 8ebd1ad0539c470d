"""Mutated files of every format: each is refused with `ImageError` or read, in bounded time and memory.

``make fuzz EXAMPLES=10000`` tries more.
"""

import io
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from support.hostile_images import encode
from support.measured import MeasuredReader

EXAMPLES = int(os.environ.get("AUTOMASK_FUZZ_EXAMPLES", "40"))
MAX_BYTES, MAX_SECONDS, MAX_MEGABYTES = 32_000_000, 5, 500


def seeds() -> dict[str, list[bytes]]:
    random = np.random.default_rng(0)
    rgb = Image.fromarray(random.integers(0, 256, (24, 40, 3), np.uint8)).resize((80, 48))
    rgba = rgb.copy()
    rgba.putalpha(rgb.getchannel("R"))
    exif = Image.Exif()
    exif[274] = 6

    def files(kind: str, *options: dict[str, Any]) -> list[bytes]:
        return [encode(rgb, kind, **one) for one in options]

    frames: dict[str, Any] = {"save_all": True, "append_images": [rgb.rotate(180), rgba.convert("RGB")]}
    return {
        "JPEG": [
            *files("JPEG", {"exif": exif}, {"progressive": True}, {"subsampling": 0, "restart_marker_blocks": 1}),
            encode(rgb.convert("CMYK"), "JPEG"),
            encode(rgb.convert("L"), "JPEG", comment="x" * 40),
        ],
        "PNG": [
            *files("PNG", {"exif": exif}, frames),
            encode(rgba, "PNG"),
            encode(rgb.quantize(9), "PNG", transparency=1),
        ],
        "WEBP": [*files("WEBP", {"exif": exif}, {"lossless": True}, frames), encode(rgba, "WEBP")],
        "AVIF": [*files("AVIF", {"exif": exif}, {"subsampling": "4:4:4"}, frames), encode(rgba, "AVIF")],
        "TIFF": [
            *files(
                "TIFF", {}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"compression": "packbits"}, frames
            ),
            *files("TIFF", {"compression": "tiff_adobe_deflate", "strip_size": 500}),
            encode(rgb.convert("1"), "TIFF", compression="group4"),
            encode(rgb.quantize(9), "TIFF"),
        ],
        "BMP": [
            encode(rgb, "BMP"),
            encode(rgb.quantize(9), "BMP"),
            encode(rgb.convert("1"), "BMP"),
            run_lengths(8),
            run_lengths(4),
        ],
        "GIF": [
            *files("GIF", {"comment": b"x" * 40}, {"interlace": 0}, frames),
            encode(rgb.quantize(9), "GIF", transparency=1),
        ],
    }


def run_lengths(bits: int) -> bytes:
    """A BMP of 80×48 in RLE8 or RLE4."""
    file = bytearray(encode(Image.new("P", (80, 48)), "BMP"))
    start = int.from_bytes(file[10:14], "little")
    file[28:34] = bits.to_bytes(2, "little") + (1 if bits == 8 else 2).to_bytes(4, "little")
    return bytes(file[:start]) + (b"\x40\x12\x00\x04abcd\x0c\x34\0\0" * 48) + b"\0\1"


Mutation = Callable[[bytes], bytes]
_EDGES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF]


def at(file: bytes, share: float) -> int:
    """Positions in the headers are drawn as often as those in all that follows."""
    return int(share * 2 * min(len(file), 300)) if share < 0.5 else int((share - 0.5) * 2 * len(file))


def overwrite(share: float, what: bytes) -> Mutation:
    return lambda file: file[: at(file, share)] + what + file[at(file, share) + len(what) :]


def insert(share: float, what: bytes) -> Mutation:
    return lambda file: file[: at(file, share)] + what + file[at(file, share) :]


def delete(share: float, length: int) -> Mutation:
    return lambda file: file[: at(file, share)] + file[at(file, share) + length :]


def repeat(share: float, length: int, megabytes: float) -> Mutation:
    def mutate(file: bytes) -> bytes:
        part = file[at(file, share) : at(file, share) + length]
        return insert(share, part * int(megabytes * 1e6 / max(1, len(part))))(file)

    return mutate


def mutations() -> st.SearchStrategy[list[Mutation]]:
    share = st.floats(0, 1, exclude_max=True)
    number = st.builds(
        lambda value, size, order: (value % (1 << 8 * size)).to_bytes(size, order),
        st.sampled_from(_EDGES) | st.integers(0, 0xFFFFFFFF),
        st.sampled_from([1, 2, 4]),
        st.sampled_from(["little", "big"]),
    )
    marker = st.sampled_from(
        [b"\xff", b"\0", b"\xff\xda", b"\xff\xd0", b"\xff\xc4\0\2", b"\0\0\0\x08free", b"\0\0\0\0"]
    )
    one = st.one_of(
        st.builds(overwrite, share, number | st.binary(min_size=1, max_size=8)),
        st.builds(insert, share, number | marker | st.binary(min_size=1, max_size=40)),
        st.builds(delete, share, st.integers(1, 300)),
        st.builds(
            repeat, share, st.sampled_from([1, 2, 4, 8, 12, 20]) | st.integers(1, 400), st.sampled_from([0.01, 1, 30])
        ),
    )
    return st.lists(one, min_size=1, max_size=5)


SEEDS = seeds()


@pytest.fixture(scope="module")
def reader() -> Iterator[MeasuredReader]:
    with MeasuredReader() as measured:
        yield measured


def test_seeds_are_images() -> None:
    for kind, files in SEEDS.items():
        for file in files:
            with Image.open(io.BytesIO(file)) as image:
                assert image.size == (80, 48), kind


@pytest.mark.parametrize("kind", SEEDS)
def test_any_file_is_cheap(kind: str, reader: MeasuredReader) -> None:
    @settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(SEEDS[kind]), mutations())
    def check(file: bytes, changes: list[Mutation]) -> None:
        for change in changes:
            file = change(file)[:MAX_BYTES]
        cost = reader.read(file)
        assert cost.seconds < MAX_SECONDS
        assert cost.megabytes < MAX_MEGABYTES

    check()
