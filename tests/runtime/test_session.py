"""Devices: what is named is used or refused. The real GPU wheel is tried by tests/gpu_wheel.py, in `.ci/run`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import automask
from automask.session import import_onnxruntime, pick_device


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(automask.ParameterError, match="device must be one of auto, cpu, cuda, tensorrt, got 'tpu'"):
        automask.load(device="tpu")  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_named_device_is_never_replaced(device: str) -> None:
    """Wherever this runs, with whichever wheel: either the device, or an error that names it."""
    refused, got = "", ""
    try:
        got = automask.load(device=device).device  # type: ignore[arg-type]
    except automask.DeviceError as error:
        refused = str(error)
    assert got == device or f"device '{device}' cannot be used" in refused


def test_auto_works_everywhere() -> None:
    assert automask.load().device == pick_device("auto")


def fake_distribution(folder: Path, name: str) -> None:
    """What pip leaves behind of an installed wheel, as far as `importlib.metadata` looks."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")


def test_both_wheels_side_by_side_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_distribution(tmp_path, "onnxruntime")
    fake_distribution(tmp_path, "onnxruntime-gpu")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(automask.MissingDependencyError, match="onnxruntime and onnxruntime-gpu are both installed"):
        import_onnxruntime()


def test_without_a_runtime_the_first_use_says_what_to_type() -> None:
    """In an interpreter that cannot see ONNX Runtime; `.ci/run` does it in an environment that has none."""
    hide = "import sys; sys.modules['onnxruntime'] = None; import importlib.metadata as m; real = m.distribution\n"
    hide += "def distribution(name):\n    if 'onnxruntime' in name: raise m.PackageNotFoundError(name)\n"
    hide += "    return real(name)\nm.distribution = distribution\n"
    done = subprocess.run(
        [sys.executable, "-c", hide + "import automask; automask.load()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'automask[cpu]'" in done.stderr
    assert "pip install 'automask[gpu-cu12]'" in done.stderr


def test_onnxruntime_keeps_nothing_to_tell_others(tmp_path: Path) -> None:
    """Left to itself, it makes up a device id and a database of events in the home folder."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    code = "import automask; automask.load(device='cpu').warm_up()"
    subprocess.run([sys.executable, "-c", code], check=True, env={**environment, "HOME": str(tmp_path)})
    assert [*tmp_path.rglob("*")] == []
