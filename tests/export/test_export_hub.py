"""Checkpoints from the Hub: the real client, and a local server with the parts of the Hub's API that it uses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from automask.bundle import open_bundle
from support.clipseg_checkpoints import checkpoint, tiny_config
from support.hub import COMMIT, repository, serve

MODEL = "someone/clipseg-tiny"


def run(endpoint: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "automask", "export", "clipseg", "--model", MODEL, "-o", str(folder / "bundle")]
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "0"}
    return subprocess.run([*command, *options], capture_output=True, text=True, env=environment, check=False)


def test_a_checkpoint_is_downloaded_and_its_commit_recorded(tmp_path: Path) -> None:
    source = tmp_path / "source"
    checkpoint(source, tiny_config(), size=64)
    (source / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n", encoding="utf-8")
    (source / "training_state.bin").write_bytes(b"large, and not needed")
    with serve(repository(source, MODEL)) as endpoint:
        ran = run(endpoint, tmp_path, "--precision", "fp32")
    assert ran.returncode == 0, ran.stderr
    bundle = open_bundle(tmp_path / "bundle")
    assert (bundle.name, bundle.licence) == ("clipseg-tiny", "cc-by-4.0")
    assert [(s["package"], s["version"], s["file"]) for s in bundle.sources] == [(MODEL, COMMIT, "model.safetensors")]
    assert not list((tmp_path / "hub").rglob("training_state.bin"))


@pytest.mark.parametrize(("named", "model"), [("clipseg", "CIDAS/clipseg-rd64-refined"), (MODEL, MODEL)])
def test_a_short_name_and_a_hub_id_are_downloaded(named: str, model: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    checkpoint(source, tiny_config(), size=64)
    environment = {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0", "XDG_DATA_HOME": str(tmp_path)}
    with serve(repository(source, model)) as endpoint:
        command = [sys.executable, "-m", "automask", "export", named, "--precision", "fp32"]
        ran = subprocess.run(command, env={**os.environ, **environment, "HF_ENDPOINT": endpoint}, check=False)
    assert ran.returncode == 0
    bundle = open_bundle(tmp_path / "automask" / "bundles" / named.rpartition("/")[2])
    assert (bundle.name, bundle.sources[0]["package"]) == (named.rpartition("/")[2], model)


def test_weights_that_do_not_fit_on_the_disk_are_not_downloaded(tmp_path: Path) -> None:
    source = tmp_path / "source"
    checkpoint(source, tiny_config(), size=64)
    with serve(repository(source, MODEL, size=10**15)) as endpoint:
        ran = run(endpoint, tmp_path)
    assert ran.returncode == 1
    assert "must have 1000000000 MB free, got " in ran.stderr
    assert not list(tmp_path.rglob("hub/**/*.safetensors"))


def test_the_error_without_a_network_has_the_command_that_brings_the_files(tmp_path: Path) -> None:
    source = tmp_path / "source"
    checkpoint(source, tiny_config(), size=64)
    with serve(lambda _: (503, {}, b"")) as nobody:
        message = run(nobody, tmp_path).stderr
    program, *arguments = message.split("`")[1].split()
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "elsewhere")}
    with serve(repository(source, MODEL)) as endpoint:
        command = [str(Path(sys.executable).with_name(program)), *arguments]
        subprocess.run(command, cwd=tmp_path, env={**environment, "HF_ENDPOINT": endpoint}, check=True)
    command = [sys.executable, "-m", "automask", "export", "clipseg-tiny", "-o", "bundle", "--precision", "fp32"]
    ran = subprocess.run(command, cwd=tmp_path, env={**environment, "HF_HUB_OFFLINE": "1"}, check=False)
    assert ran.returncode == 0
    assert open_bundle(tmp_path / "bundle").name == "clipseg-tiny"


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "GatedRepo", f"{MODEL} is gated: accept its terms"),
        (404, "RepoNotFound", f"no checkpoint '{MODEL}' on the Hub, or it is private"),
        (404, "RevisionNotFound", f"{MODEL} has no revision 'v9'"),
        (503, "Unavailable", "the Hub could not be reached"),
    ],
)
def test_errors_of_the_hub(status: int, code: str, message: str, tmp_path: Path) -> None:
    with serve(lambda _: (status, {"X-Error-Code": code, "X-Error-Message": code}, b"")) as endpoint:
        ran = run(endpoint, tmp_path, "--revision", "v9")
    assert ran.returncode == 1
    assert message in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "bundle").exists()
