"""One row of the table of devices."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from .hardware import identify_processor
from .plugins import Plugin
from .providers import Providers
from .tuning import Tuning

__all__ = ["DeviceInfo"]


def _no_problem() -> None:
    """Probe of a device that works wherever ONNX Runtime has its provider."""


def _no_versions() -> Mapping[str, str]:
    """Versions of the libraries of a device that has none besides ONNX Runtime."""
    return {}


def _no_options(_tuning: Tuning, _engines: Path | None) -> Mapping[str, Mapping[str, str]]:
    """Options of a device that nothing can be set of."""
    return {}


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
    systems
        Systems that have it, as `platform.system` and `platform.machine` name them; none means every one. An empty
        machine means every machine.
    plugin
        The package of its execution provider, if that comes as a plugin beside the wheel.
    providers
        Returns ONNX Runtime's execution providers, in order of preference, and the options of each. The CPU's is added
        at the end, for operators that the others lack.
    options
        Returns further options of the providers, by provider, for how a graph is to use the device, and the folder for
        the engines that are built from it.
    builds_engines
        Whether a graph is compiled for the hardware at hand, for seconds or minutes, and what was compiled is kept.
    memory
        ONNX Runtime's name of the memory of the device, in which results stay between graphs; empty where graphs read
        and write the memory of the host.
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
    versions
        Returns versions of libraries, besides ONNX Runtime and a plugin, on which results may depend.
    float32_error
        Largest relative error that an output of a float32 graph has where nothing is wrong: on a GPU, products are in
        TF32 by default, with 10 bits.
    compares
        Precisions of which the faster one depends on the hardware, so that they are measured against each other.
    automatic
        When the device ``auto`` becomes this one: ``where it works``, ``where faster`` than the CPU by a measurement,
        or ``never``.
    least_share
        Least share of the nodes of a model that the device must take; the CPU computes those that it does not take. One
        that takes none is refused in any case.
    is_serial
        Whether a graph takes one call at a time: the provider does not lock it by itself.
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
    systems: tuple[tuple[str, str], ...] = ()
    plugin: Plugin | None = None
    providers: Callable[[], Providers]
    options: Callable[[Tuning, Path | None], Mapping[str, Mapping[str, str]]] = _no_options
    builds_engines: bool = False
    memory: str = ""
    precisions: tuple[str, ...]
    probe: Callable[[], str | None] = _no_problem
    prepare: Callable[[ModuleType], object] | None = None
    identify: Callable[[], str] = identify_processor
    versions: Callable[[], Mapping[str, str]] = _no_versions
    float32_error: float = 0.01
    compares: tuple[str, ...] = ()
    automatic: Literal["where it works", "where faster", "never"] = "where it works"
    least_share: float = 0.5
    is_serial: bool = False
    is_gpu: bool = False
    batches_boxes: bool = False

    @property
    def provider(self) -> str:
        """The execution provider that must run the graphs."""
        return self.providers()[0][0]

    @property
    def package(self) -> str:
        """The distribution that has the execution provider."""
        return self.wheel if self.plugin is None else self.plugin.distribution

    @property
    def is_possible(self) -> bool:
        """Whether the system and the processor are among those that have it."""
        system = platform.system()
        return not self.systems or not {(system, platform.machine()), (system, "")}.isdisjoint(self.systems)
