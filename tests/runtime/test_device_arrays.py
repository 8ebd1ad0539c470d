"""Results that stay in the memory of a device. No GPU is used.

The device is the CPU's provider under another name: its memory is that of the host, and ONNX Runtime binds inputs and
outputs there as it does on a GPU.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import automask
from automask.cache import Arrays, ByteCache
from automask.devices import DEVICES
from automask.devices.arrays import DeviceArray, device_bytes, host_bytes, to_host
from automask.interrupt import Interrupt
from automask.lookup import find_bundle
from automask.session import Session

DECODER = "logits"
ENCODER = "image_embedding"
BOX = (200, 100, 400, 300)


pytestmark = pytest.mark.usefixtures("own_memory")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Runs of each graph, by its first output, whether or not its outputs stay on the device."""
    counts: Counter[str] = Counter()
    original = Session._call

    def counting(self: Session, *arguments: Any) -> Any:
        counts[self.outputs[0]] += 1
        return original(self, *arguments)

    monkeypatch.setattr(Session, "_call", counting)
    return counts


def load(**options: Any) -> automask.Segmenter:
    return automask.load(device="new", precision="fp32", **options)  # type: ignore[arg-type]


def test_masks_are_the_same(coffee: NDArray[np.uint8]) -> None:
    here, there = automask.load(device="cpu", precision="fp32"), load()
    assert there.standing == "proven"
    for options in ({"prompt": "cup", "edges": "fine"}, {"box": BOX}):
        expected, found = (one.mask(coffee, **options) for one in (here, there))
        np.testing.assert_array_equal(found.mask, expected.mask)
    assert found.device == "new"


def test_another_prompt_takes_the_encoding_that_is_on_the_device(
    coffee: NDArray[np.uint8], calls: Counter[str]
) -> None:
    segmenter = load(prove=False)
    segmenter.mask(coffee, "cup")
    segmenter.mask(coffee, "spoon", threshold=0.05)
    assert calls[ENCODER] == 1
    assert calls[DECODER] >= 2
    info = segmenter.cache_info()
    assert info.gpu_bytes == 256 * 32 * 32 * 4  # the embedding in float32
    assert info.gpu_max_bytes == 1 << 30
    assert info.bytes > 0  # the detections


def test_the_cache_on_the_device_is_bounded(coffee: NDArray[np.uint8], calls: Counter[str]) -> None:
    segmenter = load(prove=False, gpu_cache_bytes=1 << 20)  # the encoding of one image
    other = np.ascontiguousarray(coffee[:, ::-1])
    for image, runs in ((coffee, 1), (other, 2), (other, 2), (coffee, 3)):
        segmenter.mask(image, box=BOX)
        assert calls[ENCODER] == runs
    assert segmenter.cache_info().gpu_bytes <= 1 << 20
    nothing = load(prove=False, gpu_cache_bytes=0)
    for _ in range(2):
        nothing.mask(coffee, box=BOX)
    assert calls[ENCODER] == 5
    with pytest.raises(automask.ParameterError, match="gpu_cache_bytes must be at least 0, got -1"):
        automask.load(gpu_cache_bytes=-1)


def test_one_memory_is_not_freed_for_the_other() -> None:
    cache = ByteCache[tuple[int, int]](10, lambda one: one[0], 10, lambda one: one[1])
    for key, value in (("host", (8, 0)), ("a", (0, 8)), ("b", (1, 8))):
        cache.get(key, lambda value=value: value)  # type: ignore[misc]
    assert cache.info()[2:] == (2, 9, 10, 8, 10)
    assert cache.get("host", lambda: (0, 0)) == (8, 0)
    cache.get("too large", lambda: (0, 11))
    assert cache.info().entries == 2


def session(device: str = "new") -> Session:
    return Session(find_bundle("default").folder / "detector.onnx", device)


def test_outputs_stay_and_inputs_may_be_there() -> None:
    graph, plain = session(), session("cpu")
    image = np.random.default_rng(0).normal(size=(1, 3, 416, 416)).astype(np.float32)
    expected = plain.run(image=image)
    for found in (
        graph.run(image=image),
        graph.run_on_device(image=image),
        graph.run_on_device(image=graph.to_device(image)),
        graph.run_on_device(image=image[:, :, ::-1][:, :, ::-1]),  # not contiguous
        plain.run_on_device(image=plain.to_device(image)),
    ):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(to_host(one), other)
    there: Arrays = graph.run_on_device(image=image)
    assert all(isinstance(one, DeviceArray) for one in there)
    assert [one.shape for one in there] == [one.shape for one in expected]
    assert (host_bytes(there), device_bytes(there)) == (0, sum(one.nbytes for one in expected))
    assert all(isinstance(one, np.ndarray) for one in plain.run_on_device(image=image))


def test_an_interrupt_stops_a_bound_run() -> None:
    graph, interrupt = session(), Interrupt()
    interrupt.set()
    with interrupt.active(), pytest.raises(automask.CancelledError):
        graph.run_on_device(image=np.zeros((1, 3, 416, 416), np.float32))


def test_a_device_that_fails_is_named() -> None:
    with pytest.raises(automask.DeviceError, match="device 'new' failed while it computed scores, distances: "):
        session().run_on_device(image=np.zeros((1, 3, 8, 8), np.float32))


def test_gpus_have_their_own_memory() -> None:
    assert {name: row.memory for name, row in DEVICES.items() if row.memory and name != "new"} == {
        "cuda": "cuda",
        "tensorrt": "cuda",
    }
