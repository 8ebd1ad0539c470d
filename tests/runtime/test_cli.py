"""The command line: its output streams and its exit status, in processes where the start of one may matter."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import automask
from automask.devices import pick_device
from support.command_line import run


def run_process(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-W", "error", "-m", "automask", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def errors(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    return done.stderr.decode().strip().splitlines()


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path), np.uint8)


@pytest.fixture
def folder(tmp_path: Path, coffee: NDArray[np.uint8]) -> Path:
    """Two photos, one of them twice in another format, one broken file, and one that is no image."""
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(coffee).save(photos / "a.jpg")
    Image.fromarray(coffee[:, ::-1]).save(photos / "b.png")
    Image.fromarray(coffee).save(photos / "b.webp")
    (photos / "broken.jpg").write_bytes((photos / "a.jpg").read_bytes()[:2000])
    (photos / "notes.txt").write_text("no image")
    return photos


def test_one_image(segmenter: automask.Segmenter, coffee: NDArray[np.uint8], coffee_file: Path) -> None:
    done = run_process("mask", coffee_file, "the red cup", "--grow-mask", 3)
    target = coffee_file.with_name("coffee.mask.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == f"{target}\n"
    np.testing.assert_array_equal(pixels(target), segmenter.mask(coffee, "cup", grow_mask=3).mask)
    note, summary = errors(done)
    assert note.startswith("note: not used: 'red'")
    assert "1 × cup" in summary


@pytest.mark.parametrize(("flag", "kind"), [("--return-alpha", "alpha"), ("--preview", "preview")])
def test_alpha_and_preview(
    segmenter: automask.Segmenter,
    coffee: NDArray[np.uint8],
    coffee_file: Path,
    tmp_path: Path,
    flag: str,
    kind: str,
) -> None:
    target = tmp_path / "new" / "out.png"
    assert run("mask", coffee_file, "cup", flag, "--invert-mask", "-o", target).returncode == 0
    np.testing.assert_array_equal(pixels(target), getattr(segmenter.mask(coffee, "cup", invert_mask=True), kind))


def test_a_pipe(segmenter: automask.Segmenter, coffee: NDArray[np.uint8], coffee_file: Path) -> None:
    done = run_process("mask", "-", "cup", stdin=coffee_file.read_bytes())
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(done.stdout))), segmenter.mask(coffee, "cup").mask)


def test_a_folder_goes_on_after_a_bad_file(folder: Path, tmp_path: Path) -> None:
    done = run_process("mask", folder, "cup", "-o", tmp_path / "masks")
    assert done.returncode == 1
    written = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert written == ["a.mask.png", "b.png.mask.png", "b.webp.mask.png"]
    assert len(done.stdout.splitlines()) == 3
    assert any(line.startswith("automask: error:") and "broken.jpg" in line for line in errors(done))
    assert errors(done)[-1] == "4 images: 3 masked, 1 failed"


def test_a_second_run_does_not_mask_the_results_of_the_first(folder: Path) -> None:
    (folder / "broken.jpg").unlink()
    for _ in range(2):
        assert run("mask", folder, "cup").returncode == 0
    assert sorted(path.name for path in folder.glob("*.mask.png")) == [
        "a.mask.png", "b.png.mask.png", "b.webp.mask.png",
    ]  # fmt: skip


def test_json_lines(folder: Path, tmp_path: Path) -> None:
    done = run("mask", str(folder / "*.jpg"), "cup", "-o", tmp_path / "masks", "--json")
    assert done.returncode == 1
    good, bad = map(json.loads, done.stdout.splitlines())
    assert good["instances"][0]["label"] == "cup"
    assert good["instances"][0]["rle"]["size"] == [400, 600]
    assert (good["width"], good["height"], good["is_empty"]) == (600, 400, False)
    assert good["device"] == pick_device("auto")
    assert Path(good["output"]).is_file()
    assert bad["error"]["type"] == "ImageError"
    assert "broken.jpg" in bad["image"]


def test_exit_status_3_when_nothing_is_found(coffee_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "none.png"
    done = run_process("mask", coffee_file, "zebra", "--stop-on-empty-mask", "-o", target)
    assert (done.returncode, target.exists()) == (3, False)
    assert "nothing in the image matches 'zebra'" in errors(done)[-1]
    assert run("mask", coffee_file, "zebra", "-o", target).returncode == 0
    assert not pixels(target).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mask", "PHOTO"], 'give at least one image and, last, the prompt: automask mask room.jpg "sofa"'),
        (["mask", "PHOTO", "PHOTO"], "the prompt comes last, but"),
        (["mask", "PHOTO", "cup", "--threshold", "1.7"], "1.7 is not in the range 0<=x<=1"),
        (["mask", "PHOTO", "cup", "--grow-mask", "101"], "101 is not in the range 0<=x<=100"),
        (
            ["mask", "PHOTO", "cup", "--device", "tpu"],
            "'tpu' is not one of 'auto', 'cpu', 'cuda', 'tensorrt'",
        ),
        (["mask", "PHOTO", "cup", "--return-alpha", "--preview"], "exclude each other"),
        (["mask", "https://example.org/cup.jpg", "cup"], "is a URL; automask fetches nothing"),
        (["mask", "EMPTY", "cup"], "holds no images"),
        (["mask", "EMPTY/*.jpg", "cup"], "no file matches"),
        (["mask", "PHOTO", "PHOTO2", "cup", "-o", "PHOTO"], "is a file; for several images give a folder"),
        (["mask", "PHOTO", "PHOTO2", "cup", "-o", "one.png"], "one.png is the name of one picture, for 2 images"),
        (["mask", "PHOTO", " "], "the prompt is empty"),
        (["mask", "PHOTO", "cup", "--threads", "0"], "0 is not in the range x>=1"),
        (["mask", "PHOTO", "cup", "--threads", "2", "--server", "unix:/x"], "--threads is for this machine"),
        (["mask", "PHOTO", "cup", "-o", "mask.jpg"], "a picture is written as .png or .webp"),
        (["mask", "PHOTO", "cup", "-o", "-", "--json"], "standard output carries the picture here"),
    ],
)
def test_wrong_usage_is_exit_status_2(coffee_file: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    names = {"PHOTO2": str(coffee_file) + "2", "PHOTO": str(coffee_file), "EMPTY": str(tmp_path / "empty")}
    for name, path in names.items():
        arguments = [argument.replace(name, path) for argument in arguments]
    done = run(*arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.decode().split())


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (["PHOTO", "sky"], "'sky' is not among the 80 kinds of object that this model knows", 2),
        (["PHOTO", "cup", "--precision", "fp64"], "precision must be one of", 2),
        (["PHOTO", "cup", "--server", "http://127.0.0.1:8080"], "not a URL, got 'http://127.0.0.1:8080'", 2),
        (["PHOTO", "cup", "--max-pixels", "1000"], "over the limit of 0.001 megapixels", 1),
        (["nowhere.jpg", "cup"], "'nowhere.jpg': no such file", 1),
        (["PHOTO", "cup", "--model", "nothing"], "no bundle 'nothing'", 1),
        (["PHOTO", "cup", "-o", "/proc/none/mask.png"], "/proc/none", 1),
    ],
)
def test_errors_are_one_line(
    coffee_file: Path, tmp_path: Path, arguments: list[str], message: str, status: int
) -> None:
    done = run("mask", *(argument.replace("PHOTO", str(coffee_file)) for argument in arguments), cwd=tmp_path)
    assert done.returncode == status
    (line,) = errors(done)
    assert line.startswith("automask: error: ")
    assert message in line


def test_debug_shows_the_traceback(coffee_file: Path) -> None:
    done = run_process("--debug", "mask", coffee_file, "sky")
    assert done.returncode == 2
    assert "Traceback" in done.stderr.decode()


def test_models_shows_licence_size_and_vocabulary() -> None:
    listing = run("models").stdout.decode()
    for part in ("default:", "Apache-2.0", "MB", "80 kinds of object"):
        assert part in listing
    (described,) = json.loads(run("models", "default", "--json").stdout)
    assert len(described["vocabulary"]) == 80
    assert {source["licence"] for source in described["sources"]} == {"Apache-2.0", "WordNet"}
    assert "hair drier" in run("models", "default").stdout.decode()


def test_doctor_shows_which_devices_work() -> None:
    done = run_process("doctor")
    text = done.stdout.decode()
    assert done.returncode == 0, text
    assert automask.__version__ in text
    assert "did not find the person" not in text
    assert re.search(r"\ncpu +yes +(int8|fp32) +proven", text)


def test_help_has_examples_and_exit_statuses() -> None:
    for arguments in ([], ["mask"]):
        text = run_process(*arguments, "--help").stdout.decode()
        assert "automask mask room.jpg" in text
        assert "Exit status" in text


@pytest.mark.parametrize(
    ("arguments", "prompt", "selected"),
    [
        (["--box", "448,250,530,325"], None, {"box": (448, 250, 530, 325)}),
        (["cup", "--point", "300,180,-", "--point", "560.5,350"], "cup", {"points": [(300, 180, 0), (560.5, 350, 1)]}),
        (["cup and table", "--keep", "0,1", "--drop", "1"], "cup and table", {"keep": [0]}),
    ],
)
def test_a_selection(
    segmenter: automask.Segmenter,
    coffee_file: Path,
    tmp_path: Path,
    arguments: list[str],
    prompt: str | None,
    selected: dict[str, Any],
) -> None:
    done = run("mask", coffee_file, *arguments, "-o", tmp_path / "mask.png")
    assert done.returncode == 0, done.stderr
    expected = segmenter.mask(coffee_file, prompt, **selected)
    np.testing.assert_array_equal(pixels(tmp_path / "mask.png"), expected.mask)


def test_several_images_need_no_prompt_with_a_box(folder: Path, coffee: NDArray[np.uint8]) -> None:
    done = run("mask", folder / "a.jpg", folder / "b.png", "--box", "10,10,200,200", "-o", folder / "masks")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert pixels(folder / "masks" / "a.mask.png").shape == coffee.shape[:2]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--box", "1,2,3"], 2, "'1,2,3' is not four numbers: left,top,right,bottom"),
        (["--box", "1,2,x,4"], 2, "'1,2,x,4' is not numbers with commas between them"),
        (["--box", "9,2,3,4"], 2, "box must have left < right and top < bottom"),
        (["cup", "--point", "1,2,3"], 2, "'1,2,3' is not x,y or x,y,-"),
        (["cup", "--keep", "a"], 2, "'a' is not integers with commas between them"),
        (["cup", "--drop", "-1"], 2, "drop must hold indices of instances: integers, 0 or more, got -1"),
        (["--drop", "1"], 2, "give at least one image and, last, the prompt"),
        (["cup", "--drop", "1"], 1, "drop must hold indices below 1, because the prompt has 1 instances, got 1"),
        (["--box", "0,0,601,400"], 1, "box must be inside the image, which is 600×400"),
        (["--point", "1,2,-"], 2, "points must hold a point with label 1"),
    ],
)
def test_a_wrong_selection_is_named(coffee_file: Path, arguments: list[str], status: int, message: str) -> None:
    done = run("mask", coffee_file, *arguments)
    assert done.returncode == status
    assert message in " ".join(done.stderr.decode().split())
