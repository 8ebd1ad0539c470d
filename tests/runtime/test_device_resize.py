"""The graph in front of a model on a device with its own memory: the same numbers as on the CPU.

The CPU's provider runs it here. OpenCV's linear filter is the same bit for bit. Elsewhere, a value in the middle
between two levels of 0..255 may be rounded to the other one.
"""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import automask
from automask import device_resize
from automask.device_resize import DATA, read_resize
from automask.devices.arrays import DeviceArray, to_host
from automask.export.front import write
from automask.lookup import find_bundle
from automask.preprocess import Resize
from automask.session import Session

pytestmark = pytest.mark.usefixtures("own_memory")

METHODS = ("linear", "cubic", "pillow_bilinear", "pillow_bicubic", "pillow_lanczos")
SHAPES = ((480, 640), (75, 50), (333, 1000), (128, 128), (1, 300), (3, 2))


def settings(interpolation: str, **more: Any) -> dict[str, Any]:
    normal = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
    return {"size": 128, "interpolation": interpolation, **normal, **more}


def session(device: str) -> Session:
    return Session(find_bundle("default").folder / "detector.onnx", device)


def both(settings: dict[str, Any]) -> tuple[Resize, Resize]:
    """Return the same settings on the CPU and on the device."""
    here, there = (read_resize(settings, session(device)) for device in ("cpu", "new"))
    assert type(here) is Resize
    assert type(there) is not Resize
    return here, there


def levels(one: NDArray[np.float32], other: NDArray[np.float32], settings: dict[str, Any]) -> NDArray[np.float32]:
    return np.asarray(np.abs(one - other) * np.array(settings["std"], np.float32)[:, None, None])


@pytest.mark.parametrize("method", METHODS)
def test_the_numbers_are_those_of_the_cpu(method: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 1000, 3), np.uint8)
    for more in ({}, {"resize": "longest_side", "multiple": 8}, {"resize": "longest_side", "padding": [114, 0, 255]}):
        described = settings(method, **more)
        here, there = both(described)
        for height, width in SHAPES:
            pixels = np.ascontiguousarray(noise[:height, :width])
            expected, found = (one.apply(pixels, (height, width)) for one in (here, there))
            assert isinstance(found, DeviceArray)
            apart = levels(to_host(found), expected, described)
            assert apart.max() < 1.01, (more, height, width)
            # Of images of a few pixels, OpenCV's cubic filter has weights of 11 bits.
            assert (apart > 0.5).mean() < (0.01 if min(height, width) > 16 else 0.06), (more, height, width)


def test_linear_is_the_same_bit_for_bit(coffee: NDArray[np.uint8]) -> None:
    described = settings("linear", resize="longest_side")
    here, there = both(described)
    for height, width in ((250, 256), (75, 50), (129, 127), (255, 400), (1, 300), (3, 2)):  # larger ones are averaged
        pixels = np.ascontiguousarray(coffee[:height, :width])
        expected, found = (one.fit(pixels, (height, width)) for one in (here, there))
        np.testing.assert_allclose(to_host(found), expected, rtol=0, atol=1e-6)


def test_what_was_resized_on_the_device_gives_nearly_the_same_masks(coffee: NDArray[np.uint8]) -> None:
    devices: Any = ("cpu", "new")
    expected, found = (
        automask.load(device=device, precision="fp32", prove=False).mask(coffee, "cup", edges="model")
        for device in devices
    )
    assert len(found.instances) == len(expected.instances)
    assert (found.mask != expected.mask).mean() < 0.002


def test_a_very_long_image_is_resized_on_the_cpu() -> None:
    """The matrix of its weights would be larger than the image."""
    here, there = both(settings("linear"))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5000, 3), np.uint8)
    np.testing.assert_array_equal(there.stretch(pixels), here.stretch(pixels))


def test_a_method_without_weights_stays_on_the_cpu() -> None:
    for method in ("pillow_nearest", "scikit_image"):
        assert type(read_resize(settings(method), session("new"))) is Resize


def test_weights_of_a_size_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, int, int]] = []
    original = device_resize._weights

    def counting(method: str, length: int, fitted: int) -> NDArray[np.float32]:
        made.append((method, length, fitted))
        return original(method, length, fitted)

    monkeypatch.setattr(device_resize, "_weights", counting)
    _, there = both(settings("cubic"))
    for _ in range(3):
        there.stretch(np.zeros((101, 103, 3), np.uint8))
    assert sorted(made) == [("cubic", 101, 128), ("cubic", 103, 128)]


def test_the_graphs_in_the_package_are_those_that_the_code_describes(tmp_path: Path) -> None:
    write(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_bytes() for path in DATA.glob("*.onnx")}


def test_what_is_on_the_device_goes_with_the_model() -> None:
    """A device that was lost takes it along: a model that is opened again must not find it."""
    _, there = both(settings("cubic"))
    there.stretch(np.zeros((101, 103, 3), np.uint8))
    assert isinstance(there, device_resize.DeviceResize)
    graph = weakref.ref(there.front.open("front_horizontal"))
    gc.disable()
    try:
        del there
        assert graph() is None
    finally:
        gc.enable()
