"""`automask cutout`: transparency, backgrounds, formats."""

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import automask
from automask.compositing import cover, over
from support.command_line import run


def cutout(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return run("cutout", *arguments, stdin=stdin)


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path), np.uint8)


@pytest.fixture(scope="module")
def expected(segmenter: automask.Segmenter, coffee: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return segmenter.mask(coffee, "cup", grow_mask=0, alpha="soft", return_alpha=True).alpha


def test_the_cutout_lies_beside_the_photo(coffee_file: Path, expected: NDArray[np.uint8]) -> None:
    done = cutout(coffee_file, "cup")
    target = coffee_file.with_name("coffee.cutout.png")
    assert (done.returncode, done.stdout.decode()) == (0, f"{target}\n"), done.stderr
    np.testing.assert_array_equal(pixels(target), expected)
    assert ((expected[..., 3] > 0) & (expected[..., 3] < 255)).any()


def test_a_colour_behind_the_object(coffee_file: Path, expected: NDArray[np.uint8], tmp_path: Path) -> None:
    for colour, rgb in (("white", (255, 255, 255)), ("#20c0ff", (32, 192, 255))):
        target = tmp_path / "on.webp"
        assert cutout(coffee_file, "cup", "--background", colour, "-o", target).returncode == 0
        picture = pixels(target)
        np.testing.assert_array_equal(picture, over(expected, np.array(rgb, np.uint8)))
        assert tuple(picture[0, 0]) == rgb


def test_an_image_behind_the_object(coffee_file: Path, expected: NDArray[np.uint8], tmp_path: Path) -> None:
    behind = np.random.default_rng(0).integers(0, 256, (90, 40, 3), np.uint8)
    Image.fromarray(behind).save(tmp_path / "beach.png")
    target = tmp_path / "on.png"
    assert cutout(coffee_file, "cup", "--background", tmp_path / "beach.png", "-o", target).returncode == 0
    np.testing.assert_array_equal(pixels(target), over(expected, cover(behind, (400, 600))))


def test_blur_leaves_the_object_sharp(
    coffee_file: Path, coffee: NDArray[np.uint8], expected: NDArray[np.uint8], tmp_path: Path
) -> None:
    target = tmp_path / "on.png"
    assert cutout(coffee_file, "cup", "--background", "blur", "-o", target).returncode == 0
    picture, solid, clear = pixels(target), expected[..., 3] == 255, expected[..., 3] == 0
    np.testing.assert_array_equal(picture[solid], coffee[solid])
    steps = [np.abs(np.diff(one.astype(int), axis=1))[clear[:, 1:]].mean() for one in (picture, coffee)]
    assert steps[0] < steps[1] / 2


def test_trim_crops_to_the_object(coffee_file: Path, expected: NDArray[np.uint8], tmp_path: Path) -> None:
    rows, columns = np.flatnonzero(expected[..., 3].any(1)), np.flatnonzero(expected[..., 3].any(0))
    part = expected[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    done = cutout("-", "cup", "--trim", stdin=coffee_file.read_bytes())
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(done.stdout))), part)
    assert cutout(coffee_file, "cup", "--trim", "--background", "black", "-o", tmp_path / "on.png").returncode == 0
    np.testing.assert_array_equal(pixels(tmp_path / "on.png"), over(part, np.zeros(3, np.uint8)))


def test_nothing_found(coffee_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "none.png"
    done = cutout(coffee_file, "zebra", "--stop-on-empty-mask", "-o", target)
    assert (done.returncode, target.exists()) == (3, False)
    assert cutout(coffee_file, "zebra", "--trim", "-o", target).returncode == 0
    assert not pixels(target)[..., 3].any()


@pytest.mark.parametrize(
    ("background", "message"),
    [
        ("whiet", "'whiet' is neither a colour (white, #20c0ff), nor a file, nor blur"),
        ("#20c0ff80", "'#20c0ff80' has an alpha value"),
        (__file__, "not an image"),
    ],
)
def test_a_background_that_is_none(coffee_file: Path, tmp_path: Path, background: str, message: str) -> None:
    done = cutout(coffee_file, "cup", "--background", background, "-o", tmp_path / "on.png")
    assert done.returncode == 2
    assert message in " ".join(done.stderr.decode().split())
    assert not (tmp_path / "on.png").exists()


def test_a_box_instead_of_a_prompt(segmenter: automask.Segmenter, coffee_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "cup.png"
    done = cutout(coffee_file, "--box", "448,250,530,325", "--edges", "model", "-o", target)
    assert done.returncode == 0, done.stderr
    expected = segmenter.mask(coffee_file, box=(448, 250, 530, 325), edges="model", grow_mask=0, alpha="soft")
    np.testing.assert_array_equal(pixels(target), expected.alpha)
