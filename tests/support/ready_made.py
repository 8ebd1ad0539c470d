"""Repositories in the layout of transformers.js, as its converter writes them: whole networks with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from automask.export.submodels import quiet

from . import clipseg_checkpoints, grounding_dino_checkpoints, owl_checkpoints

__all__ = ["write_clipseg", "write_grounding_dino", "write_owlvit"]


class _Whole(nn.Module):  # type: ignore[misc]  # torch has no types here
    """A network of transformers with its outputs in order."""

    def __init__(self, network: Any, inputs: list[str], outputs: list[str]) -> None:
        super().__init__()
        self._network, self._inputs, self._outputs = network, inputs, outputs

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self._network(**dict(zip(self._inputs, tensors, strict=True)))
        return tuple(found[name] for name in self._outputs)


def _write_graphs(
    folder: Path, network: Any, example: dict[str, torch.Tensor], axes: dict[str, list[str]], outputs: list[str]
) -> None:
    """Write ``onnx/model.onnx`` and ``onnx/model_quantized.onnx`` beside a checkpoint, and remove its weights.

    `axes` has the names of the axes of each tensor, "" where the length is fixed.
    """
    path = folder / "onnx" / "model.onnx"
    path.parent.mkdir()
    with quiet(), torch.no_grad():
        torch.onnx.export(
            # In evaluation mode: the exporter gives the network back in the mode of what is around it.
            _Whole(network, list(example), outputs).eval(),
            tuple(example.values()),
            path,
            input_names=list(example),
            output_names=outputs,
            dynamic_axes={name: {at: axis for at, axis in enumerate(axes[name]) if axis} for name in axes},
            opset_version=16,
            dynamo=False,
        )
    quantize_dynamic(path, path.with_name("model_quantized.onnx"), weight_type=QuantType.QUInt8)
    (folder / "model.safetensors").unlink()


def write_clipseg(folder: Path) -> Any:
    """Write a repository of CLIPSeg; return the network."""
    network = clipseg_checkpoints.checkpoint(folder, clipseg_checkpoints.tiny_config(), size=64, gain=40.0)
    words = network.config.text_config.vocab_size
    ids = torch.tensor([[words - 2, 5, 6, words - 1]] * 2)
    example = {"input_ids": ids, "pixel_values": torch.zeros(2, 3, 64, 64), "attention_mask": torch.ones_like(ids)}
    text = ["batch", "length"]
    axes = {
        "input_ids": text,
        "pixel_values": ["batch", "", "", ""],
        "attention_mask": text,
        "logits": ["batch", "", ""],
    }
    _write_graphs(folder, network, example, axes, ["logits"])
    return network


def write_owlvit(folder: Path) -> Any:
    """Write a repository of OWL-ViT; return the network."""
    network = owl_checkpoints.checkpoint(folder, "owlvit")
    words = network.config.text_config.vocab_size
    ids = torch.tensor([[words - 2, 5, 6, words - 1, *[0] * 12]] * 2)
    example = {"input_ids": ids, "pixel_values": torch.zeros(1, 3, 64, 64), "attention_mask": (ids > 0).long()}
    text, images = ["texts", "length"], ["images", "", "", ""]
    axes = {
        "input_ids": text, "pixel_values": images, "attention_mask": text,
        "logits": ["images", "", "texts"], "pred_boxes": ["images", "", ""],
        "text_embeds": ["images", "texts", ""], "image_embeds": images,
    }  # fmt: skip
    _write_graphs(folder, network, example, axes, ["logits", "pred_boxes", "text_embeds", "image_embeds"])
    return network


def write_grounding_dino(folder: Path, size: int) -> Any:
    """Write a repository of Grounding DINO, traced with one phrase and an image of one size; return the network."""
    config = grounding_dino_checkpoints.tiny_config()
    network = grounding_dino_checkpoints.checkpoint(folder, "grounding-dino", config)
    ids = torch.tensor([[101, 1100, 1104, 1012, 102]])
    example = {
        "pixel_values": torch.zeros(1, 3, size, size), "input_ids": ids, "token_type_ids": torch.zeros_like(ids),
        "attention_mask": torch.ones_like(ids), "pixel_mask": torch.ones(1, size, size, dtype=torch.long),
    }  # fmt: skip
    text = ["batch", "length"]
    axes = {
        "pixel_values": ["batch", "", "", ""], "input_ids": text, "token_type_ids": text, "attention_mask": text,
        "pixel_mask": ["batch", "", ""], "logits": ["batch", "", ""], "pred_boxes": ["batch", "", ""],
    }  # fmt: skip
    _write_graphs(folder, network, example, axes, ["logits", "pred_boxes"])
    return network
