"""The table of devices: execution providers, probes, precisions, what to install. A new device is one row.

The rows stand at the end of this file. Everything else asks the table: `load`, the command line, the settings of the
service, `automask doctor`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module, metadata
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from .errors import DeviceError, MissingDependencyError, ParameterError
from .folders import cache_folder
from .hardware import identify_nvidia, identify_processor, nvidia_driver

__all__ = [
    "AUTO",
    "CPU",
    "DEVICES",
    "Device",
    "DeviceInfo",
    "device_names",
    "import_onnxruntime",
    "pick_device",
    "wheels",
]

AUTO: Final = "auto"
CPU: Final = "cpu"

Providers: TypeAlias = Sequence[tuple[str, Mapping[str, str]]]


def _no_problem() -> None:
    """Probe of a device that works wherever ONNX Runtime has its provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """One row of the table.

    Attributes
    ----------
    name
        What a user calls it.
    wheel
        The distribution of ONNX Runtime that has its execution provider.
    extras
        What each extra of automask that installs this wheel is for, by extra.
    requirements
        What the machine must have besides the wheel.
    providers
        Returns ONNX Runtime's execution providers, in order of preference, and the options of each. The CPU's is added
        at the end, for operators that the others lack.
    precisions
        Precisions of a graph, in order of preference.
    probe
        Returns why the hardware or its driver cannot be used, None if it can. ONNX Runtime lists providers that its
        wheel has, not those that work.
    prepare
        Called with the module `onnxruntime` before the first session.
    identify
        Returns what results may depend on: instructions of the processor; GPU and driver. A model that was proven on
        other hardware is proven again.
    float32_error
        Largest relative error that an output of a float32 graph has where nothing is wrong: on a GPU, products are in
        TF32 by default, with 10 bits.
    compares
        Precisions of which the faster one depends on the hardware, so that they are measured against each other.
    is_automatic
        Whether the device ``auto`` may become this one.
    is_gpu
        Whether tasks wait for one processor beside the CPU: a server then runs two tasks at once by default, and Ray
        must reserve a GPU.
    batches_boxes
        Whether the mask decoder gets all boxes of an image in one call. False gives masks that do not depend on the
        other boxes: an int8 graph scales its activations over all that it gets at once.
    """

    name: str
    wheel: str
    extras: Mapping[str, str]
    requirements: str = ""
    providers: Callable[[], Providers]
    precisions: tuple[str, ...]
    probe: Callable[[], str | None] = _no_problem
    prepare: Callable[[ModuleType], object] | None = None
    identify: Callable[[], str] = identify_processor
    float32_error: float = 0.01
    compares: tuple[str, ...] = ()
    is_automatic: bool = True
    is_gpu: bool = False
    batches_boxes: bool = False

    @property
    def provider(self) -> str:
        """The execution provider that must run the graphs."""
        return self.providers()[0][0]

    @property
    def install(self) -> str:
        """What to type to install the wheel, instead of another one."""
        others = " ".join(wheel for wheel in wheels() if wheel != self.wheel)
        first, *alternatives = (f"'automask[{extra}]'" for extra in self.extras)
        hint = f"pip uninstall -y {others} && pip install {first}"
        return f"{hint} (or {' or '.join(alternatives)})" if alternatives else hint


def device_names() -> tuple[str, ...]:
    """Return what may be given as a device: ``auto`` and the names of the table."""
    return (AUTO, *DEVICES)


def wheels() -> tuple[str, ...]:
    """Return the distributions of ONNX Runtime, of which one may be installed."""
    return tuple(dict.fromkeys(device.wheel for device in DEVICES.values()))


def pick_device(device: str) -> str:
    """Return the device to run on, and refuse at once one that cannot work.

    ``auto`` becomes the first automatic device of the table that works, the CPU only if no other one does. TensorRT is
    not automatic, because its engines take minutes to build.

    Parameters
    ----------
    device
        One of `device_names`.

    Returns
    -------
    A name of the table.

    Raises
    ------
    ParameterError
        `device` is not one of `device_names`.
    DeviceError
        The device was named, and its provider, driver or hardware is missing.
    """
    if device not in device_names():
        raise ParameterError("device", f"be one of {', '.join(device_names())}", device)
    if device == AUTO:
        working = (info for info in DEVICES.values() if info.is_automatic and _why_not(info) is None)
        return next((info.name for info in working if info.name != CPU), CPU)
    info = DEVICES[device]
    if (reason := _why_not(info)) is None:
        return device
    raise DeviceError(
        f"device {device!r} cannot be used: {reason}. It needs {info.requirements}, and {info.wheel}: {info.install}. "
        f"Use device={CPU!r}, or {AUTO!r} to take what works"
    )


def _why_not(info: DeviceInfo) -> str | None:
    if info.name == CPU:
        return None  # without importing ONNX Runtime, which takes long
    if info.provider not in import_onnxruntime().get_available_providers():
        return f"this onnxruntime has no {info.provider}"
    return info.probe()


def import_onnxruntime() -> ModuleType:
    """Import `onnxruntime` from whichever wheel is installed; its telemetry is off unless the environment sets it.

    Raises
    ------
    MissingDependencyError
        No wheel is installed, or several are, which breaks GPUs without a message.
    """
    installed = [name for name in wheels() if _is_installed(name)]
    if len(installed) > 1:
        raise MissingDependencyError(
            f"{' and '.join(installed)} are both installed and overwrite each other's files; keep one: "
            f"pip uninstall -y {' '.join(installed)} && {_choices()}"
        )
    # The wheels send usage data to Microsoft unless this is set before they are imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        if installed:
            raise MissingDependencyError(f"{installed[0]} is installed but cannot be imported: {error}") from error
        raise MissingDependencyError(f"ONNX Runtime is not installed; choose one: {_choices()}") from error


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _choices() -> str:
    extras = {extra: purpose for info in DEVICES.values() for extra, purpose in info.extras.items()}
    *first, last = (f"pip install 'automask[{extra}]' ({purpose})" for extra, purpose in extras.items())
    return f"{', '.join(first)} or {last}" if first else last


# --- Probes, options and rows


def _probe_nvidia() -> str | None:
    """Ask the driver itself: onnxruntime-gpu lists CUDA and TensorRT on machines that have neither."""
    driver = nvidia_driver()
    if driver is None:
        return "no NVIDIA driver was found (libcuda cannot be loaded)"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the NVIDIA driver reports no usable GPU"
    return None


def _preload_nvidia(ort: ModuleType) -> None:
    """Load CUDA and cuDNN from their own wheels, where pip has installed them."""
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()


def _cuda() -> Providers:
    # By default, CUDA times every algorithm of each convolution at the first call with a new shape, and its arena
    # grows by powers of two: good for a process that has the card for itself and hours to run.
    options = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
    return [("CUDAExecutionProvider", options)]


def _tensorrt() -> Providers:
    engines = str(cache_folder() / "tensorrt")
    options = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": engines,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": engines,
    }
    return [("TensorrtExecutionProvider", options), *_cuda()]


_CPU = DeviceInfo(
    name=CPU,
    wheel="onnxruntime",
    extras={"cpu": "any machine"},
    providers=lambda: [("CPUExecutionProvider", {})],
    precisions=("int8", "fp32", "fp16"),
    float32_error=0.001,
    compares=("int8", "fp32"),
)
_CUDA = DeviceInfo(
    name="cuda",
    wheel="onnxruntime-gpu",
    extras={"gpu": "NVIDIA, CUDA 13", "gpu-cu12": "NVIDIA, CUDA 12"},
    requirements="an NVIDIA GPU, its driver, CUDA and cuDNN",
    providers=_cuda,
    precisions=("fp16", "fp32"),
    probe=_probe_nvidia,
    prepare=_preload_nvidia,
    identify=identify_nvidia,
    is_gpu=True,
    batches_boxes=True,
)
_TENSORRT = replace(
    _CUDA,
    name="tensorrt",
    requirements="an NVIDIA GPU, its driver, CUDA, cuDNN and TensorRT",
    providers=_tensorrt,
    is_automatic=False,
)

DEVICES: Final[dict[str, DeviceInfo]] = {row.name: row for row in (_CPU, _CUDA, _TENSORRT)}

if TYPE_CHECKING:
    Device = Literal["auto", "cpu", "cuda", "tensorrt"]  # type checkers cannot read the table
else:
    Device = Literal[device_names()]
