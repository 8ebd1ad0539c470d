"""SAM 3 checkpoints with random weights, as `save_pretrained` writes them; needs transformers 5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers as tf

from support.clip_vocabulary import MERGES, write_vocabulary

__all__ = ["SIZE", "checkpoint", "large_checkpoint", "lite_checkpoint"]

SIZE = 112
_PART = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_layers": 2}


def checkpoint(folder: Path, size: int = SIZE) -> Any:
    """Save a tiny SAM 3."""
    words = _save_inputs(folder, size)
    text = {**_PART, "num_hidden_layers": 2, "max_position_embeddings": 32, "hidden_act": "gelu"}
    text |= {"vocab_size": words, "bos_token_id": words - 2, "eos_token_id": words - 1, "projection_dim": 16}
    text |= {"model_type": "clip_text_model"}
    return _save(folder, tf.Sam3Model(tf.Sam3Config(**_parts(size), text_config=text)))


def lite_checkpoint(folder: Path) -> Any:
    """Save a tiny SAM 3 with MobileCLIP's text encoder."""
    words = _save_inputs(folder, SIZE)
    text = {**_PART, "num_hidden_layers": 4, "max_position_embeddings": 32, "vocab_size": words, "projection_dim": 16}
    return _save(folder, tf.Sam3LiteTextModel(tf.Sam3LiteTextConfig(**_parts(SIZE), text_config=text)))


def large_checkpoint(folder: Path) -> None:
    """Save a SAM 3 of the published size, 840 million parameters; the tokenizer knows few words."""
    words = write_vocabulary(folder, MERGES)
    tf.CLIPTokenizerFast.from_pretrained(folder).save_pretrained(folder)
    # Its class needs torchvision.
    settings = {"image_processor_type": "Sam3ImageProcessor", "size": {"height": 1008, "width": 1008}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    torch.manual_seed(0)
    config = tf.Sam3Config()
    config.text_config.bos_token_id, config.text_config.eos_token_id = words - 2, words - 1
    network = tf.Sam3Model(config)
    _spread_scores(network, torch.Generator().manual_seed(1))
    network.save_pretrained(folder)


def _parts(size: int) -> dict[str, Any]:
    backbone = {**_PART, "model_type": "sam3_vit_model", "num_hidden_layers": 4, "image_size": size}
    backbone |= {"window_size": 4, "global_attn_indexes": [1, 3], "pretrain_image_size": 56}
    return {
        "vision_config": {"backbone_config": backbone, "fpn_hidden_size": 32},
        "geometry_encoder_config": dict(_PART),
        "detr_encoder_config": dict(_PART),
        "detr_decoder_config": {**_PART, "num_queries": 20},
        "mask_decoder_config": {"hidden_size": 32, "num_attention_heads": 4},
    }


def _save_inputs(folder: Path, size: int) -> int:
    words = write_vocabulary(folder, MERGES)
    tf.CLIPTokenizerFast.from_pretrained(folder).save_pretrained(folder)
    tf.Sam3ImageProcessor(size={"height": size, "width": size}).save_pretrained(folder)
    (folder / "LICENSE").write_text("SAM License, as the checkpoint has it.\n", encoding="utf-8")
    torch.manual_seed(1)  # for the network, which is made next
    return words


def _save(folder: Path, network: Any) -> Any:
    """Spread the weights, so that objects and their scores differ."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    _spread_scores(network, generator)
    network.eval().save_pretrained(folder)
    return network


def _spread_scores(network: Any, generator: torch.Generator) -> None:
    """Let objects, their scores and their masks differ."""
    with torch.no_grad():
        decoder, masks = network.detr_decoder, network.mask_decoder
        decoder.presence_head.layer3.bias.add_(3)
        decoder.query_embed.weight.mul_(20)
        decoder.reference_points.weight.normal_(0, 1, generator=generator)
        network.dot_product_scoring.query_proj.weight.mul_(20)
        masks.mask_embedder.layers[-1].weight.mul_(100)
        masks.semantic_projection.weight.mul_(20)
