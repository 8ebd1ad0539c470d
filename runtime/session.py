"""Sessions of ONNX Runtime on the device that was named, or an error: no session falls back silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .bundle import TensorSpec
from .devices import CPU, DEVICES, DeviceInfo, import_onnxruntime
from .devices.arrays import DeviceArray
from .devices.plugins import find_plugin_devices
from .devices.tuning import DEFAULT, Tuning
from .engines import engines_folder, make_engines_folder, mark_used
from .errors import BundleError, DeviceError
from .interrupt import current_interrupt
from .recorded import COPY, RecordedGraph

__all__ = ["Input", "Session"]

Input: TypeAlias = NDArray[Any] | DeviceArray
"""What a graph takes: an array in the memory of the host, or of the device of its session."""

_Inputs: TypeAlias = Mapping[str, Input]

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64"}


class Session:
    """One ONNX graph, ready to run. Threads may share it.

    Parameters
    ----------
    path
        The ONNX file.
    device
        A name of the table of devices, as `pick_device` returns it.
    tuning
        How it uses the device.
    sha256
        Hash of the file, in hex: engines that are built from it are kept under this name. Without it, none is kept.

    Raises
    ------
    DeviceError
        ONNX Runtime fell back to another device, or cannot open the graph on this one.
    BundleError
        ONNX Runtime cannot open the graph on the CPU: it is damaged, or made for a newer version.

    Attributes
    ----------
    device
        As above.
    engines
        Folder of the engines that are built from this graph; None if none is kept.
    nodes
        How many nodes each execution provider takes; empty on the CPU, and where ONNX Runtime is too old to say so.
    memory
        As in `DeviceInfo`.
    outputs
        Names of the graph's outputs, in its order.
    signature
        Inputs and outputs, each by name; an axis of any length has a name.
    """

    def __init__(self, path: Path, device: str, *, tuning: Tuning = DEFAULT, sha256: str = "") -> None:
        ort = import_onnxruntime()
        info = DEVICES[device]
        if info.prepare is not None:
            info.prepare(ort)
        try:
            keeps = bool(sha256) and info.builds_engines
            self.engines = make_engines_folder(engines_folder(device, sha256)) if keeps else None
            if self.engines is not None:
                mark_used(self.engines, self)
            self._session = _open(ort, info, path, tuning, self.engines)
        except DeviceError:
            raise
        except Exception as error:  # ONNX Runtime's own classes share no base but this
            reason = str(error).partition("\n")[0]
            kind = BundleError if device == CPU else DeviceError
            raise kind(f"ONNX Runtime {ort.__version__} cannot open {path} on {device}: {reason}") from error
        got = self._session.get_providers()
        if got[0] != info.provider:
            raise DeviceError(
                f"device {device!r} cannot be used: ONNX Runtime fell back to {got[0]} for {path.name}. A library is "
                f"missing or of another version, its message on stderr names it. The device needs {info.requirements}"
            )
        self.device, self.memory = device, info.memory
        self.nodes = {} if device == CPU else _count_nodes(self._session)
        self._turn: AbstractContextManager[object] = Lock() if info.is_serial else nullcontext()
        self._ort = ort
        self._replayed = _record(ort, self._session, info) if tuning.cuda_graphs and info.memory else None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.outputs = [output.name for output in outputs]
        self.signature = _specs(inputs), _specs(outputs)

    def run(self, **inputs: Input) -> tuple[NDArray[np.float32], ...]:
        """Run the graph on one array for each input, by name; return its outputs in the order of `outputs`.

        Raises
        ------
        CancelledError
            The interrupt of this thread was set.
        DeviceError
            A device other than the CPU failed: its memory is full, or it is gone.
        """
        return self._call(inputs, self._run_bound if self.memory else self._run_plain)

    def run_on_device(self, **inputs: Input) -> tuple[Any, ...]:
        """Run the graph as `run` does, and leave its outputs where they are, for another graph of the same device.

        Returns
        -------
        `DeviceArray`s on a device with its own memory, else NumPy arrays.
        """
        if not self.memory:
            return self.run(**inputs)
        return self._call(inputs, self._run_there)

    def to_device(self, array: NDArray[Any]) -> Input:
        """Copy an array to the memory of the device, if it has its own; raises as `run` does."""
        if not self.memory:
            return array
        try:
            return DeviceArray(self._ort.OrtValue.ortvalue_from_numpy(np.asarray(array, order="C"), self.memory, 0))
        except Exception as error:  # ONNX Runtime's own classes share no base but this
            raise self._failed("copied an array", error) from error

    def _call(self, inputs: _Inputs, run: Callable[[_Inputs, Any], tuple[Any, ...]]) -> tuple[Any, ...]:
        interrupt = current_interrupt()
        if interrupt is None:
            return self._guard(inputs, run, None)
        options = self._ort.RunOptions()
        with interrupt.stopping(options):
            return self._guard(inputs, run, options)

    def _guard(
        self, inputs: _Inputs, run: Callable[[_Inputs, Any], tuple[Any, ...]], options: object
    ) -> tuple[Any, ...]:
        try:
            with self._turn:
                return run(inputs, options)
        except Exception as error:  # ONNX Runtime's own classes share no base but this
            if self.device == CPU:
                raise
            raise self._failed(f"computed {', '.join(self.outputs)}", error) from error

    def _failed(self, what: str, error: Exception) -> DeviceError:
        reason = str(error).partition("\n")[0]
        return DeviceError(
            f"device {self.device!r} failed while it {what}: {reason}. Try a smaller image, try again later, or load "
            f"the model with device={CPU!r}"
        )

    def _run_plain(self, inputs: _Inputs, options: object) -> tuple[Any, ...]:
        return tuple(self._session.run(self.outputs, inputs, options))

    def _run_bound(self, inputs: _Inputs, options: object) -> tuple[Any, ...]:
        return tuple(value.numpy() for value in self._bind(inputs, "cpu", options))

    def _run_there(self, inputs: _Inputs, options: object) -> tuple[Any, ...]:
        return tuple(DeviceArray(value) for value in self._bind(inputs, self.memory, options))

    def _bind(self, inputs: _Inputs, memory: str, options: object) -> Sequence[Any]:
        """Run the graph; return its outputs as ONNX Runtime's values, in a memory."""
        if self._replayed is not None:
            return self._replayed.run(inputs, memory, options)
        binding = self._session.io_binding()
        for name, array in inputs.items():
            if isinstance(array, DeviceArray):
                binding.bind_ortvalue_input(name, array.value)
            else:
                binding.bind_cpu_input(name, np.asarray(array, order="C"))
        for name in self.outputs:
            binding.bind_output(name, memory)
        self._session.run_with_iobinding(binding, options)
        values: Sequence[Any] = binding.get_outputs()
        return values


def _open(ort: ModuleType, info: DeviceInfo, path: Path, tuning: Tuning, engines: Path | None) -> Any:  # noqa: ANN401
    options = _options(ort, tuning)
    if info.name != CPU:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    providers = {name: dict(fixed) for name, fixed in (*info.providers(), *DEVICES[CPU].providers())}
    for name, further in info.options(tuning, engines).items():
        providers[name] |= further
    if info.plugin is None:
        return ort.InferenceSession(path, options, providers=[*providers.items()])
    devices = find_plugin_devices(ort, info.plugin)
    options.add_provider_for_devices(devices[:1], providers[info.provider])
    return ort.InferenceSession(path, options)


def _count_nodes(session: Any) -> Counter[str]:  # noqa: ANN401 (onnxruntime has no types)
    """Return the nodes by provider. A provider is first in `get_providers` even if it takes none."""
    counts: Counter[str] = Counter()
    if hasattr(session, "get_provider_graph_assignment_info"):
        for part in session.get_provider_graph_assignment_info():
            counts[part.ep_name] += len(part.get_nodes())
    return counts


def _record(ort: ModuleType, session: Any, info: DeviceInfo) -> RecordedGraph:  # noqa: ANN401
    """Let a session be run as a recorded graph."""
    # TensorRT would build an engine for each shape that is copied.
    copier = next(row for row in DEVICES.values() if row.memory == info.memory)
    return RecordedGraph(ort, session, _open(ort, copier, COPY, DEFAULT, None), info.memory)


def _specs(tensors: Sequence[Any]) -> dict[str, TensorSpec]:
    return {
        one.name: TensorSpec(
            _DTYPES.get(one.type, one.type),
            tuple(axis if isinstance(axis, int) else axis or f"{one.name}_{at}" for at, axis in enumerate(one.shape)),
        )
        for one in tensors
    }


def _options(ort: ModuleType, tuning: Tuning) -> Any:  # noqa: ANN401 (onnxruntime has no types)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # A model has several graphs, each with its own threads, which would spin while the next graph runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A memory pattern takes a second block for a whole run beside the arena, and makes no run faster.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = tuning.arena
    if tuning.threads is not None:
        options.intra_op_num_threads = tuning.threads
    return options
