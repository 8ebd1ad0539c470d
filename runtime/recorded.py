"""Graphs of fixed shapes that a GPU records in one run and replays as a whole in the next ones: CUDA graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from .devices.arrays import DeviceArray

__all__ = ["COPY", "RecordedGraph"]

COPY: Final = Path(__file__).parent / "data" / "copy.onnx"
"""Copies ``source`` to ``copy``, inside the memory of a device."""


class RecordedGraph:
    """Runs a session that records, always with the same buffers, and on one thread.

    A recording has the addresses of its inputs and outputs, and belongs to the thread that made it. So calls wait for
    each other; a GPU computes one graph at a time anyway.

    Parameters
    ----------
    ort
        The module `onnxruntime`.
    session
        A session whose provider records, and whose inputs have the same shapes in every call.
    copier
        A session of `COPY` on the same device, which does not record.
    memory
        ONNX Runtime's name of the memory of the device.
    """

    def __init__(self, ort: ModuleType, session: Any, copier: Any, memory: str) -> None:  # noqa: ANN401 (no types)
        self._ort, self._session, self._copier, self._memory = ort, session, copier, memory
        self._outputs = [output.name for output in session.get_outputs()]
        self._buffers: dict[str, Any] = {}
        self._results: Sequence[Any] = ()
        self._binding = session.io_binding()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="automask-recorded")

    def run(self, inputs: Mapping[str, Any], memory: str, options: object) -> list[Any]:
        """Run the graph; return copies of its outputs as ONNX Runtime's values, in the memory of the host or here."""
        return self._thread.submit(self._replay, inputs, memory, options).result()

    def _replay(self, inputs: Mapping[str, Any], memory: str, options: object) -> list[Any]:
        if not self._buffers:
            self._bind(inputs)
        for name, array in inputs.items():
            if isinstance(array, DeviceArray):
                self._copy(array.value, self._buffers[name])
            else:
                self._buffers[name].update_inplace(np.asarray(array, order="C"))
        self._session.run_with_iobinding(self._binding, options)
        if memory == self._memory:
            return [self._copy(value, None) for value in self._results]
        return [self._ort.OrtValue.ortvalue_from_numpy(np.array(value.numpy())) for value in self._results]

    def _bind(self, inputs: Mapping[str, Any]) -> None:
        """Make the buffers: inputs of the shapes of this call, and the outputs of one run that is not recorded."""
        self._buffers = {name: self._new_buffer(array) for name, array in inputs.items()}
        for name, buffer in self._buffers.items():
            self._binding.bind_ortvalue_input(name, buffer)
        for name in self._outputs:
            self._binding.bind_output(name, self._memory)
        options = self._ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", "-1")
        self._session.run_with_iobinding(self._binding, options)
        self._results = self._binding.get_outputs()
        self._binding.clear_binding_outputs()
        for name, value in zip(self._outputs, self._results, strict=True):
            self._binding.bind_ortvalue_output(name, value)

    def _new_buffer(self, array: Any) -> Any:  # noqa: ANN401
        if isinstance(array, DeviceArray):
            return self._copy(array.value, None)
        return self._ort.OrtValue.ortvalue_from_numpy(np.array(array), self._memory, 0)

    def _copy(self, source: Any, target: Any) -> Any:  # noqa: ANN401
        """Copy a value inside the device, to a new one if there is no target."""
        binding = self._copier.io_binding()
        binding.bind_ortvalue_input("source", source)
        if target is None:
            binding.bind_output("copy", self._memory)
        else:
            binding.bind_ortvalue_output("copy", target)
        self._copier.run_with_iobinding(binding)
        return binding.get_outputs()[0]
