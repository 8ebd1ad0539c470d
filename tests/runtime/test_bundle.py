"""Bundles are found by folder, name or Hub id, and what is wrong with one is named."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from numpy.typing import NDArray

import automask
from automask.bundle import MANIFEST, TensorSpec
from automask.lookup import built_in_bundles, find_bundle
from automask.publish import SpaceError
from automask.session import Session
from support.hub import serve

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The default bundle, to be damaged."""
    return Path(shutil.copytree(find_bundle("default").folder, tmp_path / "copied"))


def edit(folder: Path, change: Edit) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_the_default_is_built_in_and_small() -> None:
    assert "default" in built_in_bundles()
    bundle = find_bundle("default")
    assert (bundle.family, bundle.licence) == ("boxes", "Apache-2.0")
    assert bundle.size <= 25_000_000
    assert (bundle.folder / "MODEL_CARD.md").is_file()


def test_a_bundle_knows_the_inputs_and_outputs_of_its_graphs() -> None:
    bundle = find_bundle("default")
    assert bundle.graphs["detector"].inputs == {"image": TensorSpec("float32", ("batch", 3, 416, 416))}
    assert bundle.graphs["mask_decoder"].outputs == {
        "logits": TensorSpec("float32", ("prompts", 128, 128)),
        "iou": TensorSpec("float32", ("prompts",)),
    }
    for graph in bundle.graphs.values():  # as ONNX Runtime finds them in the files
        session = Session(bundle.folder / graph.choose(["fp32"]), "cpu")
        assert session.outputs == list(graph.outputs)


def test_a_folder_is_a_model(copied: Path, coffee: NDArray[np.uint8]) -> None:
    assert not automask.load(copied, device="cpu").mask(coffee, "cup").is_empty


def test_an_unknown_model_names_the_built_in_ones() -> None:
    with pytest.raises(
        automask.BundleNotFoundError, match="no bundle 'clipsegg': give a folder .*'default'.* `automask pull --list`"
    ):
        automask.load("clipsegg")


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(automask.BundleNotFoundError, match=r"is no bundle: it holds no automask\.json"):
        automask.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema_version=99), "has schema version 99; this automask reads 1"),
        (lambda m: m.pop("family"), "has no 'family'"),
        (lambda m: m.update(family="cubes"), "is of family 'cubes'; this automask knows boxes"),
        (lambda m: m.update(files=None), "is malformed"),
        (lambda m: m.update(name="cup\x1b[31m"), r"'cup\\x1b\[31m' must be printable"),
        (lambda m: m.update(graphs=[]), "is malformed"),
        (lambda m: m["files"].pop("detector.onnx"), "gives no SHA-256 for 'detector.onnx'"),
        (lambda m: m["graphs"]["detector"].update(variants={}), "gives no file for the graph 'detector'"),
        (lambda m: m["graphs"]["detector"].pop("inputs"), "has no 'inputs'"),
        (lambda m: m["graphs"]["detector"]["inputs"]["image"].pop("shape"), "has no 'shape'"),
        (
            lambda m: m["graphs"]["mask_decoder"]["inputs"].pop("points"),
            "the graph 'mask_decoder' must have the input 'points', has image_embedding, labels",
        ),
        (
            lambda m: m["graphs"]["detector"]["outputs"]["scores"].update(shape=["batch", 3598, 91]),
            r"'detector' has the output 'scores' as \[batch, 3598, 91\], must be \[any, 3598, 80\]",
        ),
        (
            lambda m: m["image"]["image_encoder"].update(size=1024),
            r"'image_encoder' has the input 'image' as \[batch, 3, 512, 512\], must be \[any, 3, 1024, 1024\]",
        ),
        (lambda m: m.update(kinds={"finder": "radar"}), "the finder 'radar'; this version of automask knows .*picodet"),
        (lambda m: m.update(kinds={"drawer": "pencil"}), "the drawer 'pencil'; this version of automask knows sam"),
        (lambda m: m["files"].update({"../outside": "0" * 64}), "plain names inside its folder"),
        (
            lambda m: m["files"].update({"missing.bin": "0" * 64}),
            r"missing\.bin is listed in .* but cannot be read",
        ),
        (lambda m: m["graphs"].pop("image_encoder"), "does not describe a 'boxes' bundle: it has no 'image_encoder'"),
        (lambda m: m["graphs"].pop("mask_decoder"), "does not describe a 'boxes' bundle: it has no 'mask_decoder'"),
        (lambda m: m["image"]["detector"].pop("size"), "has no 'size'"),
        (lambda m: m.update(text={}), "does not describe a 'boxes' bundle: it has no 'file'"),
        (lambda m: m["image"].update(detector=3), "is malformed: image.detector must be object, got 3"),
        (lambda m: m.update(calibration=[[0, 0], [0.5, 0.9], [0.4, 0.95], [1, 1]]), "must rise"),
        (lambda m: m.update(calibration=[[0, 0.1], [1, 1]]), "must rise from"),
    ],
)
def test_a_bad_manifest_is_named(copied: Path, change: Edit, message: str) -> None:
    edit(copied, change)
    with pytest.raises(automask.BundleError, match=message):
        automask.load(copied)


@pytest.mark.parametrize("text", ["{", "[" * 200_000])
def test_a_manifest_that_is_no_json_is_named(copied: Path, text: str) -> None:
    (copied / MANIFEST).write_text(text)
    with pytest.raises(automask.BundleError, match=r"automask\.json is malformed"):
        automask.load(copied)


@pytest.mark.parametrize("name", [MANIFEST, "detector.onnx"])
def test_a_device_is_not_read_as_a_file(copied: Path, name: str) -> None:
    (copied / name).unlink()
    (copied / name).symlink_to("/dev/zero")  # endless
    with pytest.raises(automask.BundleError, match=f"{name} must be a file"):
        automask.load(copied)


def test_one_flipped_bit_is_refused(copied: Path) -> None:
    graph = copied / "detector.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    with pytest.raises(automask.BundleError, match=r"detector\.onnx is damaged or was replaced: its SHA-256 is"):
        automask.load(copied)


def test_only_the_files_of_the_precision_are_checked(copied: Path, coffee: NDArray[np.uint8]) -> None:
    (copied / "image_encoder.onnx").write_bytes(b"damaged")
    (copied / "mask_decoder.onnx").unlink()
    assert not automask.load(copied, device="cpu").mask(coffee, "cup").is_empty
    with pytest.raises(automask.BundleError, match=r"image_encoder\.onnx is damaged"):
        automask.load(copied, device="cpu", precision="fp32")
    with pytest.raises(automask.BundleError, match=r"image_encoder\.onnx is damaged"):
        find_bundle(copied)


def test_weights_that_graphs_share_are_checked(copied: Path) -> None:
    (copied / "image_encoder.bin").write_bytes(b"damaged")
    with pytest.raises(automask.BundleError, match=r"image_encoder\.bin is damaged"):
        automask.load(copied, device="cpu")


def test_a_file_that_is_no_graph_is_named(copied: Path) -> None:
    (copied / "detector.onnx").write_bytes(b"no graph at all")
    digest = hashlib.sha256(b"no graph at all").hexdigest()
    edit(copied, lambda manifest: manifest["files"].update({"detector.onnx": digest}))
    with pytest.raises(automask.BundleError, match=r"ONNX Runtime .* cannot open .*detector\.onnx on cpu: "):
        automask.load(copied, device="cpu")


def test_precisions_are_chosen_by_name(coffee: NDArray[np.uint8]) -> None:
    masks = [automask.load(device="cpu", precision=one).mask(coffee, "cup").mask for one in ("int8", "fp32")]
    assert (masks[0] == masks[1]).mean() > 0.99
    with pytest.raises(
        automask.ParameterError, match="precision must be one of fp32, int8 for this bundle, got 'int4'"
    ):
        automask.load(precision="int4")


@pytest.mark.parametrize("name", ["threads", "max_pixels"])
def test_bad_numbers_are_named(name: str) -> None:
    with pytest.raises(automask.ParameterError, match=f"{name} must be at least 1, got 0"):
        automask.load(**{name: 0})  # type: ignore[arg-type]


def hub_cache(bundle: Path, cache: Path) -> Path:
    """Lay a bundle out as `huggingface_hub` does after a download: blobs by hash, a snapshot of links."""
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = cache / "models--somebody--some-bundle"
    snapshot = repository / "snapshots" / revision
    for folder in (snapshot, repository / "refs", repository / "blobs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    for file in bundle.iterdir():
        blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


def run_offline(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with this Hub cache and no network."""
    environment = os.environ | {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "automask", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_hub_id_is_read_from_the_hub_cache(copied: Path, coffee_file: Path, tmp_path: Path) -> None:
    snapshot = hub_cache(copied, tmp_path / "hub")
    assert (snapshot / "image_encoder.bin").is_symlink(), "weights in a file of their own"
    target = tmp_path / "cup.png"
    done = run_offline(
        tmp_path / "hub",
        "mask",
        str(coffee_file),
        "cup",
        "--model",
        "somebody/some-bundle",
        "-o",
        str(target),
    )
    assert done.returncode == 0, done.stderr
    assert target.stat().st_size > 0


def test_a_hub_id_that_cannot_be_downloaded_is_one_line(tmp_path: Path, coffee_file: Path) -> None:
    done = run_offline(tmp_path, "mask", str(coffee_file), "cup", "--model", "somebody/nothing")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(
        "automask: error: no bundle 'somebody/nothing': there is no such folder, and the Hub could not be reached: "
    )
    assert "`hf download somebody/nothing --local-dir nothing`" in line


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "RepoNotFound", "no repository 'some/body' on the Hub, or it is private"),
        (403, "GatedRepo", "some/body is gated: accept its terms"),
        (404, "RevisionNotFound", "some/body has no revision 'v9'"),
        (503, "Unavailable", "the Hub could not be reached: "),
    ],
)
def test_the_reason_of_the_hub_is_named(
    status: int, code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(lambda _: (status, {"X-Error-Code": code, "X-Error-Message": code}, b"")) as endpoint:
        for name, value in {"ENDPOINT": endpoint, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": False}.items():
            monkeypatch.setattr(constants, name, value)
        with pytest.raises(automask.BundleNotFoundError) as raised:
            find_bundle("some/body", revision="v9")
    assert str(raised.value).startswith(f"no bundle 'some/body': there is no such folder, and {message}")


def test_a_path_that_is_no_hub_id_is_named() -> None:
    with pytest.raises(automask.BundleNotFoundError, match=r"no such folder, and '\./nothing' is no id of the Hub"):
        find_bundle("./nothing")


def test_a_disk_that_becomes_full_during_a_download_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fill)
    with pytest.raises(SpaceError, match="the disk that holds the Hub's cache is full; some/body was not downloaded"):
        find_bundle("some/body")
