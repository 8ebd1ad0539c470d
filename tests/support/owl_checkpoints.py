"""OWL-ViT and OWLv2 checkpoints with random weights, as `save_pretrained` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPTokenizerFast,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessor,
)

from support.clip_vocabulary import MERGES, write_vocabulary

__all__ = ["KINDS", "checkpoint"]

KINDS: dict[str, tuple[Any, Any, Any]] = {
    "owlvit": (OwlViTConfig, OwlViTForObjectDetection, OwlViTImageProcessor),
    "owlv2": (Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor),
}


def checkpoint(folder: Path, kind: str, *, size: int = 64, **changes: Any) -> Any:
    """Save a whole checkpoint of ``owlvit`` or ``owlv2``; its scores spread over images like trained ones."""
    config_class, model_class, processor_class = KINDS[kind]
    words = write_vocabulary(folder, MERGES)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = {
        "vision_config": {**sizes, "image_size": size, "patch_size": 16},
        "text_config": {
            **sizes, "vocab_size": words, "max_position_embeddings": 16,
            "bos_token_id": words - 2, "eos_token_id": words - 1, "pad_token_id": 0,
        },
        "projection_dim": 32,
    }  # fmt: skip
    for name, value in changes.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) else value  # type: ignore[dict-item]
    torch.manual_seed(0)
    model = model_class(config_class(**config)).eval()
    _spread(model)
    model.save_pretrained(folder)
    tokenizer = CLIPTokenizerFast.from_pretrained(folder, model_max_length=16, pad_token="!")  # noqa: S106
    tokenizer.save_pretrained(folder)
    processor_class(size={"height": size, "width": size}).save_pretrained(folder)
    return model


def _spread(model: Any) -> None:
    """Scale the weights, so that boxes differ in size and place, and scores lie on both sides of any threshold."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
        model.base_model.text_model.embeddings.token_embedding.weight.mul_(10)
        side = model.config.vision_config.image_size
        features = model.image_embedder(pixel_values=torch.randn(1, 3, side, side, generator=generator))[0].flatten(
            1, 2
        )
        for head in (model.box_head, getattr(model, "objectness_head", model.box_head)):
            head.dense2.weight.div_(2 * head(features).std())
            head.dense2.bias.zero_()
        for weight in (model.class_head.logit_shift.weight, model.class_head.logit_scale.weight):
            weight.mul_(0.1)
        model.class_head.logit_shift.bias.fill_(-0.2)
        model.class_head.logit_scale.bias.fill_(8)
