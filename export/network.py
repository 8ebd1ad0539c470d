"""Networks of transformers: the weights of a checkpoint, all of them, in float32."""

from __future__ import annotations

from typing import Any, TypeVar

from .checkpoint import Checkpoint, CheckpointError
from .submodels import quiet

__all__ = ["load_network"]

N = TypeVar("N")


def load_network(checkpoint: Checkpoint, kind: type[N], config: object | None = None) -> N:
    """Load a network for inference.

    Parameters
    ----------
    kind
        Its class in transformers.
    config
        Its configuration; None for the checkpoint's own.

    Raises
    ------
    CheckpointError
        The weights cannot be read, are not finite, or are incomplete: transformers would initialise the missing ones at
        random.
    """
    from transformers.utils.logging import disable_progress_bar

    constructor: Any = kind
    disable_progress_bar()
    try:
        with quiet():
            network, info = constructor.from_pretrained(
                checkpoint.folder, config=config, local_files_only=True, output_loading_info=True, dtype="float32"
            )
    except Exception as error:  # torch, safetensors and pickle each raise their own
        raise CheckpointError(f"the weights of {checkpoint.name} cannot be read: {error}") from error
    if missing := sorted(info["missing_keys"]):
        raise CheckpointError(f"the weights of {checkpoint.name} lack {len(missing)} tensors, such as {missing[0]}")
    if broken := [name for name, weight in network.named_parameters() if not weight.isfinite().all()]:
        raise CheckpointError(
            f"the weights of {checkpoint.name} have infinite numbers or NaN in {len(broken)} tensors, such as "
            f"{broken[0]}"
        )
    evaluated: N = network.eval()
    return evaluated
