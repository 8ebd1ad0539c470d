"""Devices: one that is named is used or refused; a new one is a row of the table.

`tests/deploy/gpu_wheel.py` does the same with the real GPU wheel, in `.ci/run`.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import automask
from automask import devices
from automask.cli.doctor import doctor
from automask.devices import DEVICES, Device, device_names, import_onnxruntime, pick_device
from automask.service.config.ray import RaySettings
from automask.service.config.settings import Settings


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(automask.ParameterError, match=r"device must be one of auto, cpu, cuda, .*, qnn, got 'tpu'"):
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


def test_types_and_settings_know_the_names_of_the_table() -> None:
    assert get_args(Device) == get_args(Settings.model_fields["device"].annotation) == device_names()
    literal = re.search(r"Device = Literal\[\s+(\".*\")\s+\]", Path(devices.__file__).read_text(encoding="utf-8"))
    assert literal
    assert literal[1] == ", ".join(f'"{name}"' for name in device_names())


# The real provider of the CPU under another name: rows differ in data alone.
_NEW = replace(
    DEVICES["cpu"],
    name="new",
    wheel="onnxruntime-new",
    extras={"new": "new hardware"},
    requirements="a new chip and its driver",
    precisions=("fp32",),
    is_gpu=True,
    batches_boxes=True,
)


def test_a_row_is_all_that_a_new_device_takes(
    monkeypatch: pytest.MonkeyPatch, coffee: NDArray[np.uint8], runs: Counter[str]
) -> None:
    monkeypatch.setitem(DEVICES, "new", _NEW)
    monkeypatch.setitem(DEVICES, "cuda", replace(DEVICES["cuda"], probe=lambda: "it is not here"))
    assert pick_device("new") == pick_device("auto") == "new"
    segmenter = automask.load(device="new")  # type: ignore[arg-type]
    runs.clear()  # of its proof
    result = segmenter.mask(coffee, "cup and spoon", threshold=0.05)
    assert result.device == "new"
    assert len(result.instances) > 1
    assert runs["logits"] == 1  # all boxes in one call of the decoder
    expected = automask.load(device="cpu", precision="fp32").mask(coffee, "cup and spoon", threshold=0.05)
    assert (result.mask == expected.mask).mean() > 0.999
    done = CliRunner().invoke(doctor)
    assert done.exit_code == 0, done.output
    assert re.search(r"\nnew +yes +fp32 +proven +\d+ +\d+ +CPUExecutionProvider \(onnxruntime [\d.]+\)", done.output)
    assert "did not find the person" not in done.output
    assert re.search(r"\nonnxruntime-new +not installed", done.output)
    assert "--device auto takes new" in done.output
    with pytest.raises(automask.ParameterError, match="num_gpus must be greater than 0 for device = new"):
        RaySettings().check(device="new")


def test_auto_is_the_first_row_that_works_and_the_cpu_where_none_does(
    monkeypatch: pytest.MonkeyPatch, coffee: NDArray[np.uint8]
) -> None:
    for name in ("cuda", "tensorrt"):
        monkeypatch.setitem(DEVICES, name, replace(DEVICES[name], probe=lambda: "it is not here"))
    for row, expected in (
        (replace(_NEW, probe=lambda: "it is not here either"), "cpu"),
        (replace(_NEW, automatic="never"), "cpu"),
        (_NEW, "new"),
    ):
        monkeypatch.setitem(DEVICES, "new", row)
        assert automask.load().device == expected
    assert automask.load(device="auto").mask(coffee, "cup").device == "new"


def test_a_device_whose_probe_fails_is_refused_with_its_install_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEVICES, "new", replace(_NEW, probe=lambda: "the driver reports no chip"))
    with pytest.raises(automask.DeviceError) as caught:
        automask.load(device="new")  # type: ignore[arg-type]
    assert "device 'new' cannot be used: the driver reports no chip. It needs a new chip and its driver" in str(
        caught.value
    )
    assert "To install onnxruntime-new: pip uninstall -y onnxruntime" in str(caught.value)
    assert " && pip install 'automask[new]'" in str(caught.value)
    assert pick_device("auto") != "new"


def test_the_command_line_offers_the_rows_of_the_table() -> None:
    """A row that is there when the modules are imported, in a process of its own."""
    code = (
        "import dataclasses, sys; from automask import devices as d\n"
        "d.DEVICES['new'] = dataclasses.replace(d.DEVICES['cpu'], name='new')\n"
        "from automask.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "mask", "--help"], capture_output=True, text=True, check=True)
    assert "[auto|cpu|cuda|" in done.stdout
    assert "|new]" in done.stdout


def test_a_missing_provider_is_refused_with_the_install_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    row = replace(DEVICES["cuda"], providers=lambda: [("NewExecutionProvider", {})])
    monkeypatch.setitem(DEVICES, "cuda", row)
    with pytest.raises(automask.DeviceError) as caught:
        pick_device("cuda")
    assert "'cuda' cannot be used: this onnxruntime has no NewExecutionProvider" in str(caught.value)
    assert "pip uninstall -y onnxruntime && pip install 'automask[gpu]' (or 'automask[gpu-cu12]')" in str(caught.value)


def fake_distribution(folder: Path, name: str) -> None:
    """What pip leaves behind of an installed wheel, as far as `importlib.metadata` looks."""
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")


def test_two_installed_wheels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_distribution(tmp_path, "onnxruntime")
    fake_distribution(tmp_path, "onnxruntime-gpu")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(automask.MissingDependencyError, match="onnxruntime and onnxruntime-gpu are both installed"):
        import_onnxruntime()


def test_without_onnxruntime_the_error_has_the_install_commands() -> None:
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


def test_onnxruntime_stores_no_telemetry(tmp_path: Path) -> None:
    """By default, it writes a device id and a database of events to the home folder."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    code = "import automask; automask.load(device='cpu').warm_up()"
    subprocess.run([sys.executable, "-c", code], check=True, env={**environment, "HOME": str(tmp_path)})
    assert [*tmp_path.rglob("*")] == []
