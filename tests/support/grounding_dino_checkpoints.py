"""Checkpoints of Grounding DINO and MM-Grounding-DINO with random weights, as `save_pretrained` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    SwinConfig,
)

from .bert_vocabulary import VOCABULARY, bert_tokenizer

__all__ = ["KINDS", "checkpoint", "tiny_config"]

KINDS = {
    "grounding-dino": (GroundingDinoConfig, GroundingDinoForObjectDetection),
    "mm-grounding-dino": (MMGroundingDinoConfig, MMGroundingDinoForObjectDetection),
}


def tiny_config(**changes: Any) -> dict[str, Any]:
    """Return a configuration with 30 queries; BERT has two layers, encoder and decoder one or two."""
    swin = {"window_size": 7, "image_size": 224, "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]}
    bert = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    return {
        "backbone_config": SwinConfig(**swin, out_indices=[2, 3, 4]).to_dict(),
        "text_config": BertConfig(**bert, vocab_size=len(VOCABULARY)).to_dict(),
        "d_model": 32,
        "num_queries": 30,
        "encoder_layers": 1,
        "decoder_layers": 2,
        **heads,
        **changes,
    }


def checkpoint(folder: Path, kind: str, config: dict[str, Any], *, noise: float = 0.05, scale: float = 0.2) -> Any:
    """Save a whole checkpoint.

    Noise on all weights and a smaller `scale` of the words spread boxes and scores as training does. The queries are
    equal: untrained ones make a result depend on the order of the image's cells by score, which int8 changes.
    """
    torch.manual_seed(0)
    config_type, model_type = KINDS[kind]
    model = model_type(config_type(**config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=noise)
        model.model.encoder.layers[-1].text_enhancer_layer.layer_norm_after.weight *= scale
        queries = model.model.query_position_embeddings.weight
        queries[:] = queries[:1].clone()
        for head in model.class_embed:
            if hasattr(head, "bias"):  # which starts at a score of 0.01
                head.bias.zero_()
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    GroundingDinoProcessor(GroundingDinoImageProcessor(), bert_tokenizer(folder)).save_pretrained(folder)
    return model
