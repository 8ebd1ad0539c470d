"""ONNX Runtime sessions on the device that was asked for, or a clear error: nothing falls back silently."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Mapping
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import BundleError, DeviceError, MissingDependencyError, ParameterError
from .interrupt import current_interrupt

__all__ = ["DEVICES", "Device", "Session", "cache_folder", "import_onnxruntime", "pick_device"]

Device = Literal["auto", "cpu", "cuda", "tensorrt"]
DEVICES: tuple[str, ...] = get_args(Device)

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_log = logging.getLogger(__name__)


def import_onnxruntime() -> ModuleType:
    """Import `onnxruntime`, whichever wheel it comes from, with its telemetry off unless the environment wants it.

    Raises
    ------
    MissingDependencyError
        No wheel is installed, or two are, which breaks CUDA without a word.
    """
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if len(installed) > 1:
        raise MissingDependencyError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files; keep one: "
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'automask[gpu]' (or 'automask[cpu]')"
        )
    # Its wheels tell Microsoft of their use, unless they are told not to before they are imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        if installed:
            raise MissingDependencyError(f"{installed[0]} is installed but cannot be imported: {error}") from error
        raise MissingDependencyError(
            "ONNX Runtime is not installed; choose one: pip install 'automask[cpu]' (any machine), "
            "pip install 'automask[gpu]' (NVIDIA, CUDA 13) or pip install 'automask[gpu-cu12]' (NVIDIA, CUDA 12)"
        ) from error


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def cache_folder() -> Path:
    """Folder for what is costly to make again, such as TensorRT engines: ``$XDG_CACHE_HOME/automask``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "automask"


def pick_device(device: str) -> str:
    """Turn ``auto`` into ``cuda`` or ``cpu``, and refuse at once what cannot work.

    ``auto`` takes ``cuda`` where this ONNX Runtime has it and an NVIDIA GPU answers; never ``tensorrt``, whose
    engines take minutes to build.

    Parameters
    ----------
    device
        One of `DEVICES`.

    Returns
    -------
    ``cpu``, ``cuda`` or ``tensorrt``.

    Raises
    ------
    ParameterError
        `device` is not one of `DEVICES`.
    DeviceError
        The device was named and its provider or the GPU is missing.
    """
    if device not in DEVICES:
        raise ParameterError("device", f"be one of {', '.join(DEVICES)}", device)
    if device == "cpu":
        return device
    wanted = "cuda" if device == "auto" else device
    missing = _what_is_missing(wanted)
    if missing is None:
        return wanted
    if device == "auto":
        return "cpu"
    raise DeviceError(f"device {device!r} cannot be used: {missing}. Use device='cpu', or 'auto' to take what works")


def _what_is_missing(device: str) -> str | None:
    if _PROVIDERS[device] not in import_onnxruntime().get_available_providers():
        return (
            f"this onnxruntime has no {_PROVIDERS[device]}; pip uninstall -y onnxruntime && "
            "pip install 'automask[gpu]' (or 'automask[gpu-cu12]')"
        )
    return _what_is_wrong_with_the_gpu()


def _what_is_wrong_with_the_gpu() -> str | None:
    """Ask the driver itself: onnxruntime-gpu lists CUDA and TensorRT on machines that have neither."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return "no NVIDIA driver was found (libcuda cannot be loaded)"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the NVIDIA driver reports no usable GPU"
    return None


class Session:
    """One ONNX graph, ready to run; safe to call from several threads.

    Parameters
    ----------
    path
        The ONNX file.
    device
        ``cpu``, ``cuda`` or ``tensorrt``, as `pick_device` returns it.
    threads
        Threads for one call on the CPU; None leaves it to ONNX Runtime (one per physical core).

    Raises
    ------
    DeviceError
        ONNX Runtime did not get the device and would have run on the CPU, or cannot open the graph there.
    BundleError
        ONNX Runtime cannot open the graph on the CPU either: it is damaged, or made for a newer version.
    """

    def __init__(self, path: Path, device: str, *, threads: int | None = None) -> None:
        ort = import_onnxruntime()
        if device != "cpu" and hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
        try:
            self._session = ort.InferenceSession(path, _options(ort, threads), providers=_providers(device))
        except Exception as error:  # ONNX Runtime's own classes share no base but this
            reason = str(error).partition("\n")[0]
            kind = BundleError if device == "cpu" else DeviceError
            raise kind(f"ONNX Runtime {ort.__version__} cannot open {path} on {device}: {reason}") from error
        got = self._session.get_providers()
        if got[0] != _PROVIDERS[device]:
            raise DeviceError(
                f"device {device!r} cannot be used: ONNX Runtime fell back to {got[0]} for {path.name}. Its CUDA, "
                "cuDNN or TensorRT libraries are missing or of another version; its message on stderr names them"
            )
        self.device = device
        self._make_run_options = ort.RunOptions
        self.outputs = [output.name for output in self._session.get_outputs()]

    def run(self, **inputs: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        """Run the graph on arrays by input name; the outputs come in the graph's order.

        Raises
        ------
        CancelledError
            The interrupt that this thread works under was set.
        """
        interrupt = current_interrupt()
        if interrupt is None:
            return tuple(self._session.run(self.outputs, inputs))
        options = self._make_run_options()
        with interrupt.stopping(options):
            return tuple(self._session.run(self.outputs, inputs, options))


def _options(ort: ModuleType, threads: int | None) -> Any:  # noqa: ANN401 (onnxruntime has no types)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # A model has several graphs, each with threads of its own that would go on spinning while the next one runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Such a plan takes one block for a whole run, beside what the first run left in the arena; no run is faster for it.
    options.enable_mem_pattern = False
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def _providers(device: str) -> list[tuple[str, Mapping[str, str]]]:
    engines = str(cache_folder() / "tensorrt")
    tensorrt = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": engines,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": engines,
    }
    # Left to itself, CUDA times every algorithm of each convolution at the first call with a new shape, and its arena
    # grows by powers of two: good for a process that has the card for itself and hours to run.
    cuda = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
    providers: dict[str, list[tuple[str, Mapping[str, str]]]] = {
        "cpu": [],
        "cuda": [(_PROVIDERS["cuda"], cuda)],
        "tensorrt": [(_PROVIDERS["tensorrt"], tensorrt), (_PROVIDERS["cuda"], cuda)],
    }
    return [*providers[device], (_PROVIDERS["cpu"], {})]
