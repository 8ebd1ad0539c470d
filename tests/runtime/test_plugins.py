"""Plugins: a provider that comes as a package is registered and used, or refused with what to type.

The provider of the CPU stands in: ONNX Runtime offers it through the same calls as a plugin's. The real package of
OpenVINO is in `tests/deploy/plugin_wheel.py`, run by `.ci/run`.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state

import automask
from automask import opening
from automask.cli import main
from automask.devices import import_onnxruntime, library_versions, pick_device, plugins
from automask.devices.plugins import Plugin
from automask.devices.table import DEVICES
from automask.devices.tuning import Tuning
from automask.loading import outline
from automask.lookup import find_bundle
from automask.proof import Timing, Verdicts
from automask.session import Session

PHOTO = Path(automask.__file__).parent / "data" / "person.jpg"
PLUGINS = ("tensorrt-rtx", "openvino", "openvino-gpu", "qnn")
_STUB = Plugin(
    distribution="onnxruntime-ep-stub", module="onnxruntime_ep_stub", provider="CPUExecutionProvider", hardware="CPU"
)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder without verdicts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "automask" / "proofs"


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install a package with a plugin, and add its device: `stub(library path, **fields of the plugin)`."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "_registered", set())
    info = tmp_path / "onnxruntime_ep_stub-1.2.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-ep-stub\nVersion: 1.2.3\n")

    def install(path: Path | str, *, options: Any = DEVICES["cpu"].options, **fields: Any) -> Plugin:
        code = f"def get_library_path():\n    return {str(path)!r}\n" if path else "raise OSError('no libstub.so')\n"
        (tmp_path / "onnxruntime_ep_stub.py").write_text(code)
        importlib.invalidate_caches()
        plugin = replace(_STUB, **fields)
        row = replace(
            DEVICES["openvino"],
            plugin=plugin,
            systems=(),
            providers=lambda: [(plugin.provider, {})],
            options=options,
            precisions=("fp32",),
        )
        monkeypatch.setitem(DEVICES, "openvino", row)
        return plugin

    yield install
    sys.modules.pop("onnxruntime_ep_stub", None)


def mask(tmp_path: Path, device: str) -> tuple[int, str]:
    """Run `automask mask` on a device; return its exit status and its messages."""
    options = ["mask", str(PHOTO), "person", "-o", str(tmp_path / "mask.png"), "--device", device]
    done = CliRunner().invoke(main, options)
    return done.exit_code, done.stderr


@pytest.mark.parametrize("device", PLUGINS)
def test_without_its_package_the_error_names_the_extra(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = DEVICES[device].plugin
    assert plugin
    missing = replace(plugin, module="no_such_module", distribution="no-such-package")
    monkeypatch.setitem(DEVICES, device, replace(DEVICES[device], plugin=missing, systems=()))
    code, message = mask(tmp_path, device)
    assert code == 1
    assert f"device '{device}' cannot be used: no-such-package is not installed. It needs " in message
    assert f"pip install 'automask[{device.removesuffix('-gpu')}]'" in message
    assert not (tmp_path / "mask.png").exists()


def test_a_device_of_another_system_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for device, system, expected in (
        ("coreml", "Linux", "macOS"),
        ("directml", "Linux", "Windows AMD64"),
        ("qnn", "Darwin", "Windows ARM64 and Linux aarch64"),
    ):
        monkeypatch.setattr(platform, "system", lambda system=system: system)
        code, message = mask(tmp_path, device)
        assert code == 1
        assert f"device '{device}' cannot be used: it exists on {expected} only. Use device='cpu'" in message


def test_a_library_that_does_not_exist(stub: Any, tmp_path: Path) -> None:
    stub(tmp_path / "libstub.so", provider="StubExecutionProvider")
    code, message = mask(tmp_path, "openvino")
    assert code == 1
    assert f"cannot register {tmp_path / 'libstub.so'}: " in message
    assert "pip install" not in message  # the package is installed


def test_a_library_that_is_no_plugin(stub: Any, tmp_path: Path) -> None:
    library = onnxruntime_pybind11_state.__file__
    stub(library, provider="StubExecutionProvider")
    code, message = mask(tmp_path, "openvino")
    assert code == 1
    assert f"cannot register {library}: " in message
    assert "CreateEpFactories" in message


def test_a_library_that_offers_no_device(stub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registered = []
    monkeypatch.setattr(
        import_onnxruntime(), "register_execution_provider_library", lambda *call: registered.append(call)
    )
    stub("libstub.so", provider="StubExecutionProvider")
    for _ in range(2):
        code, message = mask(tmp_path, "openvino")
        assert code == 1
        assert "onnxruntime-ep-stub 1.2.3 is registered, but offers no CPU device on this machine. It needs" in message
    assert registered == [("StubExecutionProvider", "libstub.so")]
    stub("libstub.so", hardware="NPU")
    assert "offers no NPU device on this machine, only CPU" in mask(tmp_path, "openvino")[1]


def test_a_damaged_package(stub: Any, tmp_path: Path) -> None:
    stub("", provider="StubExecutionProvider")
    code, message = mask(tmp_path, "openvino")
    assert code == 1
    assert "onnxruntime-ep-stub 1.2.3 is damaged: no libstub.so" in message


def test_an_onnxruntime_that_is_older_than_plugins(stub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub("libstub.so")
    monkeypatch.delattr(import_onnxruntime(), "register_execution_provider_library")
    assert "cannot load plugins; install a newer one" in mask(tmp_path, "openvino")[1]


def test_a_plugin_that_works_is_used_and_proven(stub: Any, coffee: NDArray[np.uint8], own_cache: Path) -> None:
    calls: list[int | None] = []

    def options(tuning: Tuning, _engines: Path | None) -> dict[str, dict[str, str]]:
        calls.append(tuning.threads)
        return {}

    stub("", options=options)
    assert pick_device("openvino") == "openvino"
    segmenter = automask.load(device="openvino", threads=1)
    assert (segmenter.device, segmenter.precision, segmenter.standing) == ("openvino", "fp32", "proven")
    assert 1 in calls
    expected = automask.load(device="cpu", precision="fp32").mask(coffee, "cup")
    assert (segmenter.mask(coffee, "cup").mask == expected.mask).mean() > 0.999
    versions = library_versions("openvino")
    assert versions["onnxruntime-ep-stub"] == "1.2.3"
    assert "version" in versions["CPUExecutionProvider 0"]
    done = CliRunner().invoke(main, ["doctor", "--json"])
    report = json.loads(done.stdout)
    row = next(row for row in report["devices"] if row["device"] == "openvino")
    assert row["works"]
    assert row["finds_person"]
    assert (row["proof"], row["versions"]["onnxruntime-ep-stub"]) == ("proven", "1.2.3")
    assert len([*own_cache.glob("*.json")]) == 2  # of the plugin, of the CPU
    race = Verdicts(find_bundle("default"), "openvino").race(Verdicts(find_bundle("default"), "cpu"), None)
    assert race is not None
    assert race.milliseconds > 0
    assert report["auto"] == ("openvino" if race.is_faster else "cpu")  # the CPU raced itself


def test_another_version_of_a_plugin_is_proven_again(
    stub: Any, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub("")
    key = Verdicts(find_bundle("default"), "openvino").path
    info = tmp_path / "onnxruntime_ep_stub-1.2.3.dist-info" / "METADATA"
    info.write_text(info.read_text().replace("1.2.3", "1.2.4"))
    assert Verdicts(find_bundle("default"), "openvino").path != key
    monkeypatch.setitem(DEVICES, "tensorrt", replace(DEVICES["tensorrt"], versions=lambda: {"TensorRT 10": "10.13.2"}))
    key = Verdicts(find_bundle("default"), "tensorrt").path
    monkeypatch.setitem(DEVICES, "tensorrt", replace(DEVICES["tensorrt"], versions=lambda: {"TensorRT 10": "10.13.3"}))
    assert Verdicts(find_bundle("default"), "tensorrt").path != key
    del own_cache


@pytest.mark.parametrize(("taken", "is_used"), [(0, False), (4, False), (5, True)])
def test_a_plugin_that_leaves_most_of_the_model_to_the_cpu_is_refused(
    stub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int, is_used: bool
) -> None:
    """ONNX Runtime names a provider first even if every node runs on the CPU."""
    stub("")
    ort = import_onnxruntime()

    class Part(NamedTuple):
        ep_name: str
        nodes: int

        def get_nodes(self) -> range:
            return range(self.nodes)

    parts = [Part("CPUExecutionProvider", taken), Part("OtherExecutionProvider", 10 - taken)]
    monkeypatch.setattr(ort.InferenceSession, "get_provider_graph_assignment_info", lambda _: parts)
    code, message = mask(tmp_path, "openvino")
    if is_used:
        assert code == 0, message
    else:
        assert code == 1
        assert f"device 'openvino' cannot be used for 'default' in fp32: it takes {3 * taken} of 30 nodes" in message


# --- auto: only where it is faster, and proven


@pytest.fixture
def races(monkeypatch: pytest.MonkeyPatch) -> list[Timing]:
    """Times of the races to come: the CPU's and the plugin's. A race without one fails."""
    times: list[Timing] = []
    monkeypatch.setattr(opening, "compare", lambda *_: times.pop() if times else pytest.fail("compared again"))
    for device in ("cuda", "tensorrt"):
        monkeypatch.setitem(DEVICES, device, replace(DEVICES[device], probe=lambda: "it is not here"))
    monkeypatch.setitem(DEVICES, "cpu", replace(DEVICES["cpu"], compares=()))  # precisions are not raced here
    return times


def test_auto_takes_a_plugin_that_is_faster(
    stub: Any, own_cache: Path, races: list[Timing], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    del own_cache
    caplog.set_level("INFO", logger="automask.opening")
    stub("")
    assert outline().device == "cpu"
    races.append(Timing(100, 50))
    segmenter = automask.load()
    assert (segmenter.device, segmenter.standing, segmenter.warnings) == ("openvino", "proven", ())
    assert "default is faster here on openvino in fp32 than cpu in int8: 50 ms for 100 ms" in caplog.messages
    assert automask.load().device == outline().device == "openvino"
    assert automask.load(device="cpu").device == "cpu"
    assert automask.load(prove=False).device == "cpu"
    races.append(Timing(100, 50))
    assert automask.load(precision="fp32").device == "openvino"  # another pair, another race
    info = tmp_path / "onnxruntime_ep_stub-1.2.3.dist-info" / "METADATA"
    info.write_text(info.read_text().replace("1.2.3", "1.2.4"))
    races.append(Timing(100, 120))
    assert automask.load().device == "cpu"


def test_auto_does_not_take_a_plugin_that_is_not_faster(stub: Any, own_cache: Path, races: list[Timing]) -> None:
    del own_cache
    stub("")
    races.append(Timing(100, 96))
    for _ in range(2):
        segmenter = automask.load()
        assert (segmenter.device, segmenter.precision, segmenter.warnings) == ("cpu", "int8", ())
    assert automask.load(device="openvino").device == "openvino"


def test_auto_does_not_take_a_plugin_that_is_wrong_and_says_so(
    stub: Any, own_cache: Path, races: list[Timing], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    del own_cache, races  # none: what is wrong is not timed
    stub("")
    original, runs = Session.run, Counter[str]()

    def faulty(self: Session, **inputs: Any) -> Any:
        runs[self.device] += 1
        outputs = original(self, **inputs)
        return tuple(output * 0 for output in outputs) if self.device == "openvino" else outputs

    monkeypatch.setattr(Session, "run", faulty)
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match=r"does not compute on openvino in fp32 .*; running on cpu in int8"):
            segmenter = automask.load()
        assert segmenter.device == "cpu"
        assert "does not compute on openvino" in segmenter.mask(np.zeros((48, 64, 3), np.uint8), "dog").warnings[0]
    once = runs["openvino"]
    with pytest.warns(RuntimeWarning, match="does not compute on openvino"):
        automask.load()
    assert runs["openvino"] == once  # the fault is kept, too
    code, message = mask(tmp_path, "openvino")
    assert code == 1
    assert "does not compute on openvino in fp32" in message
