"""Execution providers that come as packages of their own, and that ONNX Runtime loads as libraries."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from threading import Lock
from types import ModuleType
from typing import Any

from ..errors import DeviceError

__all__ = ["Plugin", "find_plugin_devices", "is_plugin_installed", "plugin_versions"]

_lock = Lock()
_registered: set[str] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """The package of an execution provider.

    Attributes
    ----------
    distribution
        Its name for pip.
    module
        Its Python module; `get_library_path` there returns the path of the library.
    provider
        Name of the execution provider. The library is registered under this name, because some libraries take the
        name of their registration as that of their provider.
    hardware
        Kind of hardware to run on, as ONNX Runtime names it: ``CPU``, ``GPU`` or ``NPU``.
    """

    distribution: str
    module: str
    provider: str
    hardware: str


def is_plugin_installed(plugin: Plugin) -> bool:
    """Return whether the package of a plugin is installed; does not import it."""
    return find_spec(plugin.module) is not None


def find_plugin_devices(ort: ModuleType, plugin: Plugin) -> list[Any]:
    """Register the library of a plugin, once, and return ONNX Runtime's devices of its provider on its hardware.

    Raises
    ------
    DeviceError
        The package is not installed or damaged, its library cannot be registered, or it offers no such device.
    """
    if not is_plugin_installed(plugin):
        raise DeviceError(f"{plugin.distribution} is not installed")
    if not hasattr(ort, "register_execution_provider_library"):
        raise DeviceError(f"onnxruntime {ort.__version__} cannot load plugins; install a newer one")
    with _lock:
        if plugin.provider not in _registered and not _offered(ort, plugin):
            _register(ort, plugin)
            _registered.add(plugin.provider)
    offered = _offered(ort, plugin)
    devices = [one for one in offered if one.device.type.name == plugin.hardware]
    if not devices:
        others = ", ".join(sorted({one.device.type.name for one in offered}))
        raise DeviceError(
            f"{plugin.distribution} {_version(plugin)} is registered, but offers no {plugin.hardware} device on this "
            f"machine{f', only {others}' if others else ''}"
        )
    return devices


def _offered(ort: ModuleType, plugin: Plugin) -> list[Any]:
    return [one for one in ort.get_ep_devices() if one.ep_name == plugin.provider]


def _register(ort: ModuleType, plugin: Plugin) -> None:
    try:
        path = import_module(plugin.module).get_library_path()
    except Exception as error:  # the package's own code, which may raise anything
        raise DeviceError(f"{plugin.distribution} {_version(plugin)} is damaged: {_one_line(error)}") from error
    try:
        ort.register_execution_provider_library(plugin.provider, path)
    except Exception as error:  # ONNX Runtime's own classes share no base but this
        raise DeviceError(f"ONNX Runtime {ort.__version__} cannot register {path}: {_one_line(error)}") from error


def plugin_versions(ort: ModuleType, plugin: Plugin) -> dict[str, str]:
    """Return the versions of a plugin's package and library, and what it says about its devices.

    Raises
    ------
    DeviceError
        As `find_plugin_devices` does.
    """
    versions = {plugin.distribution: _version(plugin)}
    for number, one in enumerate(find_plugin_devices(ort, plugin)):
        facts = {**one.ep_metadata, "hardware": f"{one.device.vendor} {one.device.device_id:#x}", **one.device.metadata}
        facts.pop("library_path", None)  # the same library in another folder computes the same
        versions[f"{plugin.provider} {number}"] = ", ".join(f"{key} {value}" for key, value in sorted(facts.items()))
    return versions


def _version(plugin: Plugin) -> str:
    try:
        return metadata.version(plugin.distribution)
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _one_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
