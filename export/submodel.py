"""One graph of a model, before it is exported: its torch module and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .graphs import Tensor
from .parity import Array

__all__ = ["Submodel"]

# Lengths of dynamic axes while tracing. All but the batch are longer than one, so that no code path for a single one is
# traced; they differ, so that no two axes of a graph become one. "texts" are encoded one by one, "classes" are theirs
# in a decoder, "phrases" are parts of one text.
_LENGTHS = {"batch": 1, "prompts": 2, "points": 3, "texts": 4, "classes": 5, "phrases": 6, "length": 7}
_OTHER_LENGTH = 3


@dataclass(frozen=True)
class Submodel:
    """One graph of a model.

    Attributes
    ----------
    module
        Takes the inputs by name and returns a dict of the outputs; its attribute `config` is the model's.
    example
        Inputs to trace with, by name; by default ones and noise. Give them where a graph needs meaningful ones.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    example: Mapping[str, Array] | None = None

    def example_inputs(self) -> dict[str, Array]:
        """Return the inputs to trace with."""
        return dict(self.example or {name: _example(one) for name, one in self.inputs.items()})

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the torch module on arrays; return the outputs by name."""
        with torch.inference_mode():
            outputs = self.module(**{name: torch.tensor(array) for name, array in inputs.items()})
        return {name: outputs[name].numpy() for name in self.outputs}


def _example(tensor: Tensor) -> Array:
    shape = tuple(_LENGTHS.get(length, _OTHER_LENGTH) if isinstance(length, str) else length for length in tensor.shape)
    if tensor.dtype == "int64":
        return np.ones(shape, np.int64)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
