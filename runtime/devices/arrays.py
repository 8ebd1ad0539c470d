"""Arrays that stay in the memory of a device between the graphs of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DeviceArray", "device_bytes", "host_bytes", "to_host"]


class DeviceArray:
    """An output of a graph, in the memory of the device that computed it.

    Parameters
    ----------
    value
        ONNX Runtime's `OrtValue`.

    Attributes
    ----------
    value
        As above; a session of the same device takes it as an input.
    shape
        Length of each axis.
    nbytes
        Bytes of device memory.
    """

    __slots__ = ("nbytes", "shape", "value")

    def __init__(self, value: Any) -> None:  # noqa: ANN401 (onnxruntime has no types)
        self.value = value
        self.shape: tuple[int, ...] = tuple(value.shape())
        self.nbytes: int = value.tensor_size_in_bytes()

    def numpy(self) -> NDArray[Any]:
        """Return a copy in host memory."""
        return np.asarray(self.value.numpy())


def to_host(array: Any) -> NDArray[Any]:  # noqa: ANN401
    """Return an array in host memory: a copy of a `DeviceArray`, anything else as it is."""
    return array.numpy() if isinstance(array, DeviceArray) else np.asarray(array)


def host_bytes(arrays: tuple[Any, ...]) -> int:
    """Return the bytes of the arrays that are in host memory."""
    return sum(array.nbytes for array in arrays if not isinstance(array, DeviceArray))


def device_bytes(arrays: tuple[Any, ...]) -> int:
    """Return the bytes of the arrays that are in device memory."""
    return sum(array.nbytes for array in arrays if isinstance(array, DeviceArray))
