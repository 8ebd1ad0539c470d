"""The architectures whose ready-made graphs become bundles. A new one is one entry, and the runtime's part for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["LAYOUTS", "Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole network as one graph.

    Attributes
    ----------
    family, kinds, description, calibration
        As in `automask.bundle.Bundle`.
    role
        Role of the graph.
    draws
        Whether it draws masks itself; if not, MobileSAM does.
    inputs
        Names of all inputs that the runtime gives.
    image
        Defaults of `preprocessor_config.json`: those of the image processor's class in transformers.
    text
        Settings under ``text`` of the manifest, besides the file.
    longest
        Most tokens of a prompt, where the configuration does not say.
    longest_key
        Where the configuration says it.
    resize
        ``stretch``, or ``longest_side`` for a graph that reads the mask of the padding.
    tokens
        Ids that the network expects of tokens, where it does.
    """

    family: str
    kinds: Mapping[str, str]
    description: str
    role: str
    draws: bool
    inputs: frozenset[str]
    image: Mapping[str, Any]
    text: Mapping[str, Any]
    longest: int
    longest_key: Sequence[str] = ("text_config", "max_position_embeddings")
    resize: str = "stretch"
    tokens: Mapping[str, int] = field(default_factory=dict)
    calibration: Sequence[Sequence[float]] = ((0, 0), (1, 1))


# transformers' own code has these, whatever the tokenizer says.
_BERT = {"[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}

LAYOUTS: Final[Mapping[str, Layout]] = {
    "clipseg": Layout(
        family="dense",
        kinds={"scores": "clipseg-whole"},
        description="Masks whatever a few free words describe, coarsely (CLIPSeg).",
        role="segmenter",
        draws=True,
        inputs=frozenset({"pixel_values", "input_ids", "attention_mask"}),
        image={"resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},  # ViTImageProcessor
        text={},
        longest=77,
    ),
    "owlvit": Layout(
        family="boxes",
        kinds={"finder": "owl-whole", "drawer": "sam"},
        description="Finds whatever a few free words describe (OWL-ViT). MobileSAM draws the masks.",
        role="detector",
        draws=False,
        inputs=frozenset({"pixel_values", "input_ids", "attention_mask"}),
        image={  # OwlViTImageProcessor
            "resample": 3,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
        },
        text={"template": "a photo of a {}"},
        longest=16,
        # The default threshold of post_process_grounded_object_detection in OwlViTProcessor is 0.1.
        calibration=((0, 0), (0.1, 0.2), (1, 1)),
    ),
    "grounding-dino": Layout(
        family="boxes",
        kinds={"finder": "grounding-dino-whole", "drawer": "sam"},
        description="Finds what phrases describe (Grounding DINO). MobileSAM draws the masks.",
        role="detector",
        draws=False,
        inputs=frozenset({"pixel_values", "pixel_mask", "input_ids", "token_type_ids", "attention_mask"}),
        image={  # GroundingDinoImageProcessor
            "resample": 2,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        },
        text={
            "cls_token_id": _BERT["[CLS]"],
            "sep_token_id": _BERT["[SEP]"],
            "dot_token_id": _BERT["."],
            "unk_token_id": _BERT["[UNK]"],
            "separator_ids": [_BERT[token] for token in ("[CLS]", "[SEP]", ".", "?")],
        },
        longest=256,
        longest_key=("max_text_len",),
        resize="longest_side",
        tokens=_BERT,
        # The default thresholds of post_process_grounded_object_detection in GroundingDinoProcessor are 0.25.
        calibration=((0, 0), (0.25, 0.2), (1, 1)),
    ),
}
"""Layouts by ``model_type`` in `config.json`."""
