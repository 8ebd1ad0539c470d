"""Devices: which ones work here, what to install, and ONNX Runtime itself.

`table` has the rows. Everything else asks the table: `load`, the command line, the settings of the service,
`automask doctor`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module, metadata
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from ..errors import DeviceError, MissingDependencyError, ParameterError
from .info import DeviceInfo
from .plugins import find_plugin_devices, is_plugin_installed, plugin_versions
from .table import DEVICES

__all__ = [
    "AUTO",
    "CPU",
    "DEVICES",
    "Device",
    "DeviceInfo",
    "Problem",
    "device_names",
    "find_problem",
    "find_rivals",
    "import_onnxruntime",
    "library_versions",
    "pick_device",
    "wheels",
]

AUTO: Final = "auto"
CPU: Final = "cpu"


class Problem(NamedTuple):
    """Why a device cannot be used.

    Attributes
    ----------
    reason
        What is missing, or does not work.
    install
        What to type; empty where nothing that pip can install is missing.
    """

    reason: str
    install: str


def device_names() -> tuple[str, ...]:
    """Return what may be given as a device: ``auto`` and the names of the table."""
    return (AUTO, *DEVICES)


def wheels() -> tuple[str, ...]:
    """Return the distributions of ONNX Runtime, of which one may be installed."""
    return tuple(dict.fromkeys(device.wheel for device in DEVICES.values()))


def pick_device(device: str) -> str:
    """Return the device to run on, and refuse at once one that cannot work.

    ``auto`` becomes the first device of the table that works and needs no measurement, the CPU only if no other one
    does; `find_rivals` has those that are measured. TensorRT is never automatic, because its engines take minutes to
    build.

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
        return next((name for name in _find_working("where it works") if name != CPU), CPU)
    problem = find_problem(device)
    if problem is None:
        return device
    info = DEVICES[device]
    needs = f" It needs {info.requirements}." if info.requirements and info.is_possible else ""
    install = f" To install {info.package}: {problem.install}." if problem.install else ""
    raise DeviceError(
        f"device {device!r} cannot be used: {problem.reason}.{needs}{install} "
        f"Use device={CPU!r}, or {AUTO!r} to take what works"
    )


def find_rivals() -> list[str]:
    """Return the devices that work and that ``auto`` takes where they are faster than the CPU, in the table's order."""
    return list(_find_working("where faster"))


def _find_working(automatic: str) -> Iterator[str]:
    return (name for name, info in DEVICES.items() if info.automatic == automatic and find_problem(name) is None)


def find_problem(device: str) -> Problem | None:
    """Return why a device of the table cannot be used; None if it can.

    Raises
    ------
    MissingDependencyError
        As `import_onnxruntime` does, for every device but the CPU.
    """
    info = DEVICES[device]
    if device == CPU:
        return None  # without importing ONNX Runtime, which takes long
    if not info.is_possible:
        systems = " and ".join(f"{system} {machine}".strip() for system, machine in info.systems)
        return Problem(f"it exists on {systems.replace('Darwin', 'macOS')} only", "")
    reason = _why_not(info)
    return None if reason is None else Problem(reason, _install_hint(info))


def _why_not(info: DeviceInfo) -> str | None:
    if info.plugin is not None and not is_plugin_installed(info.plugin):
        return f"{info.plugin.distribution} is not installed"
    ort = import_onnxruntime()
    if info.plugin is None and info.provider not in ort.get_available_providers():
        return f"this onnxruntime has no {info.provider}"
    reason = info.probe()
    if reason is None and info.plugin is not None:
        try:
            find_plugin_devices(ort, info.plugin)
        except DeviceError as error:
            return str(error)
    return reason


def _install_hint(info: DeviceInfo) -> str:
    """Return what to type to install the package of a device, instead of another wheel; empty if it is installed."""
    if _is_installed(info.package):
        return ""
    others = [wheel for wheel in wheels() if wheel != info.wheel and _is_installed(wheel)]
    first, *alternatives = (f"'automask[{extra}]'" for extra in info.extras)
    hint = f"pip install {first}"
    if others:
        hint = f"pip uninstall -y {' '.join(others)} && {hint}"
    return f"{hint} (or {' or '.join(alternatives)})" if alternatives else hint


def library_versions(device: str) -> dict[str, str]:
    """Return the versions of the libraries that compute on a device of the table, by name.

    Raises
    ------
    DeviceError
        The device is that of a plugin that cannot be used.
    """
    info, ort = DEVICES[device], import_onnxruntime()
    plugin = {} if info.plugin is None else plugin_versions(ort, info.plugin)
    return {"onnxruntime": str(ort.__version__), **info.versions(), **plugin}


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
    rows = [info for info in DEVICES.values() if info.plugin is None and info.is_possible]
    extras = {extra: purpose for info in rows for extra, purpose in info.extras.items()}
    *first, last = (f"pip install 'automask[{extra}]' ({purpose})" for extra, purpose in extras.items())
    return f"{', '.join(first)} or {last}" if first else last


if TYPE_CHECKING:
    # Type checkers cannot read the table.
    Device = Literal[
        "auto", "cpu", "cuda", "tensorrt", "tensorrt-rtx", "openvino", "openvino-gpu", "coreml", "directml", "qnn"
    ]
else:
    Device = Literal[device_names()]
