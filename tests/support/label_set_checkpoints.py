"""Checkpoints with a fixed set of labels and random weights, as `save_pretrained` writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from torch import nn

LABELS = ("person", "cat", "dining table", "sky", "wall")
STAGES = ["stage1", "stage2", "stage3", "stage4"]
_DETR: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_queries": 10,
}  # fmt: skip
_ANCHORS = (
    8 * 8 + 4 * 4 + 2 * 2
)  # at 64 px: all become queries, because the best ones of random weights are nearly equal
_RT: dict[str, Any] = {
    "d_model": 32, "encoder_hidden_dim": 32, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
    "decoder_in_channels": [32, 32, 32], "num_queries": _ANCHORS, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "anchor_image_size": None,
}  # fmt: skip
_VIT: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64, "patch_size": 16,
}  # fmt: skip


def _resnet(out: list[str]) -> Any:
    return tf.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], layer_type="basic", out_features=out
    )


def _rt_resnet() -> dict[str, Any]:
    return {
        "model_type": "rt_detr_resnet", "embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1],
        "layer_type": "basic", "out_features": STAGES[1:],
    }  # fmt: skip


def _hgnet() -> dict[str, Any]:
    return {
        "model_type": "hgnet_v2", "stem_channels": [3, 8, 8], "stage_in_channels": [8, 16, 24, 32],
        "stage_mid_channels": [4, 8, 8, 8], "stage_out_channels": [16, 24, 32, 40], "stage_num_blocks": [1, 1, 1, 1],
        "stage_downsample": [False, True, True, True], "stage_light_block": [False, False, True, True],
        "stage_kernel_size": [3, 3, 5, 5], "stage_numb_of_layers": [1, 1, 1, 1], "embedding_size": 8,
        "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1], "out_features": STAGES[1:], "out_indices": [2, 3, 4],
        "use_learnable_affine_block": True,
    }  # fmt: skip


def _swin() -> Any:
    return tf.SwinConfig(
        image_size=64, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2], window_size=4, out_features=STAGES
    )


def _old_detr(kind: type, out: list[str]) -> Any:
    backbone = {"use_timm_backbone": False, "backbone": None, "use_pretrained_backbone": False}
    return kind(**backbone, backbone_config=_resnet(out), **_DETR)


def _upernet() -> Any:
    backbone = tf.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], out_features=STAGES)
    return tf.UperNetConfig(backbone_config=backbone, hidden_size=32, auxiliary_in_channels=24)


_CONFIGS: dict[str, Callable[[], Any]] = {
    "rt_detr": lambda: tf.RTDetrConfig(backbone_config=_rt_resnet(), encoder_in_channels=[16, 24, 32], **_RT),
    "rt_detr_v2": lambda: tf.RTDetrV2Config(backbone_config=_rt_resnet(), encoder_in_channels=[16, 24, 32], **_RT),
    "d_fine": lambda: tf.DFineConfig(
        backbone_config=_hgnet(), encoder_in_channels=[24, 32, 40], decoder_n_points=[3, 6, 3], **_RT
    ),
    "detr": lambda: _old_detr(tf.DetrConfig, ["stage4"]),
    "conditional_detr": lambda: _old_detr(tf.ConditionalDetrConfig, ["stage4"]),
    "dab-detr": lambda: _old_detr(tf.DabDetrConfig, ["stage4"]),
    "table-transformer": lambda: _old_detr(tf.TableTransformerConfig, ["stage4"]),
    "deformable_detr": lambda: _old_detr(tf.DeformableDetrConfig, STAGES[1:]),
    "yolos": lambda: tf.YolosConfig(
        **_VIT | {"num_hidden_layers": 2}, image_size=[64, 64], num_detection_tokens=10
    ),
    "eomt": lambda: tf.EomtConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=64, patch_size=16, num_blocks=2,
        num_queries=10, mlp_ratio=2,
    ),
    "mask2former": lambda: tf.Mask2FormerConfig(
        backbone_config=_swin(), hidden_dim=32, feature_size=32, mask_feature_size=32, dim_feedforward=32,
        encoder_feedforward_dim=32, encoder_layers=1, decoder_layers=2, num_attention_heads=2, num_queries=10,
    ),
    "maskformer": lambda: tf.MaskFormerConfig(
        backbone_config=_swin(), decoder_config=tf.DetrConfig(**_DETR), fpn_feature_size=32, mask_feature_size=32
    ),
    "segformer": lambda: tf.SegformerConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 2], decoder_hidden_size=32
    ),
    "upernet": _upernet,
    "beit": lambda: tf.BeitConfig(
        **_VIT, image_size=64, out_indices=[1, 2, 3, 4], use_relative_position_bias=True
    ),
    "dpt": lambda: tf.DPTConfig(
        **_VIT, image_size=64, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 16, 24, 32],
        fusion_hidden_size=16,
    ),
}  # fmt: skip


_FITTED = {"shortest_edge": 64, "longest_edge": 96}
_PROCESSORS: dict[str, Any] = {
    "rt_detr": (tf.RTDetrImageProcessor, None),
    "rt_detr_v2": (tf.RTDetrImageProcessor, None),
    "d_fine": (tf.RTDetrImageProcessor, None),
    "detr": (tf.DetrImageProcessor, _FITTED),
    "conditional_detr": (tf.ConditionalDetrImageProcessor, _FITTED),
    "dab-detr": (tf.ConditionalDetrImageProcessor, _FITTED),
    "table-transformer": (tf.DetrImageProcessor, _FITTED),
    "deformable_detr": (tf.DeformableDetrImageProcessor, {"shortest_edge": 160, "longest_edge": 160}),
    "yolos": (tf.YolosImageProcessor, _FITTED),
    "eomt": (tf.EomtImageProcessor, {"shortest_edge": 64, "longest_edge": 64}),
    "mask2former": (tf.Mask2FormerImageProcessor, None),
    "maskformer": (tf.MaskFormerImageProcessor, _FITTED),
    "segformer": (tf.SegformerImageProcessor, None),
    "upernet": (tf.SegformerImageProcessor, None),
    "beit": (tf.BeitImageProcessor, None),
    "dpt": (tf.DPTImageProcessor, None),
}
_CLASSES = {
    "regions": "AutoModelForUniversalSegmentation",
    "label_maps": "AutoModelForSemanticSegmentation",
    "detectors": "AutoModelForObjectDetection",
}


def save_checkpoint(
    folder: Path,
    architecture: str,
    name: str,
    labels: tuple[str, ...] = LABELS,
    *,
    config: Any = None,
    noise: float = 0.05,
) -> nn.Module:
    """Save a whole checkpoint of a model type, tiny without a `config`; return the network."""
    torch.manual_seed(0)
    config = config or _CONFIGS[name]()
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    network = getattr(tf, _CLASSES[architecture]).from_config(config).eval()
    _shake(network, noise)
    network.save_pretrained(folder)
    kind, size = _PROCESSORS[name]
    settings: dict[str, Any] = (
        {"do_center_crop": False} if name == "beit" else {"do_pad": True} if size and name != "maskformer" else {}
    )
    kind(size=size or {"height": 64, "width": 64}, **settings).save_pretrained(folder)
    return network


def _shake(network: nn.Module, amount: float) -> None:
    """Add noise to all weights: many initialisations are zero, or make all queries alike."""
    noise = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=noise) * amount)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) or type(module).__name__.endswith("FrozenBatchNorm2d"):
            module.running_mean.normal_(0, 0.1, generator=noise)
            module.running_var.uniform_(0.5, 1.5, generator=noise)
