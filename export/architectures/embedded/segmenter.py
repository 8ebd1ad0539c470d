"""MobileSAM's two graphs: from the checkpoint to ONNX with small weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
import torch

from .graphs import save_sharing, trace
from .samdecoder import MaskDecoder, decoder_state
from .tinyvit import ImageEncoder, encoder_state
from .weights import compact_biases, dynamic_products, half_weights, quantise_weights

__all__ = ["SIZE", "MobileSam", "decoder_graph", "export_decoder", "export_encoder", "load"]

SIZE = 512
# 7 bits keep the integer products exact on processors without VNNI, at the same mask IoU as 8 bits.
_INTEGER_BITS = 7


@dataclass(frozen=True)
class MobileSam:
    """Image encoder and mask decoder in torch, in float32: the reference of the graphs."""

    encoder: ImageEncoder
    decoder: MaskDecoder


def load(checkpoint: Path) -> MobileSam:
    """Load ``mobile_sam.pt``; a missing or unexpected weight is an error."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    encoder, decoder = ImageEncoder(SIZE).eval(), MaskDecoder(SIZE).eval()
    encoder.load_state_dict(encoder_state(state))
    decoder.load_state_dict(decoder_state(state))
    return MobileSam(encoder, decoder)


def export_encoder(encoder: ImageEncoder, folder: Path) -> None:
    """Write ``image_encoder.onnx``, ``image_encoder.int8.onnx`` and the file of their weights."""
    batch = {0: "batch"}
    whole = trace(
        encoder,
        {"image": torch.zeros(1, 3, SIZE, SIZE)},
        ["image_embedding"],
        {"image": batch, "image_embedding": batch},
    )
    compact_biases(whole)
    _write_variants(whole, folder, "image_encoder")


def export_decoder(decoder: MaskDecoder, folder: Path) -> None:
    """Write ``mask_decoder.onnx``, its int8 graph and weights."""
    _write_variants(decoder_graph(decoder), folder, "mask_decoder")


def decoder_graph(decoder: MaskDecoder) -> onnx.ModelProto:
    """Return the decoder's graph with float32 weights, for any number of prompts and points on one image."""
    prompts, points = {0: "prompts"}, {0: "prompts", 1: "points"}
    return trace(
        decoder,
        # Two prompts of two points, so that no code path for a single one is traced.
        {
            "image_embedding": torch.zeros(1, 256, SIZE // 16, SIZE // 16),
            "points": torch.ones(2, 2, 2),
            "labels": torch.tensor([[2, 3], [1, -1]]),
        },
        ["logits", "iou"],
        {"points": points, "labels": points, "logits": prompts, "iou": prompts},
    )


def _write_variants(whole: onnx.ModelProto, folder: Path, stem: str) -> None:
    """Write a graph that computes in float32 and one with integer products, which share a file of weights."""
    quantise_weights(whole, product_bits=_INTEGER_BITS)
    # Of the large tensors that remain, the decoder's positions of the image's cells are halved. Its embeddings of the
    # kinds of point take 5 kB, and float16 would change the masks.
    half_weights(whole, keep=("kinds",))
    integer = onnx.ModelProto()
    integer.CopyFrom(whole)
    dynamic_products(integer)
    save_sharing({folder / f"{stem}.onnx": whole, folder / f"{stem}.int8.onnx": integer}, folder / f"{stem}.bin")
