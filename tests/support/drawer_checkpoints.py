"""Segment Anything checkpoints with random weights, as `save_pretrained` writes them, and bundles that draw with them.

The finder of the bundles is the embedded model's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import (
    EdgeTamConfig,
    EdgeTamModel,
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2Model,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VisionConfig,
    SamConfig,
    SamHQConfig,
    SamHQModel,
    SamImageProcessor,
    SamModel,
)
from transformers.models.edgetam.configuration_edgetam import EdgeTamVisionConfig

from automask.export.architectures.sam2.repvit import RepVitConfig

SIZE = 128
_GAIN = 60


def random_network(kind: str) -> Any:
    """Return a network whose weights, those at zero too, are random, and whose masks are neither empty nor full."""
    torch.manual_seed(0)
    network = _NETWORKS[kind]().eval()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in network.named_parameters():
        # Relative positions and the like start at zero, where they would prove nothing.
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data.add_(noise * (0.5 if "rel_pos" in name or "pos_embed" in name else 0.1))
    # As trained networks do: logits far from zero, and predicted IoUs far from each other, so that rounding does not
    # decide which mask is taken.
    decoder = network.mask_decoder
    for kernel in (*decoder.output_hypernetworks_mlps, *([decoder.hq_mask_mlp] if kind == "sam_hq" else [])):
        kernel.proj_out.weight.data *= _GAIN
    decoder.iou_prediction_head.proj_out.weight.data *= 4
    # Positions of random points, not of SAM's own spread, which transformers multiplies by the size of the network.
    frequencies = torch.randn(network.shared_image_embedding.positional_embedding.shape, generator=generator)
    for part in (network.shared_image_embedding, network.prompt_encoder.shared_embedding):
        part.positional_embedding = frequencies.clone()
    return network


def save(network: Any, folder: Path) -> Path:
    """Write a network and the settings of its image processor."""
    if network.config.model_type == "edgetam":
        _save_edgetam(network, folder)
    else:
        network.save_pretrained(folder)
    if network.config.model_type.startswith(("sam2", "edgetam")):
        size = {"height": SIZE, "width": SIZE}
        settings = {"image_processor_type": "Sam2ImageProcessorFast", "size": size, "resample": 2}
        (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    else:
        square = {"height": SIZE, "width": SIZE}
        SamImageProcessor(size={"longest_edge": SIZE}, pad_size=square).save_pretrained(folder)
    return folder


def _save_edgetam(network: EdgeTamModel, folder: Path) -> None:
    """Write what `save_pretrained` does where timm is installed and the Hub is there for the default configuration."""
    folder.mkdir(parents=True)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = network.config.to_dict()
    config["vision_config"]["backbone_config"] = {
        "model_type": "timm_wrapper",
        "architecture": "repvit_m1.dist_in1k",
        "model_args": {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _vision_transformer() -> dict[str, Any]:
    return {
        "hidden_size": 32, "output_channels": 32, "num_hidden_layers": 4, "num_attention_heads": 2,
        "image_size": SIZE, "patch_size": 16, "window_size": 3, "global_attn_indexes": [1, 3], "mlp_dim": 64,
        "num_pos_feats": 16,
    }  # fmt: skip


def _prompts() -> dict[str, Any]:
    return {"hidden_size": 32, "image_size": SIZE, "patch_size": 16, "mask_input_channels": 4}


def _decoder() -> dict[str, Any]:
    return {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32}


def _sam() -> nn.Module:
    prompts = _prompts() | {"image_embedding_size": SIZE // 16}
    return SamModel(
        SamConfig(vision_config=_vision_transformer(), prompt_encoder_config=prompts, mask_decoder_config=_decoder())
    )


def _sam_hq() -> nn.Module:
    prompts, decoder = _prompts() | {"image_embedding_size": SIZE // 16}, _decoder() | {"vit_dim": 32}
    return SamHQModel(
        SamHQConfig(vision_config=_vision_transformer(), prompt_encoder_config=prompts, mask_decoder_config=decoder)
    )


def _hiera() -> Sam2VisionConfig:
    backbone = Sam2HieraDetConfig(
        hidden_size=16, num_attention_heads=1, image_size=[SIZE, SIZE],
        window_positional_embedding_background_size=[2, 2], blocks_per_stage=[1, 2, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128], num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 4, 2], global_attention_blocks=[4],
    )  # fmt: skip
    return Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[128, 64, 32, 16],
        backbone_feature_sizes=[[SIZE // 4] * 2, [SIZE // 8] * 2, [SIZE // 16] * 2],
        fpn_hidden_size=32,
    )


def _sam2() -> nn.Module:
    return Sam2Model(
        Sam2Config(vision_config=_hiera(), prompt_encoder_config=_prompts(), mask_decoder_config=_decoder())
    )


def _sam2_video() -> nn.Module:
    return Sam2VideoModel(
        Sam2VideoConfig(
            vision_config=_hiera(), prompt_encoder_config=_prompts(), mask_decoder_config=_decoder(),
            image_size=SIZE, memory_attention_hidden_size=32, memory_attention_num_layers=1,
            memory_attention_feed_forward_hidden_size=32, memory_attention_rope_feat_sizes=[8, 8],
            memory_encoder_hidden_size=32, memory_encoder_output_channels=16, mask_downsampler_embed_dim=32,
            memory_fuser_embed_dim=32, memory_fuser_intermediate_dim=32,
        )
    )  # fmt: skip


def _edgetam() -> nn.Module:
    vision = EdgeTamVisionConfig(
        backbone_config=RepVitConfig(),
        backbone_feature_sizes=[[SIZE // 4] * 2, [SIZE // 8] * 2, [SIZE // 16] * 2],
        fpn_hidden_size=32,
    )
    return EdgeTamModel(
        EdgeTamConfig(vision_config=vision, prompt_encoder_config=_prompts(), mask_decoder_config=_decoder())
    )


_NETWORKS = {"edgetam": _edgetam, "sam": _sam, "sam_hq": _sam_hq, "sam2": _sam2, "sam2_video": _sam2_video}
