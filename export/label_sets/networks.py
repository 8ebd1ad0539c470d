"""Networks of transformers' automatic classes, and their outputs' shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from automask.errors import MissingDependencyError, ParameterError

from ..checkpoint import Checkpoint, CheckpointError
from ..graphs import Tensor
from ..submodels import Submodel, quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["load_network", "submodel"]


def load_network(auto_class: str, checkpoint: Checkpoint) -> PreTrainedModel:
    """Load the weights in float32, by an automatic class of transformers.

    Raises
    ------
    CheckpointError
        The weights cannot be read, or are incomplete.
    MissingDependencyError
        The backbone is timm's.
    """
    import transformers

    if checkpoint.config.get("use_timm_backbone"):
        raise MissingDependencyError(
            f"the backbone of {checkpoint.name} is timm's, which this export does not use; take a checkpoint with the "
            "backbone of transformers (use_timm_backbone: false): Facebook's DETR has it under --revision no_timm"
        )
    try:
        with quiet():
            network, info = getattr(transformers, auto_class).from_pretrained(
                checkpoint.folder, local_files_only=True, output_loading_info=True, dtype="float32"
            )
    except Exception as error:  # torch, safetensors and pickle each raise their own
        raise CheckpointError(f"the weights of {checkpoint.name} cannot be read: {error}") from error
    # transformers initialises missing tensors at random.
    if missing := sorted(info["missing_keys"]):
        raise CheckpointError(f"the weights of {checkpoint.name} lack {len(missing)} tensors, such as {missing[0]}")
    evaluated: PreTrainedModel = network.eval()
    return evaluated


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
