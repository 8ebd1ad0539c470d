"""`automask submit`, `status`, `watch`, `result`, `cancel`, and `automask mask --server`, against a real server."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

import automask
from automask.cli import main
from automask.service import Client
from automask.service.keys.sqlite import SqliteKeyStore
from support.server_process import ServerProcess


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("socket") / "s"


@pytest.fixture(scope="module")
def server(socket: Path) -> Iterator[ServerProcess]:
    # In another process, or its log would go to the captured streams.
    with ServerProcess("--port", 0, "--uds", socket, "--store", socket.with_name("requests.sqlite3")) as server:
        yield server
        assert server.end() == 0
        assert not [line for line in server.lines if not line.startswith("{")]


def run(server: ServerProcess, *arguments: object, stdin: bytes = b"", **environment: str) -> Result:
    env = {"AUTOMASK_SERVER": server.address, **environment}
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin, env=env)


def submit(server: ServerProcess, *arguments: object, stdin: bytes = b"") -> str:
    done = run(server, "submit", *arguments, stdin=stdin)
    assert done.exit_code == 0, done.stderr
    return done.stdout.removesuffix("\n")


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path), np.uint8)


def test_from_submit_to_result(
    segmenter: automask.Segmenter, server: ServerProcess, coffee_file: Path, tmp_path: Path
) -> None:
    request_id = submit(server, coffee_file, "the red cup", "--grow-mask", 3, "--deadline", "1m", "--exclude", "spoon")
    watched = run(server, "watch", request_id)
    assert (watched.exit_code, watched.stdout.splitlines()[-1]) == (0, "COMPLETED")
    printed = run(server, "status", request_id)
    assert (printed.exit_code, printed.stdout) == (0, "COMPLETED\n")
    target = tmp_path / "new" / "cup.png"
    done = run(server, "result", request_id, "-o", target)
    assert (done.exit_code, done.stdout) == (0, f"{target}\n")
    assert done.stderr.startswith("note: not used: 'red'")
    assert "1 × cup" in done.stderr
    expected = segmenter.mask(coffee_file, "cup", grow_mask=3, exclude="spoon").mask
    np.testing.assert_array_equal(pixels(target), expected)
    assert run(server, "cancel", request_id).stdout == "COMPLETED\n"


@pytest.mark.parametrize(("flag", "kind"), [("--return-alpha", "alpha"), ("--preview", "preview")])
def test_other_pictures_do_not_need_the_photo(
    segmenter: automask.Segmenter, server: ServerProcess, coffee_file: Path, tmp_path: Path, flag: str, kind: str
) -> None:
    request_id = submit(server, "-", "cup", flag, stdin=coffee_file.read_bytes())
    expected = getattr(segmenter.mask(coffee_file, "cup"), kind)
    assert run(server, "result", request_id, "--wait", "60s", "-o", tmp_path / "out.webp").exit_code == 0
    shown = pixels(tmp_path / "out.webp")
    np.testing.assert_array_equal(shown[..., 3:], expected[..., 3:])
    piped = run(server, "result", request_id, "-o", "-")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(piped.stdout_bytes))), expected)


def test_json(server: ServerProcess, coffee_file: Path, tmp_path: Path) -> None:
    request_id = submit(server, coffee_file, "cup")
    *_, last = map(json.loads, run(server, "watch", request_id, "--json").stdout.splitlines())
    assert last == json.loads(run(server, "status", request_id, "--json").stdout)
    assert (last["request_id"], last["state"], last["error"], last["attempts"]) == (request_id, "COMPLETED", None, 1)
    assert last["created"] <= last["started"] <= last["ended"] < last["expires"]
    done = json.loads(run(server, "result", request_id, "-o", tmp_path / "cup.png", "--json").stdout)
    assert (done["output"], done["labels"]) == (str(tmp_path / "cup.png"), ["cup"])
    assert done["instances"][0]["rle"]["size"] == [400, 600]


def test_several_prompts_are_numbered(server: ServerProcess, coffee_file: Path, tmp_path: Path) -> None:
    with Client(server.address) as client:
        request_id = client.submit(coffee_file, ["cup", "spoon"]).request_id
    done = run(server, "result", request_id, "--wait", "60s", "-o", tmp_path / "out.png")
    assert done.stdout.splitlines() == [str(tmp_path / "out.1.png"), str(tmp_path / "out.2.png")]
    refused = run(server, "result", request_id, "-o", "-")
    assert refused.exit_code == 2
    assert "standard output takes one picture, not 2" in refused.stderr


def test_each_prompt_has_its_file_or_its_error(server: ServerProcess, coffee_file: Path, tmp_path: Path) -> None:
    several = ("--prompt", "cup", "--prompt", "sky or logo", "--prompt", "spoon")
    request_id = submit(server, coffee_file, *several, "--return-errors")
    done = run(server, "result", request_id, "--wait", "60s", "-o", tmp_path / "out.png")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [str(tmp_path / "out.1.png"), str(tmp_path / "out.3.png")]
    assert f"automask: error: {tmp_path / 'out.2.png'}: 'sky' and 'logo' are not among" in done.stderr
    printed = run(server, "result", request_id, "-o", tmp_path / "out.png", "--json").stdout.splitlines()
    assert [json.loads(line).get("error", {}).get("type") for line in printed] == [None, "UnknownPromptError", None]
    refused = run(server, "submit", coffee_file, *several)
    assert (refused.exit_code, refused.stdout) == (2, "")
    empty = submit(server, coffee_file, *several[:2], "--prompt", "zebra", "--return-errors", "--stop-on-empty-mask")
    assert run(server, "result", empty, "--wait", "60s", "-o", tmp_path / "out.png").exit_code == 3


def test_nothing_found_is_exit_status_3(server: ServerProcess, coffee_file: Path, tmp_path: Path) -> None:
    request_id = submit(server, coffee_file, "zebra", "--stop-on-empty-mask")
    done = run(server, "result", request_id, "-o", tmp_path / "none.png", "--wait", "60s")
    assert (done.exit_code, (tmp_path / "none.png").exists()) == (3, False)
    assert "nothing in the image matches 'zebra'" in done.stderr
    watched = run(server, "watch", request_id)
    assert watched.exit_code == 3
    assert watched.stdout.startswith("FAILED: nothing in the image")
    assert json.loads(run(server, "status", request_id, "--json").stdout)["error"]["type"] == "EmptyMaskError"


def test_a_failed_request(server: ServerProcess, coffee_file: Path, tmp_path: Path) -> None:
    request_id = submit(server, "-", "cup", stdin=coffee_file.read_bytes()[:2000])
    assert run(server, "watch", request_id).exit_code == 1
    done = run(server, "result", request_id, "-o", tmp_path / "none.png")
    assert done.exit_code == 1
    assert "automask: error: truncated PNG" in done.stderr


def test_the_same_idempotency_key_gives_the_same_request(server: ServerProcess, coffee_file: Path) -> None:
    ids = {submit(server, coffee_file, "cup", "--idempotency-key", "mine") for _ in range(2)}
    assert len(ids) == 1


@pytest.mark.parametrize("command", [["status"], ["watch"], ["cancel"], ["result", "-o", "out.png"]])
def test_an_unknown_request(server: ServerProcess, command: list[str]) -> None:
    done = run(server, *command, "0" * 32)
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("automask: error: ")
    assert "0" * 32 in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["submit", "PHOTO", "cup", "--deadline", "soon"], "Invalid value for '--deadline': must be a duration"),
        (["submit", "PHOTO", "cup", "--return-alpha", "--preview"], "exclude each other"),
        (["submit", "PHOTO", "cup", "--threshold", "1.7"], "1.7 is not in the range"),
        (["submit", "PHOTO", "cup", "--prompt", "spoon"], "PROMPT and --prompt exclude each other"),
        (["submit", "PHOTO", "--prompt", "cup", "--return-errors"], "--return-errors needs several prompts"),
        (["result", "0", "-o", "out.jpg"], "must end in .png or .webp"),
        (["result", "0", "-o", "-", "--json"], "--json needs -o FILE"),
        (["result", "0", "-o", "out.png", "--wait", "-1"], "Invalid value for '--wait': must be a duration"),
        (["result", "0"], "Missing option '-o'"),
        (["status", "0", "--cert", "PHOTO"], "--cert and --key go together"),
        (["mask", "PHOTO", "cup", "--server", "box:1", "--device", "cpu"], "a server has its own"),
    ],
)
def test_wrong_usage_is_exit_status_2(
    server: ServerProcess, coffee_file: Path, arguments: list[str], message: str
) -> None:
    done = run(server, *(argument.replace("PHOTO", str(coffee_file)) for argument in arguments))
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


def test_mask_by_a_server(
    segmenter: automask.Segmenter, server: ServerProcess, coffee: NDArray[np.uint8], tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(coffee).save(photos / "a.png")
    (photos / "b.png").write_bytes((photos / "a.png").read_bytes()[:2000])
    Image.fromarray(coffee[:, ::-1]).save(photos / "c.png")
    done = run(server, "mask", photos, "cup", "--return-alpha", "--server", server.address, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.alpha.png", "c.alpha.png"]
    np.testing.assert_array_equal(
        pixels(tmp_path / "out" / "c.alpha.png"), segmenter.mask(coffee[:, ::-1], "cup").alpha
    )
    assert "2 masked, 1 failed" in done.stderr
    assert f"{photos / 'b.png'}: truncated PNG" in done.stderr


def test_mask_over_a_socket_and_by_name(server: ServerProcess, socket: Path, coffee_file: Path, tmp_path: Path) -> None:
    there = ("--server", f"unix:{socket}", "-o", tmp_path / "out.png")
    done = run(server, "mask", coffee_file, "cup", "--model", "default", "--json", *there)
    assert json.loads(done.stdout)["model"] == "default"
    unknown = run(server, "mask", coffee_file, "cup", "--model", "clipseg", *there)
    assert unknown.exit_code == 1
    assert "clipseg" in unknown.stderr


def test_an_api_key(coffee_file: Path, tmp_path: Path) -> None:
    file = SqliteKeyStore(tmp_path / "keys", create=True)
    text = file.add("camera")
    file.close()
    options = ("--port", 0, "--store", tmp_path / "requests.sqlite3", "--keys", tmp_path / "keys")
    with ServerProcess(*options) as server:
        assert run(server, "submit", coffee_file, "cup", AUTOMASK_API_KEY=text).exit_code == 0
        assert run(server, "submit", coffee_file, "cup", "--api-key", text).exit_code == 0
        refused = run(server, "submit", coffee_file, "cup", "--api-key", "wrong")
        assert refused.exit_code == 1
        assert "wrong" not in refused.stderr


def test_an_unreachable_server_is_an_error_in_one_line(coffee_file: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "automask"]
    done = subprocess.run(
        [*command, "mask", coffee_file, "cup", "--server", "127.0.0.1:1"], capture_output=True, check=False, text=True
    )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("automask: error: 127.0.0.1:1: ")


def test_missing_packages_are_named(coffee_file: Path) -> None:
    code = "import sys; sys.modules['grpc'] = None; sys.argv[0] = 'automask'; from automask.cli import main; main()"
    for arguments in (["mask", coffee_file, "cup", "--server", "box:1"], ["status", "0"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=False, text=True)
        assert done.returncode == 1
        assert "pip install 'automask[service]'" in done.stderr
    listed = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, check=True, text=True)
    for name in ("submit", "status", "watch", "result", "cancel", "serve", "keys"):
        assert f"  {name} " in listed.stdout


def test_help_has_examples_and_exit_statuses(server: ServerProcess) -> None:
    for name in ("submit", "status", "watch", "result", "cancel"):
        text = run(server, name, "--help").stdout
        assert "Exit status" in text
        assert "127.0.0.1:50051" in text


def test_submit_takes_a_selection_instead_of_a_prompt(
    segmenter: automask.Segmenter, server: ServerProcess, coffee_file: Path, tmp_path: Path
) -> None:
    request_id = submit(server, coffee_file, "--box", "448,250,530,325", "--point", "500,300")
    target = tmp_path / "spoon.png"
    assert run(server, "result", request_id, "-o", target, "--wait", "60s").exit_code == 0
    expected = segmenter.mask(coffee_file, box=(448, 250, 530, 325), points=[(500, 300, 1)]).mask
    np.testing.assert_array_equal(pixels(target), expected)
    missing = run(server, "submit", coffee_file, "--drop", "0")
    assert missing.exit_code == 2
    assert "Missing argument 'PROMPT'" in missing.stderr


@pytest.mark.parametrize("background", [None, "blur", "#20c0ff"])
def test_a_cutout_by_a_server_is_laid_on_its_background_here(
    segmenter: automask.Segmenter, server: ServerProcess, coffee_file: Path, tmp_path: Path, background: str | None
) -> None:
    options = [] if background is None else ["--background", background]
    here, there = tmp_path / "here.png", tmp_path / "there.png"
    local = CliRunner().invoke(main, ["cutout", str(coffee_file), "cup", "-o", str(here), *options])
    assert local.exit_code == 0, local.stderr
    done = run(server, "cutout", coffee_file, "cup", "--trim", "-o", there, *options)
    assert done.exit_code == 0, done.stderr
    alpha = segmenter.mask(coffee_file, "cup", grow_mask=0, alpha="soft").alpha[..., 3]
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    whole = pixels(here)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    np.testing.assert_array_equal(pixels(there), whole)


def test_a_prompt_that_the_server_does_not_know_ends_the_run(server: ServerProcess, coffee_file: Path) -> None:
    done = run(server, "mask", coffee_file, coffee_file.with_name("other.png"), "sky")
    assert done.exit_code == 2
    assert done.stderr.count("'sky' is not among the 80 kinds") == 1
