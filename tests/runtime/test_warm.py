"""`automask warm`, kept engines, and what ONNX Runtime is told about GPU memory. No GPU is used.

The device is the CPU's provider under another name, which keeps a file for each graph as TensorRT keeps engines.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import automask
from automask.cli import main
from automask.devices import DEVICES, import_onnxruntime
from automask.devices.tuning import Tuning
from automask.engines import remove_unused
from automask.folders import cache_folder
from automask.lookup import find_bundle
from automask.session import Session

ROLES = ("detector", "image_encoder", "mask_decoder")


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A device `new` that builds an engine for each graph; the folders in which it looked for them."""
    folders: list[Path] = []

    def build(_tuning: Tuning, engines: Path | None) -> Mapping[str, Mapping[str, str]]:
        assert engines is not None
        folders.append(engines)
        (engines / "TRTKernel_graph_0.engine").touch()
        return {}

    row = replace(DEVICES["cpu"], name="new", options=build, builds_engines=True, precisions=("fp32",), compares=())
    monkeypatch.setitem(DEVICES, "new", row)
    return folders


def run(*arguments: str) -> str:
    done = CliRunner().invoke(main, ["warm", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_on_the_cpu_there_is_only_a_proof_to_keep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    output = run("--device", "cpu", "--precision", "fp32")
    for role in ROLES:
        assert re.search(rf"\n  {role}\.onnx: opened in [\d.]+ s\n", output)
    assert re.search(r"\n  proof: right on cpu in fp32, [\d.]+ s\n", output)
    assert re.search(r"\n  first mask \d+ ms, second \d+ ms\n", output)
    assert f"cpu builds no engines: only the proof is kept, in {tmp_path / 'automask' / 'proofs'}" in output
    assert "proof: right" not in run("--device", "cpu", "--precision", "fp32")


def test_engines_are_built_once_for_each_graph(
    built: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    command = next(option for option in main.commands["warm"].params if option.name == "device")
    monkeypatch.setattr(command.type, "choices", ("new",))
    output = run("--device", "new")
    for role in ROLES:
        assert re.search(rf"\n  {role}\.onnx: built 1 engines in [\d.]+ s\n", output)
    assert f"3 engines in {cache_folder() / 'new'}" in output
    assert len({*built}) == len(ROLES)
    again = run("--device", "new")
    assert again.count("read from the cache of engines") == len(ROLES)


def age(session: Session, days: float) -> Path:
    """Date the last use of a session's engines back; return their folder."""
    assert session.engines is not None
    opened = time.time() - days * 86_400
    os.utime(session.engines / "last_used", (opened, opened))
    return session.engines


@pytest.mark.usefixtures("built")
def test_engines_that_nobody_has_opened_for_days_are_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    graph = find_bundle("default").folder / "detector.onnx"
    old, recent, used = (Session(graph, "new", sha256=letter * 64) for letter in "abc")
    kept = {age(recent, 9), age(used, 400)}
    removed = age(old, 11)
    without_record = removed.with_name(f"{'d' * 16}-{'0' * 8}")
    without_record.mkdir()
    del old, recent
    gc.collect()  # closes them
    assert remove_unused(days=10) == (1, 0)
    assert not removed.exists()
    assert {*removed.parent.iterdir()} == {*kept, without_record}
    assert remove_unused(days=10) == (0, 0)
    assert Session(graph, "new", sha256="a" * 64).engines == removed, "built again when it is needed"
    del used
    gc.collect()
    assert "removed the engines of 1 graphs, 0.0 MB: not opened for 30 days" in run("--device", "cpu")


def test_a_model_of_the_same_architecture_has_other_engines(built: list[Path], tmp_path: Path) -> None:
    """The names and shapes of its graphs are the same, so that TensorRT gives the engines the same names."""
    source = find_bundle("default").folder / "detector.onnx"
    for name, key in (("one", "a" * 64), ("other", "b" * 64)):
        shutil.copy(source, tmp_path / f"{name}.onnx")
        Session(tmp_path / f"{name}.onnx", "new", sha256=key)
    assert len({*built}) == 2
    assert all(folder.parent == cache_folder() / "new" for folder in built)


def test_engines_of_other_versions_are_not_read(built: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    graph = find_bundle("default").folder / "detector.onnx"
    Session(graph, "new", sha256="a" * 64)
    monkeypatch.setitem(DEVICES, "new", replace(DEVICES["new"], versions=lambda: {"tensorrt": "11.0"}))
    Session(graph, "new", sha256="a" * 64)
    assert len({*built}) == 2


def test_a_cache_folder_that_cannot_be_made_keeps_no_engines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "automask").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(DEVICES, "new", replace(DEVICES["cpu"], name="new", builds_engines=True))
    assert Session(find_bundle("default").folder / "detector.onnx", "new", sha256="a" * 64).engines is None
    assert "engines are not kept: " in caplog.text


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, dict[str, str]]]:
    """The providers and options that ONNX Runtime is called with; it runs the CPU's and names the first one."""
    ort, calls = import_onnxruntime(), list[dict[str, dict[str, str]]]()
    real = ort.InferenceSession

    def open_on_cpu(path: Path, options: Any, *, providers: list[tuple[str, dict[str, str]]]) -> Any:
        calls.append(dict(providers))
        session = real(path, options, providers=["CPUExecutionProvider"])
        monkeypatch.setattr(session, "get_providers", lambda: [providers[0][0]])
        return session

    monkeypatch.setattr(ort, "InferenceSession", open_on_cpu)
    for name in ("cuda", "tensorrt"):
        monkeypatch.setitem(DEVICES, name, replace(DEVICES[name], prepare=None, probe=lambda: None))
    return calls


def open_detector(device: str) -> Callable[[Tuning], Session]:
    graph = find_bundle("default").folder / "detector.onnx"
    return lambda tuning: Session(graph, device, tuning=tuning, sha256="a" * 64)


def test_gpu_memory_is_limited_for_each_graph(asked: list[dict[str, dict[str, str]]]) -> None:
    open_detector("cuda")(Tuning(gpu_memory_bytes=4_000_000_000))
    assert asked[-1]["CUDAExecutionProvider"]["gpu_mem_limit"] == "4000000000"
    open_detector("cuda")(Tuning())
    assert "gpu_mem_limit" not in asked[-1]["CUDAExecutionProvider"]


def test_tensorrt_keeps_engines_and_timing_by_graph_and_takes_its_types_from_the_graph(
    asked: list[dict[str, dict[str, str]]],
) -> None:
    session = open_detector("tensorrt")(Tuning(gpu_memory_bytes=4_000_000_000))
    assert session.engines is not None
    options = asked[-1]["TensorrtExecutionProvider"]
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == str(session.engines)
    assert options["trt_max_workspace_size"] == "4000000000"
    assert not any("fp16" in name for name in options)
    assert [*asked[-1]] == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


def test_a_limit_must_be_positive() -> None:
    with pytest.raises(automask.ParameterError, match="gpu_memory_bytes must be at least 1, got 0"):
        automask.load(gpu_memory_bytes=0)


def test_graphs_with_the_same_file_are_opened_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Comparing two precisions opens only the graphs that differ; threads share one session of each graph."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ort, opened = import_onnxruntime(), list[str]()
    real = ort.InferenceSession

    def count(path: Path, *arguments: Any, **options: Any) -> Any:
        opened.append(path.name)
        return real(path, *arguments, **options)

    monkeypatch.setattr(ort, "InferenceSession", count)
    monkeypatch.setattr("automask.proof.speed.Timing.other_is_faster", True)
    segmenter = automask.load(device="cpu")
    assert segmenter.precision == "fp32"
    assert opened.count("detector.onnx") == 1
