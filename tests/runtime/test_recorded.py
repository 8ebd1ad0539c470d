"""Recorded graphs: the same results with buffers that stay, from any number of threads. No GPU is used.

The CPU's provider does not record; what is tested is what a recording needs, and what ONNX Runtime is called with.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import automask
from automask.devices import DEVICES
from automask.devices.arrays import to_host
from automask.devices.providers import cuda_options, tensorrt_options
from automask.devices.tuning import Tuning
from automask.lookup import find_bundle
from automask.recorded import RecordedGraph
from automask.session import Session

pytestmark = pytest.mark.usefixtures("own_memory")


def open_detector(device: str, *, cuda_graphs: bool) -> Session:
    return Session(find_bundle("default").folder / "detector.onnx", device, tuning=Tuning(cuda_graphs=cuda_graphs))


def image(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(1, 3, 416, 416)).astype(np.float32)


def test_threads_get_their_own_results_from_one_set_of_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, recorded = open_detector("cpu", cuda_graphs=False), open_detector("new", cuda_graphs=True)
    expected = [plain.run(image=image(seed)) for seed in range(4)]
    used: set[tuple[int, ...]] = set()
    original = RecordedGraph._replay

    def watch(self: RecordedGraph, *arguments: Any) -> list[Any]:
        copies = original(self, *arguments)
        buffers = tuple(value.data_ptr() for value in (*self._buffers.values(), *self._results))
        used.add((threading.get_ident(), *buffers))
        assert not {copy.data_ptr() for copy in copies} & {*buffers}
        return copies

    monkeypatch.setattr(RecordedGraph, "_replay", watch)

    def run(number: int) -> tuple[Any, ...]:
        one = image(number % 4)
        if number % 2:
            return recorded.run(image=recorded.to_device(one))
        return recorded.run_on_device(image=one)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, range(12)))
    for number, results in enumerate(found):
        for one, other in zip(results, expected[number % 4], strict=True):
            np.testing.assert_array_equal(to_host(one), other)
    assert len(used) == 1  # one thread, and the same addresses in every run


def test_masks_are_the_same(coffee: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: set[str] = set()
    original = RecordedGraph.run

    def watch(self: RecordedGraph, *arguments: Any) -> list[Any]:
        recorded.add(self._outputs[0])
        return original(self, *arguments)

    monkeypatch.setattr(RecordedGraph, "run", watch)
    device: Any = "new"
    here, there = (
        automask.load(device=device, precision="fp32", prove=False, cuda_graphs=records) for records in (False, True)
    )
    for prompt in ("cup", "spoon"):
        np.testing.assert_array_equal(there.mask(coffee, prompt).mask, here.mask(coffee, prompt).mask)
    # The mask decoder takes any number of boxes.
    assert recorded == {"scores", "image_embedding"}


def test_an_error_reaches_the_caller() -> None:
    recorded = open_detector("new", cuda_graphs=True)
    recorded.run(image=image(0))
    with pytest.raises(automask.DeviceError, match="device 'new' failed while it computed scores, distances: "):
        recorded.run(image=image(0)[:, :, :8])


def test_what_providers_are_called_with(monkeypatch: pytest.MonkeyPatch) -> None:
    records = Tuning(cuda_graphs=True)
    assert cuda_options(records, None) == {"CUDAExecutionProvider": {"enable_cuda_graph": "1"}}
    both = tensorrt_options(records, None)
    assert both == {"TensorrtExecutionProvider": {"trt_cuda_graph_enable": "1"}, "CUDAExecutionProvider": {}}
    asked: dict[str, bool] = {}

    def options(tuning: Tuning, engines: Path | None) -> Mapping[str, Mapping[str, str]]:
        del engines
        asked[str(len(asked))] = tuning.cuda_graphs
        return {}

    monkeypatch.setitem(DEVICES, "new", replace(DEVICES["new"], options=options))
    automask.load(device="new", precision="fp32", prove=False, cuda_graphs=True)  # type: ignore[arg-type]
    # Detector and its copies, image encoder and its copies, mask decoder.
    assert [*asked.values()] == [True, False, True, False, False]


def test_without_its_own_memory_a_device_records_nothing(coffee: NDArray[np.uint8]) -> None:
    segmenter = automask.load(device="cpu", prove=False, cuda_graphs=True)
    assert not segmenter.mask(coffee, "cup").is_empty
