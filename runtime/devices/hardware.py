"""What the results of a computation may depend on: the instructions of the processor; GPU and driver."""

from __future__ import annotations

import ctypes
import os
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

__all__ = ["identify_nvidia", "identify_processor", "nvidia_driver", "tensorrt_versions"]

_CPUINFO = Path("/proc/cpuinfo")
_NVIDIA_VERSION = Path("/proc/driver/nvidia/version")
_NAME_LENGTH = 256
_TENSORRT_MAJORS = (10, 11)


@cache
def identify_processor() -> str:
    """Return the processor's architecture, name and vector instructions, in one line."""
    parts = [platform.machine(), *_cpuinfo()]
    core = getattr(np, "_core", None) or np.core
    # What NumPy found by asking the processor itself: inside an emulator, `/proc/cpuinfo` is the host's.
    features = getattr(core._multiarray_umath, "__cpu_features__", {})  # noqa: SLF001 (NumPy has no public name for it)
    return "; ".join((*parts, " ".join(sorted(name for name, found in features.items() if found))))


def _cpuinfo() -> list[str]:
    """Return name and flags of the first processor, on Linux."""
    with suppress(OSError), _CPUINFO.open(encoding="utf-8", errors="replace") as file:
        lines = dict(line.split(":", 1) for line in file.read(8192).partition("\n\n")[0].splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in lines.items()}
        return [fields[key] for key in ("model name", "flags", "Features") if key in fields]
    return []


def nvidia_driver() -> ctypes.CDLL | None:
    """Return the library of NVIDIA's driver; None if there is none."""
    try:
        return ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return None


def identify_nvidia() -> str:
    """Return the name of the first GPU and the version of its driver, in one line; empty without a driver."""
    driver = nvidia_driver()
    if driver is None or driver.cuInit(0) != 0:
        return ""
    version, device, name = ctypes.c_int(0), ctypes.c_int(0), ctypes.create_string_buffer(_NAME_LENGTH)
    driver.cuDriverGetVersion(ctypes.byref(version))
    if driver.cuDeviceGet(ctypes.byref(device), 0) == 0:
        driver.cuDeviceGetName(name, _NAME_LENGTH, device)
    kernel = ""
    with suppress(OSError):
        kernel = _NVIDIA_VERSION.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    return "; ".join((name.value.decode(errors="replace"), f"CUDA {version.value}", kernel))


def tensorrt_versions() -> dict[str, str]:
    """Return the version of each TensorRT that the system's loader finds; engines of another one compute otherwise."""
    versions = {}
    for major in _TENSORRT_MAJORS:
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(f"nvinfer_{major}.dll" if os.name == "nt" else f"libnvinfer.so.{major}")
            number = int(library.getInferLibVersion())  # 10000 * major + 100 * minor + patch
            versions[f"TensorRT {major}"] = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    return versions
