"""OmDet-Turbo checkpoints with random weights, as `save_pretrained` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPTokenizerFast,
    DetrImageProcessor,
    OmDetTurboConfig,
    OmDetTurboForObjectDetection,
    SwinConfig,
)

from support.clip_vocabulary import MERGES, write_vocabulary

__all__ = ["SIZE", "checkpoint"]

SIZE = 128


def checkpoint(folder: Path, **changes: Any) -> OmDetTurboForObjectDetection:
    """Save a whole checkpoint with a backbone of transformers; its scores spread over images like trained ones."""
    words = write_vocabulary(folder, MERGES)
    config: dict[str, Any] = {
        "use_timm_backbone": False,
        "backbone": None,
        "backbone_config": SwinConfig(
            window_size=7, image_size=SIZE, embed_dim=16, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8],
            out_indices=[2, 3, 4],
        ),
        "apply_layernorm_after_vision_backbone": False,
        "image_size": SIZE,
        "text_config": {
            "model_type": "clip_text_model", "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 77, "projection_dim": 48, "vocab_size": words,
            "bos_token_id": words - 2, "eos_token_id": words - 1, "pad_token_id": words - 1,
        },
        "text_projection_in_dim": 48, "text_projection_out_dim": 48, "class_embed_dim": 48,
        "task_encoder_hidden_dim": 64, "num_queries": 30, "encoder_hidden_dim": 32,
        "encoder_in_channels": [32, 64, 128],
        "vision_features_channels": [32, 32, 32], "encoder_dim_feedforward": 64, "decoder_hidden_dim": 32,
        "decoder_num_heads": 4, "decoder_num_layers": 2, "decoder_dim_feedforward": 64,
    }  # fmt: skip
    torch.manual_seed(0)
    model = OmDetTurboForObjectDetection(OmDetTurboConfig(**{**config, **changes})).eval()
    _spread(model)
    model.save_pretrained(folder)
    CLIPTokenizerFast.from_pretrained(folder, model_max_length=77).save_pretrained(folder)
    DetrImageProcessor(
        size={"height": SIZE, "width": SIZE}, do_rescale=False, do_pad=False,
        image_mean=[123.675, 116.28, 103.53], image_std=[58.395, 57.12, 57.375],
    ).save_pretrained(folder)  # fmt: skip
    return model


def _spread(model: OmDetTurboForObjectDetection) -> None:
    """Move the weights, so that boxes differ in size and place, and scores lie on both sides of any threshold."""
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
        for head in model.decoder.decoder_bbox_head:
            head.layers[-1].weight.normal_(0, 0.3, generator=generator)
