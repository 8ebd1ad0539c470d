"""MODEL_CARD.md of an OmDet-Turbo bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["model_card"]

_TEXT = """\
# {name}

{description} Written by `automask export` from {origin}.

| graph | purpose | files |
|---|---|---|
{graphs}

Images are stretched to {size} x {size} with Pillow's filter ({interpolation}), as the checkpoint's own processor does.
The phrases of all prompts of a call are the classes of one pass, with the task "{task}"; a phrase takes up to {length}
tokens. Boxes of one phrase that overlap by more than an IoU of {nms_iou:g} are suppressed. A raw score of 0.3, the
default threshold of transformers' processor, is a score of 0.2 here.

## Licence

{licence}

## Parity with the checkpoint, measured at export

{basis}

| figure | value | limit |
|---|---|---|
{figures}

## Limits

Prompts of one call are read together, and change each other's scores a little. Relations ("left of") and negations
have little effect. Do not use it to judge people, nor where a wrong mask can harm somebody.
Paper: Zhao et al., "Real-time Transformer-based Open-Vocabulary Detection with Efficient Fusion Head" (arXiv
2403.06892).
"""
_PURPOSES = {
    "text_encoder": "CLIP's text encoder: phrases as classes, and the task; once for each text",
    "detector_encoder": "Swin and the encoder; once for each image",
    "detector": "the decoder: boxes and scores",
}


def model_card(manifest: Mapping[str, Any]) -> str:
    """Write the card from the manifest."""
    image, parity = manifest["image"]["detector_encoder"], manifest["parity"]
    return _TEXT.format(
        name=manifest["name"],
        description=manifest["description"],
        origin=", ".join(f"`{s['file']}` of {s['package']} ({s['version']})" for s in manifest["sources"]),
        graphs="\n".join(
            f"| {role} | {_PURPOSES[role]} | {', '.join(f'`{file}`' for file in graph['variants'].values())} |"
            for role, graph in manifest["graphs"].items()
        ),
        size=image["size"],
        interpolation=image["interpolation"],
        task=manifest["text"]["task"],
        length=manifest["text"]["max_length"],
        nms_iou=image["nms_iou"],
        licence=manifest["licence"],
        basis="\n".join(f"- {precision}: {criterion}" for precision, criterion in parity["judged_by"].items()),
        figures="\n".join(
            f"| {name} | {value:g} | {parity['limits'].get(name, 'none')} |"
            for name, value in parity["figures"].items()
        ),
    )
