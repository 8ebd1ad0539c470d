"""DETR and its successors with a ResNet of timm, loaded into the ResNet of transformers, which needs no timm.

Both are the same network (arXiv:1512.03385, with the stride in the 3 × 3 convolution); only the names differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...checkpoint import Checkpoint, CheckpointError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

__all__ = ["has_timm_backbone", "load_without_timm"]

_DEPTHS = {"resnet50": [3, 4, 6, 3], "resnet101": [3, 4, 23, 3]}
_PREFIX = "backbone.conv_encoder.model."
_NAMES = (
    (re.compile(r"^conv1\."), "embedder.embedder.convolution."),
    (re.compile(r"^bn1\."), "embedder.embedder.normalization."),
    (re.compile(r"^layer(\d)\.(\d+)\.downsample\.0\."), "encoder.stages.{0}.layers.{1}.shortcut.convolution."),
    (re.compile(r"^layer(\d)\.(\d+)\.downsample\.1\."), "encoder.stages.{0}.layers.{1}.shortcut.normalization."),
    (re.compile(r"^layer(\d)\.(\d+)\.conv(\d)\."), "encoder.stages.{0}.layers.{1}.layer.{2}.convolution."),
    (re.compile(r"^layer(\d)\.(\d+)\.bn(\d)\."), "encoder.stages.{0}.layers.{1}.layer.{2}.normalization."),
)


def has_timm_backbone(checkpoint: Checkpoint) -> bool:
    """Return whether the configuration asks for a network of timm. Its default, which old files leave out, is yes."""
    config = checkpoint.config
    kind = config.get("model_type")
    default = kind in {"detr", "conditional_detr", "deformable_detr", "table-transformer", "dab-detr"}
    return bool(config.get("use_timm_backbone", default)) and not config.get("backbone_config")


def load_without_timm(checkpoint: Checkpoint, auto_class: Any) -> PreTrainedModel:  # noqa: ANN401 (no typed base)
    """Load the weights in float32.

    Raises
    ------
    CheckpointError
        The backbone is not a plain ResNet-50 or -101, or the weights cannot be read or are incomplete.
    """
    network: PreTrainedModel = auto_class.from_config(_config(checkpoint)).float().eval()
    try:
        weights = {_rename(name): tensor for file in checkpoint.weights for name, tensor in _read(file).items()}
        missing = network.load_state_dict(weights, strict=False).missing_keys
    except Exception as error:  # torch, safetensors and pickle each raise their own
        raise CheckpointError(f"the weights of {checkpoint.name} cannot be read: {error}") from error
    # A tensor that several layers share is stored once, under one of its names.
    own = network.state_dict()
    loaded = {own[name].data_ptr() for name in weights.keys() & own.keys()}
    if lacking := sorted(name for name in missing if own[name].data_ptr() not in loaded):
        raise CheckpointError(f"the weights of {checkpoint.name} lack {len(lacking)} tensors, such as {lacking[0]}")
    return network


def _config(checkpoint: Checkpoint) -> PretrainedConfig:
    """Return the configuration with the ResNet of transformers instead."""
    from transformers import AutoConfig, ResNetConfig

    given = checkpoint.config
    backbone, is_dilated = given.get("backbone", "resnet50"), bool(given.get("dilation"))
    if backbone not in _DEPTHS or is_dilated:
        raise CheckpointError(
            f"{checkpoint.name} has the backbone {backbone} of timm{', dilated' if is_dilated else ''}; this export "
            f"can load {' and '.join(_DEPTHS)}, not dilated"
        )
    is_pyramid = given["model_type"] == "deformable_detr" and given.get("num_feature_levels", 4) > 1
    stages = ["stage2", "stage3", "stage4"] if is_pyramid else ["stage4"]
    changes = {
        "use_timm_backbone": False,
        "use_pretrained_backbone": False,
        "backbone": None,
        "backbone_kwargs": None,
        "backbone_config": ResNetConfig(depths=_DEPTHS[backbone], out_features=stages),
    }
    settings = {name: value for name, value in given.items() if name != "model_type"}
    config: PretrainedConfig = AutoConfig.for_model(given["model_type"], **settings | changes)
    return config


def _read(file: Path) -> Mapping[str, torch.Tensor]:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    weights: Mapping[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return weights


def _rename(name: str) -> str:
    """Return a tensor's name in transformers."""
    before, prefix, own = name.partition(_PREFIX)
    if not prefix:
        return name
    for pattern, names in _NAMES:
        if match := pattern.match(own):
            numbers = [int(number) for number in match.groups()]
            # Stages and layers' convolutions count from 1 in timm; blocks count from 0 in both.
            shifted = [number - (at != 1) for at, number in enumerate(numbers)]
            return f"{before}{prefix}{names.format(*shifted)}{own[match.end() :]}"
    return name
