"""Checkpoints from the Hub: the real client, and a local server with the parts of the Hub's API that it uses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import TypeAlias

import pytest

from automask.bundle import open_bundle
from support.clipseg_checkpoints import checkpoint, tiny_config
from support.command_line import CommandProcess, command_process
from support.hub import COMMIT, repository, serve

MODEL = "someone/clipseg-tiny"

Respond: TypeAlias = Callable[[str], tuple[int, dict[str, str], bytes]]


def unavailable(_: str) -> tuple[int, dict[str, str], bytes]:
    return 503, {}, b""


@dataclass
class Hub:
    """A local Hub, its client's folders, and a process that runs commands with them."""

    home: Path
    data: Path
    respond: Respond = unavailable
    endpoint: str = field(init=False)
    command: CommandProcess = field(init=False)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the client."""
        return {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(self.home), "HF_HUB_OFFLINE": "0"}

    def export(self, folder: Path, *options: str) -> CompletedProcess[str]:
        """Export the model into a folder."""
        return self.command("export", "clipseg", "--model", MODEL, "-o", folder / "bundle", *options)


@pytest.fixture(scope="module")
def one_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    hub = Hub(tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("data"))
    with (
        serve(lambda path: hub.respond(path)) as hub.endpoint,  # noqa: PLW0108 (each test sets another one)
        command_process(environment=hub.environment | {"XDG_DATA_HOME": str(hub.data)}) as hub.command,
    ):
        yield hub


@pytest.fixture
def hub(one_hub: Hub) -> Hub:
    """The Hub of all tests, unavailable until it has something to respond with, and nothing downloaded yet."""
    one_hub.respond = unavailable
    shutil.rmtree(one_hub.home, ignore_errors=True)  # which is there once something was downloaded
    return one_hub


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, with a card, and with a file that the export does not need."""
    folder = tmp_path_factory.mktemp("source")
    checkpoint(folder, tiny_config(), size=64)
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n", encoding="utf-8")
    (folder / "training_state.bin").write_bytes(b"large, and not needed")
    return folder


def test_a_checkpoint_is_downloaded_and_its_commit_recorded(hub: Hub, source: Path, tmp_path: Path) -> None:
    hub.respond = repository(source, MODEL)
    ran = hub.export(tmp_path, "--precision", "fp32")
    assert ran.returncode == 0, ran.stderr
    bundle = open_bundle(tmp_path / "bundle")
    assert (bundle.name, bundle.licence) == ("clipseg-tiny", "cc-by-4.0")
    assert [(s["package"], s["version"], s["file"]) for s in bundle.sources] == [(MODEL, COMMIT, "model.safetensors")]
    assert [*hub.home.rglob("model.safetensors")]
    assert not [*hub.home.rglob("training_state.bin")]


@pytest.mark.parametrize(("named", "model"), [("clipseg", "CIDAS/clipseg-rd64-refined"), (MODEL, MODEL)])
def test_a_short_name_and_a_hub_id_are_downloaded(named: str, model: str, hub: Hub, source: Path) -> None:
    hub.respond = repository(source, model)
    ran = hub.command("export", named, "--precision", "fp32")
    assert ran.returncode == 0, ran.stderr
    bundle = open_bundle(hub.data / "automask" / "bundles" / named.rpartition("/")[2])
    assert (bundle.name, bundle.sources[0]["package"]) == (named.rpartition("/")[2], model)


def test_weights_that_do_not_fit_on_the_disk_are_not_downloaded(hub: Hub, source: Path, tmp_path: Path) -> None:
    hub.respond = repository(source, MODEL, size=10**15)
    ran = hub.export(tmp_path)
    assert ran.returncode == 1
    assert "must have 1000000000 MB free, got " in ran.stderr
    assert not list(hub.home.rglob("*.safetensors"))


def test_the_error_without_a_network_has_the_command_that_brings_the_files(
    hub: Hub, source: Path, tmp_path: Path
) -> None:
    program, *arguments = hub.export(tmp_path).stderr.split("`")[1].split()
    hub.respond = repository(source, MODEL)
    environment = {**os.environ, **hub.environment, "HF_HOME": str(tmp_path / "elsewhere")}
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    hub.respond = unavailable
    ran = hub.command("export", "clipseg-tiny", "-o", "bundle", "--precision", "fp32", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
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
def test_errors_of_the_hub(status: int, code: str, message: str, hub: Hub, tmp_path: Path) -> None:
    hub.respond = lambda _: (status, {"X-Error-Code": code, "X-Error-Message": code}, b"")
    ran = hub.export(tmp_path, "--revision", "v9")
    assert ran.returncode == 1
    assert message in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "bundle").exists()
