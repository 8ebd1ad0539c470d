"""Networks as graphs, with the shapes that their outputs have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from automask.errors import ParameterError

from ..graphs import Tensor
from ..submodels import Submodel

__all__ = ["submodel"]


def submodel(module: nn.Module, inputs: Mapping[str, Tensor]) -> Submodel:
    """Return the graph of a module, with the shapes that its outputs have for its inputs.

    Raises
    ------
    ParameterError
        The network does not take images of this size.
    """
    example: dict[str, Any] = {
        name: torch.ones([1 if isinstance(length, str) else length for length in tensor.shape]).to(
            getattr(torch, tensor.dtype)
        )
        for name, tensor in inputs.items()
    }
    try:
        with torch.inference_mode():
            outputs = module(**example)
    except (RuntimeError, ValueError) as error:
        size = inputs["pixel_values"].shape[-1]
        raise ParameterError("image size", f"be one that the network takes ({error})", size) from error
    shapes = {name: Tensor(("batch", *output.shape[1:])) for name, output in outputs.items()}
    return Submodel(module, dict(inputs), shapes)
