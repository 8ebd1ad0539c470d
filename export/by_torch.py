"""Export of a submodel by torch itself, for models of which the version of transformers does not go with optimum."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from .graphs import OPSET
from .submodel import Submodel

__all__ = ["export_by_torch"]


class _Positional(nn.Module):
    """A submodel with inputs by position and a tuple of outputs, as the exporter takes it."""

    def __init__(self, submodel: Submodel) -> None:
        super().__init__()
        self.module = submodel.module
        self._inputs, self._outputs = tuple(submodel.inputs), tuple(submodel.outputs)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = self.module(**dict(zip(self._inputs, inputs, strict=True)))
        return tuple(outputs[name] for name in self._outputs)


def export_by_torch(submodel: Submodel, path: Path) -> None:
    """Write a submodel to a file.

    The exporter that traces is used: the newer one fails on the attention of SAM 3 (torch 2.13).
    """
    example = submodel.example_inputs()
    tensors = {**submodel.inputs, **submodel.outputs}
    with torch.inference_mode():
        torch.onnx.export(
            _Positional(submodel).eval(),
            tuple(torch.from_numpy(example[name]) for name in submodel.inputs),
            str(path),
            input_names=[*submodel.inputs],
            output_names=[*submodel.outputs],
            dynamic_axes={name: tensor.dynamic_axes for name, tensor in tensors.items()},
            opset_version=OPSET,
            dynamo=False,
        )
