"""`automask pull`: bundles of a local Hub, and of folders."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

import automask
from automask.bundle import open_bundle, sha256
from automask.lookup import locate_bundle
from support.hub import COMMIT, repository, serve
from support.pulling import names, pull, run

MODEL = "someone/boxes"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in bundle as a repository of the Hub."""
    folder = tmp_path_factory.mktemp("published") / "boxes"
    shutil.copytree(locate_bundle("default"), folder, ignore=shutil.ignore_patterns("__*"))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    (folder / "training_state.bin").write_bytes(b"not needed")
    return folder


@pytest.fixture
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's bundle folder, which does not exist yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "automask" / "bundles"


def copied(published: Path, folder: Path, **changes: object) -> Path:
    """A copy of the bundle with changes of its manifest."""
    shutil.copytree(published, folder)
    manifest = json.loads((folder / "automask.json").read_text(encoding="utf-8"))
    (folder / "automask.json").write_text(json.dumps(manifest | changes), encoding="utf-8")
    return folder


def test_a_bundle_is_pulled_after_its_download_was_cut_off_and_again_without_a_network(
    published: Path, bundles: Path, tmp_path: Path
) -> None:
    source = copied(published, tmp_path / "source")
    (source / "large.bin").write_bytes(bytes(22 << 20))  # the client writes 10 MB at a time
    files = {**open_bundle(published).files, "large.bin": sha256(source / "large.bin")}
    whole = repository(copied(source, tmp_path / "longer", files=files), MODEL)

    def cut(path: str) -> tuple[int, dict[str, str], bytes]:
        status, headers, content = whole(path)
        if path.endswith("large.bin"):
            return status, {**headers, "Content-Length": str(len(content))}, content[:-1000]
        return status, headers, content

    with serve(cut) as endpoint:
        status, output = run(tmp_path, endpoint, MODEL)
    assert (status, names(bundles)) == (1, []), output
    assert "A call that was cut off continues where it stopped" in output

    resumed: list[str] = []
    with serve(whole, resumed) as endpoint:
        status, output = run(tmp_path, endpoint, MODEL)
    assert status == 0, output
    assert [path.rpartition("/")[2] for path in resumed] == ["large.bin"]
    assert "makes sense: asked for a person in a photo, its mask has an IoU of 1.00" in output
    bundle = open_bundle(bundles / "boxes")
    assert (bundle.name, bundle.licence, bundle.files) == ("boxes", open_bundle(published).licence, files)
    assert (bundle.sources[-1]["package"], bundle.sources[-1]["version"]) == (MODEL, COMMIT)
    assert (bundle.folder / "README.md").is_file()
    assert not list(tmp_path.rglob("hub/**/training_state.bin"))

    status, output = run(tmp_path, "http://127.0.0.1:9", MODEL, "--name", "again", offline="1")
    assert (status, names(bundles)) == (0, ["again", "boxes"]), output


def test_a_folder_needs_no_network_and_replaces_a_bundle_by_force_only(published: Path, bundles: Path) -> None:
    arguments = [MODEL, "--from", published, "--name", "usb"]
    status, output = pull(*arguments)
    assert (status, names(bundles)) == (0, ["usb"]), output
    bundle = open_bundle(bundles / "usb")
    assert bundle.sources[-1]["version"] == "local folder"
    assert (bundle.folder / "proof.json").read_bytes() == (published / "proof.json").read_bytes()
    status, output = pull(*arguments)
    assert status == 1
    assert "holds a bundle already" in output
    status, output = pull(*arguments, "--force")
    assert (status, names(bundles)) == (0, ["usb"]), output


def test_a_model_that_makes_no_sense_is_warned_of(published: Path, bundles: Path, tmp_path: Path) -> None:
    source = copied(published, tmp_path / "source")
    words = json.loads((source / "vocabulary.json").read_text(encoding="utf-8"))
    words["aliases"] |= {"person": words["aliases"]["giraffe"]}
    (source / "vocabulary.json").write_text(json.dumps(words), encoding="utf-8")
    files = {**open_bundle(published).files, "vocabulary.json": sha256(source / "vocabulary.json")}
    status, output = pull(MODEL, "--from", copied(source, tmp_path / "changed", files=files))
    assert (status, names(bundles)) == (0, ["boxes"]), output
    assert "WARNING: makes no sense" in output
    assert json.loads((bundles / "boxes/automask.json").read_text(encoding="utf-8"))["sense"]["holds"] is False


def test_a_bundle_without_a_proof_gets_one(published: Path, bundles: Path, tmp_path: Path) -> None:
    files = {name: digest for name, digest in open_bundle(published).files.items() if name != "proof.json"}
    source = copied(published, tmp_path / "source", files=files, proof=None)
    status, output = pull(MODEL, "--from", source)
    assert status == 0, output
    assert "proof: what the graphs make of a photo" in output
    assert automask.load(bundles / "boxes", device="cpu").standing == "proven"


TERMS = {"name": "Some Licence of 2025", "url": "https://example.org/licence", "conditions": ["not for war"]}


@pytest.fixture
def conditional(published: Path, tmp_path: Path) -> Path:
    """A bundle whose licence has conditions."""
    return copied(published, tmp_path / "source", terms=[TERMS])


def test_a_terminal_asks_once_for_a_licence_with_conditions(conditional: Path, bundles: Path, tmp_path: Path) -> None:
    for reply, expected in ((b"n\n", 1), (b"y\n", 0)):
        ours, theirs = os.openpty()
        os.write(ours, reply)
        status, output = run(tmp_path, "http://127.0.0.1:9", MODEL, "--from", conditional, stdin=theirs)
        os.close(ours)
        os.close(theirs)
        assert status == expected, output
        assert "  - not for war\nDo you accept this licence? [y/N]:" in output
        assert (tmp_path / "data").exists() == (expected == 0)
    kept = json.loads((tmp_path / "data/automask/accepted_licences.json").read_text(encoding="utf-8"))
    assert list(kept) == [TERMS["name"]]
    assert json.loads((bundles / "boxes/automask.json").read_text(encoding="utf-8"))["terms"] == [TERMS]
    status, output = pull(MODEL, "--from", conditional, "--force")  # without a terminal, and without the flag
    assert status == 0, output


def test_without_a_terminal_the_flag_accepts_a_licence(conditional: Path, bundles: Path, tmp_path: Path) -> None:
    with serve(repository(conditional, MODEL)) as endpoint:
        status, output = run(tmp_path, endpoint, MODEL)
    assert (status, (tmp_path / "data").exists()) == (1, False), output
    message = (
        "the licence of the weights is not accepted (Some Licence of 2025: not for war; https://example.org/licence)"
    )
    assert f"automask: error: {message}; to accept it: --accept-licence" == output.splitlines()[-1]
    assert not list(tmp_path.rglob("hub/**/*.onnx"))
    status, output = pull(MODEL, "--from", conditional, "--accept-licence")
    assert (status, names(bundles)) == (0, ["boxes"]), output


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("break_it", "options", "message"),
    [
        (lambda f: shorten(f / "detector.onnx"), [], "detector.onnx is damaged or was replaced"),
        (lambda f: (f / "detector.onnx").unlink(), [], "must have detector.onnx, it has "),
        (lambda f: shorten(f / "automask.json"), [], "automask.json is malformed"),
        (lambda f: (f / "automask.json").unlink(), [], "is no model that can be pulled: it holds neither"),
        (lambda _: None, ["--precision", "int8"], "--precision must be left out"),
        (lambda _: None, ["--name", "default"], "must be another one than the built-in model's"),
        (shutil.rmtree, [], "--from must be a folder with the files of a repository"),
    ],
)
def test_bad_folders_leave_nothing(
    break_it: Callable[[Path], object],
    options: list[str],
    message: str,
    published: Path,
    bundles: Path,
    tmp_path: Path,
) -> None:
    break_it(copied(published, tmp_path / "source"))
    status, output = pull(MODEL, "--from", tmp_path / "source", *options)
    assert (status, names(bundles)) == (1, [])
    assert message in output.splitlines()[-1]


def test_graphs_with_other_names_are_named(published: Path, bundles: Path, tmp_path: Path) -> None:
    graphs = json.loads((published / "automask.json").read_text(encoding="utf-8"))["graphs"]
    graphs["detector"]["outputs"] = {"logits": graphs["detector"]["outputs"].popitem()[1]}
    status, output = pull(MODEL, "--from", copied(published, tmp_path / "source", graphs=graphs))
    assert (status, names(bundles)) == (1, [])
    assert f"{tmp_path / 'source'}/automask.json: the graph 'detector' must have the output " in output


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "RepoNotFound", f"no repository '{MODEL}' on the Hub, or it is private"),
        (403, "GatedRepo", f"{MODEL} is gated: accept its terms"),
        (404, "RevisionNotFound", f"{MODEL} has no revision 'v9'"),
        (503, "Unavailable", f"{MODEL} could not be downloaded, and is not in the cache"),
    ],
)
def test_errors_of_the_hub(
    status: int, code: str, message: str, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(lambda _: (status, {"X-Error-Code": code, "X-Error-Message": code}, b"")) as endpoint:
        for name, value in {"ENDPOINT": endpoint, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": False}.items():
            monkeypatch.setattr(constants, name, value)
        exit_status, output = pull(MODEL, "--revision", "v9")
    assert (exit_status, names(bundles)) == (1, [])
    assert message in output.splitlines()[-1]


def test_a_download_that_does_not_fit_on_the_disk_does_not_begin(
    published: Path, bundles: Path, tmp_path: Path
) -> None:
    with serve(repository(published, MODEL, size=10**15)) as endpoint:
        status, output = run(tmp_path, endpoint, MODEL)
    assert (status, names(bundles)) == (1, [])
    assert " MB free, got " in output
    assert not list(tmp_path.rglob("hub/**/*.onnx"))
