"""A bundle of the family `concept` that finds colours: small graphs with the inputs and outputs of SAM 3's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, grid_sample, pad
from transformers import CLIPTokenizerFast

from automask.export import graphs as onnx_graphs
from automask.export.clip_tokenizer import write_tokenizer
from automask.export.manifest import describe_graph
from automask.export.precision import write_precision
from automask.export.submodels import Submodel, export_submodels
from automask.manifest import describe_bundle, variant_name, write_manifest
from automask.proof import add_proof

from .clip_vocabulary import MERGES, write_vocabulary
from .constant_bundles import PIXELS, SIZE

__all__ = ["COLOURS", "LENGTH", "colour_bundle", "two_rectangles"]

COLOURS = {"red": (1.0, -1.0, -1.0), "green": (-1.0, 1.0, -1.0), "blue": (-1.0, -1.0, 1.0)}
LENGTH = 12  # tokens
_MERGES = [*MERGES, "r e", "re d</w>", "g re", "gre e", "gree n</w>", "b l", "bl u", "blu e</w>"]
_CELLS = 16


class _Vision(nn.Module):  # type: ignore[misc]
    """Mean colours, 0..1, of cells of three sizes."""

    config = None

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        return {f"fpn_{level}": avg_pool2d(pixel_values, 4 << level) for level in range(3)}


class _Text(nn.Module):  # type: ignore[misc]
    """The colour of each token; 0 for a token that names none."""

    config = None

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        features = self.table[input_ids]
        if attention_mask is not None:  # padding tokens name a colour that must not be seen
            features = features + (1 - attention_mask[..., None])
        return {"features": features}


class _Examples(nn.Module):  # type: ignore[misc]
    """The nearest plain colour to the one in the middle of each box, and a feature that is always there."""

    config = None

    def forward(self, fpn_2: Tensor, boxes: Tensor, labels: Tensor) -> dict[str, Tensor]:
        centres = (2 * boxes[:, :2] - 1)[None, :, None]
        colours = grid_sample(fpn_2, centres, mode="nearest", align_corners=False)[0, :, :, 0].T
        signs = (2 * labels - 1)[:, None].float()
        return {"features": pad(torch.sign(2 * colours - 1) * signs, (0, 0, 0, 1))}


class _Detector(nn.Module):  # type: ignore[misc]
    """Two objects, the cells of the colour in the left and in the right half, and one without area."""

    config = None

    def forward(self, fpn_0: Tensor, fpn_1: Tensor, fpn_2: Tensor, features: Tensor, mask: Tensor) -> dict[str, Tensor]:
        wanted = (features * mask[..., None].float()).sum(dim=1)
        likeness = torch.einsum("nc,bchw->nhw", wanted, 2 * fpn_0 - 1)  # 3 where the colour is the same
        semantic = 4 * likeness - 8 + 0 * (fpn_1.sum() + fpn_2.sum())
        left, right = torch.ones(_CELLS), torch.ones(_CELLS)
        left[_CELLS // 2 :], right[: _CELLS // 2] = 0, 0
        masks = torch.stack([semantic * half - 9 * (1 - half) for half in (left, right, right)], dim=1)
        boxes = torch.tensor([[0, 0, 0.5, 1], [0.5, 0, 1, 1], [0.5, 0, 0.5, 1]])
        logits = masks.amax(dim=(2, 3))
        return {
            "boxes": boxes[None] + 0 * logits[..., None],
            "logits": logits,
            "presence": logits.amax(dim=1, keepdim=True) + 1,
            "masks": masks,
            "semantic": semantic[:, None],
        }


def two_rectangles() -> NDArray[np.uint8]:
    """A white picture of 200 × 300 pixels with a red rectangle to the left and a blue one to the right."""
    picture = np.full((200, 300, 3), 255, np.uint8)
    picture[50:150, 30:120] = (255, 0, 0)
    picture[20:180, 180:270] = (0, 0, 255)
    return picture


def colour_bundle(folder: Path, *, pads: bool = False, examples: bool = True, proof: bool = True) -> Path:
    """Write the bundle, as the export does.

    Parameters
    ----------
    pads
        Whether the text graph takes one length only, as that of MobileCLIP.
    examples
        Whether there is a graph that reads boxes.
    proof
        Whether to add a proof, and an int8 variant of the detector.
    """
    work = folder.with_name(f"{folder.name}-work")
    folder.mkdir(parents=True)
    work.mkdir()
    write_vocabulary(work, _MERGES)
    tokenizer: Any = CLIPTokenizerFast.from_pretrained(work)
    text = write_tokenizer(tokenizer, LENGTH, folder / "tokenizer.json")
    submodels = _submodels(tokenizer, LENGTH if pads else "length", examples=examples)
    for role, file in export_submodels(submodels, work, task=None).items():
        write_precision(file, folder / variant_name(role, "fp32"), "fp32", optimize=False)
    manifest = describe_bundle(
        folder,
        name=folder.name,
        family="concept",
        description="Finds colours.",
        licence="SAM License: with conditions",
        sources=[],
        exported_with={},
        graphs={role: describe_graph(role, ["fp32"], one.inputs, one.outputs) for role, one in submodels.items()},
        image={"vision_encoder": PIXELS},
        text={**text, "pad_to": LENGTH if pads else None, "example": "visual"},
        calibration=[(0, 0), (0.5, 0.2), (1, 1)],
    )  # fmt: skip
    write_manifest(folder, manifest)
    if proof:
        add_proof(folder, manifest)
    return folder


def _submodels(tokenizer: Any, length: int | str, *, examples: bool) -> dict[str, Submodel]:
    table = torch.zeros(len(tokenizer), 3)
    for name, colour in COLOURS.items():
        table[tokenizer.convert_tokens_to_ids(f"{name}</w>")] = torch.tensor(colour)
    levels = {f"fpn_{level}": onnx_graphs.Tensor((1, 3, _CELLS >> level, _CELLS >> level)) for level in range(3)}
    names = ["input_ids"] if length == "length" else ["input_ids", "attention_mask"]
    tensor = onnx_graphs.Tensor
    parts = {
        "vision_encoder": Submodel(_Vision(), {"pixel_values": tensor((1, 3, SIZE, SIZE))}, levels),
        "text_encoder": Submodel(
            _Text(table),
            {name: tensor(("texts", length), "int64") for name in names},
            {"features": tensor(("texts", length, 3))},
        ),
        "detector": Submodel(
            _Detector(),
            levels | {"features": tensor(("prompts", "length", 3)), "mask": tensor(("prompts", "length"), "int64")},
            {
                "boxes": tensor(("prompts", 3, 4)),
                "logits": tensor(("prompts", 3)),
                "presence": tensor(("prompts", 1)),
                "masks": tensor(("prompts", 3, _CELLS, _CELLS)),
                "semantic": tensor(("prompts", 1, _CELLS, _CELLS)),
            },
        ),
    }
    if examples:
        parts["exemplar_encoder"] = Submodel(
            _Examples(),
            {"fpn_2": levels["fpn_2"], "boxes": tensor(("boxes", 4)), "labels": tensor(("boxes",), "int64")},
            {"features": tensor(("features", 3))},
        )
    return parts
