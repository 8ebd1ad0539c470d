"""Adaptive average pooling as two matrix products: ONNX has no operator for it where the sizes are no multiples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["fixed_pools"]


@contextmanager
def fixed_pools(network: nn.Module) -> Iterator[None]:
    """Replace the pools of UperNet's and BEiT's pyramids inside the context; they compute the same."""
    pools = [module for module in network.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    for pool in pools:
        pool.forward = _Pool(pool.output_size)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for pool in pools:
            del pool.forward


class _Pool:
    """Pooling to a fixed size, of images whose size is fixed while tracing."""

    def __init__(self, size: int | tuple[int, int]) -> None:
        self._rows, self._columns = (size, size) if isinstance(size, int) else size

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        height, width = (int(side) for side in pixels.shape[-2:])
        return _means(self._rows, height) @ pixels @ _means(self._columns, width).T


def _means(parts: int, length: int) -> torch.Tensor:
    """Return the matrix, (parts, length), that takes the mean of each of the overlapping parts of a line."""
    matrix = torch.zeros(parts, length)
    for part in range(parts):
        start, stop = part * length // parts, -(-(part + 1) * length // parts)
        matrix[part, start:stop] = 1 / (stop - start)
    return matrix
