"""Runs over many images: folders, counts, a terminal, Ctrl-C, defaults of options, completion."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from support.command_line import run_text

AUTOMASK = [sys.executable, "-W", "error", "-m", "automask"]


def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return run_text(*arguments)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image, np.uint8)


@pytest.fixture
def photos(tmp_path: Path, coffee: NDArray[np.uint8]) -> Path:
    """Two photos, one of them in a subfolder, where a broken file is, too."""
    folder = tmp_path / "photos"
    (folder / "kitchen").mkdir(parents=True)
    Image.fromarray(coffee).save(folder / "a.jpg")
    Image.fromarray(coffee[:, ::-1]).save(folder / "kitchen" / "a.jpg")
    (folder / "kitchen" / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:2000])
    return folder


def test_subfolders_are_not_skipped_silently(photos: Path, tmp_path: Path) -> None:
    done = run("mask", photos, "cup", "-o", tmp_path / "masks")
    assert done.returncode == 0, done.stderr
    assert "note: subfolders are not searched, 1 here: --recursive takes their images, too" in done.stderr
    assert names(tmp_path / "masks") == ["a.mask.png"]
    (photos / "a.jpg").unlink()
    done = run("mask", photos, "cup")
    assert done.returncode == 2
    assert "--recursive also takes the images in its subfolders" in " ".join(done.stderr.split())


def test_recursive_keeps_the_subfolders_and_the_counts_add_up(photos: Path, tmp_path: Path) -> None:
    done = run("mask", photos, "cup", "-o", tmp_path / "masks", "--recursive")
    assert done.returncode == 1
    assert names(tmp_path / "masks") == ["a.mask.png", "kitchen/a.mask.png"]
    assert done.stderr.splitlines()[-1] == "3 images: 2 masked, 1 failed"
    (tmp_path / "masks" / "a.mask.png").write_bytes(b"kept")
    done = run("mask", photos, "zebra", "-o", tmp_path / "masks", "--recursive", "--skip-existing")
    assert done.stderr.splitlines()[-1] == "3 images: 1 failed, 2 skipped"
    assert (tmp_path / "masks" / "a.mask.png").read_bytes() == b"kept"
    done = run("mask", photos, "zebra", "--recursive")
    assert done.stderr.splitlines()[-1] == "3 images: 2 empty, 1 failed"
    done = run("mask", photos / "a.jpg", photos / "kitchen/a.jpg", "zebra", "--stop-on-empty-mask")
    assert done.stderr.splitlines()[-1] == "2 images: 2 nothing found"
    assert done.returncode == 3


def test_a_run_with_nothing_left_to_do(photos: Path) -> None:
    assert run("cutout", photos / "a.jpg", "cup").returncode == 0
    done = run("cutout", photos / "a.jpg", "cup", "--skip-existing")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "1 image: 1 skipped\n")


def read_terminal(descriptor: int) -> str:
    """Return what a process writes to a terminal, until it ends."""
    written = b""
    while True:
        try:
            part = os.read(descriptor, 4096)
        except OSError:  # Linux's end of file of a terminal
            break
        if not part:
            break
        written += part
    return written.decode()


def test_lines_and_progress_do_not_mix_on_a_terminal(photos: Path) -> None:
    terminal, other = pty.openpty()
    arguments = [*AUTOMASK, "mask", str(photos), "cup", "--recursive"]
    with subprocess.Popen(arguments, stdin=other, stdout=other, stderr=other):
        os.close(other)
        written = read_terminal(terminal)
    os.close(terminal)
    assert "masking: 0 of 3 images" in written
    assert "masking: 2 of 3 images" in written
    # What a terminal shows: each carriage return goes back to the start of the line.
    shown = [show(line) for line in written.replace("\r\n", "\n").split("\n")]
    assert not any("masking:" in line for line in shown)
    assert f"{photos / 'a.mask.png'}" in shown
    assert shown[-2] == "3 images: 2 masked, 1 failed"


def show(line: str) -> str:
    cells = ""
    for part in line.split("\r"):
        cells = part + cells[len(part) :]
    return cells.rstrip()


def test_ctrl_c_says_how_far_it_came(photos: Path, tmp_path: Path) -> None:
    for number in range(200):
        os.link(photos / "a.jpg", photos / f"b{number}.jpg")
    arguments = [*AUTOMASK, "mask", str(photos), "cup", "-o", str(tmp_path / "masks")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        *_, last = process.stderr.read().splitlines()
    assert process.returncode == 130
    found = re.fullmatch(r"automask: interrupted after (\d+) of 201 images: (\d+) masked", last)
    assert found is not None, last
    assert int(found[1]) == int(found[2])
    # The signal may fall between a file and its count.
    assert len(names(tmp_path / "masks")) - int(found[1]) in {0, 1}
    assert not list((tmp_path / "masks").glob(".*"))


def test_defaults_come_from_the_environment_and_a_file(photos: Path, tmp_path: Path) -> None:
    photo, file, target = photos / "a.jpg", tmp_path / "automask.toml", tmp_path / "out.png"

    def area(*arguments: object, **variables: str) -> int:
        done = run("mask", photo, "cup", "-o", target, *arguments, **variables)
        assert done.returncode == 0, done.stderr
        return int(np.count_nonzero(pixels(target)))

    file.write_text('port = 50051\nmodel = ["default", "clipseg"]\n[mask]\ngrow_mask = 20\n[cutout]\ntrim = true\n')
    areas = [area("--grow-mask", grown) for grown in (0, 5, 10, 20)]
    assert areas == sorted(set(areas))
    none, few, usual, many = areas
    assert area() == usual
    assert area("--config", file) == many
    assert area(AUTOMASK_CONFIG=str(file)) == many
    assert area(AUTOMASK_CONFIG=str(file), AUTOMASK_GROW_MASK="5", AUTOMASK_MODEL="default,clipseg") == few
    assert area("--grow-mask", 0, AUTOMASK_CONFIG=str(file), AUTOMASK_GROW_MASK="5") == none
    assert area(AUTOMASK_GROW_MASK="") == usual
    assert run("cutout", photo, "cup", "-o", target, "--config", file).returncode == 0
    assert pixels(target).shape[:2] < (400, 600)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[mask]\ngrow = 3", "grow in [mask] of"),
        ("[mask]\ngrow_mask = 300", "300 is not in the range 0<=x<=100"),
        ("mask = 3", "must be a table: [mask]"),
        ("mask", "is not a TOML file"),
        (None, "cannot read"),
    ],
)
def test_a_file_of_defaults_that_is_wrong(photos: Path, tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "automask.toml"
    if text is not None:
        file.write_text(text)
    done = run("mask", photos / "a.jpg", "cup", "--config", file)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())


def test_the_environment_of_a_server_does_not_disturb_a_client(photos: Path) -> None:
    done = run("mask", photos / "a.jpg", "cup", "--server", "127.0.0.1:1", AUTOMASK_DEVICE="cpu", AUTOMASK_THREADS="2")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    script = run("completion", shell)
    assert (script.returncode, script.stderr) == (0, "")
    assert "_AUTOMASK_COMPLETE" in script.stdout
    program = Path(sys.executable).with_name("automask")
    answer = subprocess.run(
        [program],
        env=os.environ | {"_AUTOMASK_COMPLETE": f"{shell}_complete", "COMP_WORDS": "automask cuto", "COMP_CWORD": "1"}
        if shell != "fish"
        else os.environ | {"_AUTOMASK_COMPLETE": "fish_complete", "COMP_WORDS": "automask cuto", "COMP_CWORD": "cuto"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert "cutout" in answer.stdout


def test_each_prompt_gets_its_own_file_or_error(photos: Path, tmp_path: Path) -> None:
    prompts = ("--prompt", "the cup", "--prompt", "sky or logo", "--prompt", "everything but the cup")
    done = run("mask", photos / "a.jpg", *prompts, "-o", tmp_path / "out.png", "--json", "--grow-mask", 0)
    assert done.returncode == 1, done.stderr
    assert names(tmp_path) == ["out.everything-but-the-cup.png", "out.the-cup.png"]
    np.testing.assert_array_equal(
        pixels(tmp_path / "out.everything-but-the-cup.png"), 255 - pixels(tmp_path / "out.the-cup.png")
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["prompt"] for line in lines] == ["the cup", "sky or logo", "everything but the cup"]
    assert lines[1]["error"]["type"] == "UnknownPromptError"
    assert done.stderr.splitlines()[-1] == "3 masks: 2 masked, 1 failed"


def test_one_prompt_as_an_option_is_the_last_argument(photos: Path) -> None:
    done = run("mask", photos / "a.jpg", "--prompt", "cup")
    assert done.returncode == 0, done.stderr
    assert names(photos) == ["a.mask.png"]
    assert run("mask", photos / "a.jpg", "--prompt", "sky").returncode == 2
    assert run("mask", "--prompt", "sky").returncode == 2
    assert run("mask", photos / "a.jpg", "--prompt", "cup", "--prompt", "dog", "-o", "-").returncode == 2
