"""How far a bundle's graphs are from transformers' own model, graph by graph and end to end, and whether that is near.

The reference end to end is `CLIPSegForImageSegmentation.forward` with transformers' tokenizer and image processor: none
of the code that made the graphs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from automask.session import Session

from ...figures import Figure
from ...publish import variant_name
from .masks import Agreement

if TYPE_CHECKING:
    from transformers import CLIPSegForImageSegmentation, CLIPTokenizerFast, ViTImageProcessor

    from ...parts import Part

__all__ = ["PROMPTS", "Examples", "end_to_end", "examples", "graph_figures", "module_cases", "run_bundle"]

Array = NDArray[Any]
Arrays = dict[str, Array]
Case = tuple[Arrays, Arrays]

# Short and long, longer than the model reads, empty, and in other scripts.
PROMPTS = (
    "a cup",
    "the cushion on the left",
    "something bright",
    "",
    "the very " * 60 + "old wooden chair",
    "Глаз 猫 🐈",
    "background",
)
_PAIRS = 3
# Float32 runs the same operations in another order; anything beyond is another function.
_FP32_RELATIVE = 1e-3


@dataclass(frozen=True)
class Examples:
    """Inputs, and what the checkpoint makes of them.

    Attributes
    ----------
    pixels
        Photo, mirrored photo and noise: (3, 3, size, size).
    tokens
        For each number of prompts from one to seven, ids and attention mask.
    one_image
        Logits of the photo for each prompt: (7, side, side).
    pairs
        Logits of the three images, each with a prompt of its own: (3, side, side).
    """

    pixels: Array
    tokens: Sequence[Arrays]
    one_image: Array
    pairs: Array


def examples(
    model: CLIPSegForImageSegmentation, tokenizer: CLIPTokenizerFast, processor: ViTImageProcessor, photo: Array
) -> Examples:
    """Run the checkpoint.

    Parameters
    ----------
    photo
        RGB, (height, width, 3), uint8.
    """
    noise = np.random.default_rng(0).integers(0, 256, photo.shape).astype(np.uint8)
    images = [photo, np.ascontiguousarray(photo[:, ::-1]), noise]
    pixels = processor(images, return_tensors="np")["pixel_values"]
    longest = model.config.text_config.max_position_embeddings
    tokens = [
        dict(tokenizer(list(PROMPTS[:n]), padding=True, truncation=True, max_length=longest, return_tensors="np"))
        for n in range(1, len(PROMPTS) + 1)
    ]
    whole = np.broadcast_to(pixels[:1], (len(PROMPTS), *pixels.shape[1:]))
    return Examples(pixels, tokens, _forward(model, whole, tokens[-1]), _forward(model, pixels, tokens[_PAIRS - 1]))


def _forward(model: CLIPSegForImageSegmentation, pixels: Array, tokens: Arrays) -> Array:
    feed = {name: torch.tensor(array) for name, array in {**tokens, "pixel_values": pixels}.items()}
    with torch.inference_mode():
        logits = model(**feed).logits.numpy()
    return np.asarray(logits).reshape(len(pixels), *logits.shape[-2:])


def module_cases(parts: Mapping[str, Part], given: Examples) -> dict[str, list[Case]]:
    """Run each graph's module on inputs of several batch sizes, numbers of prompts and lengths: (inputs, outputs)."""
    cases: dict[str, list[Case]] = {}
    photos = [{"pixel_values": given.pixels[:n]} for n in (1, _PAIRS)]
    cases["image_encoder"] = [(feed, _ask(parts["image_encoder"], feed)) for feed in photos]
    cases["text_encoder"] = [(tokens, _ask(parts["text_encoder"], tokens)) for tokens in given.tokens]
    one, three = (activations for _, activations in cases["image_encoder"])
    embeddings = [outputs for _, outputs in cases["text_encoder"]]
    feeds = [one | embeddings[n - 1] for n in (1, 2, len(PROMPTS))] + [three | embeddings[_PAIRS - 1]]
    cases["mask_decoder"] = [(feed, _ask(parts["mask_decoder"], feed)) for feed in feeds]
    return cases


def graph_figures(cases: Mapping[str, Sequence[Case]], folder: Path, precision: str) -> list[Figure]:
    """Compare each graph of a precision with its module, on the same inputs."""
    limit = _FP32_RELATIVE if precision == "fp32" else None
    figures = []
    for role, pairs in cases.items():
        file = folder / variant_name(role, precision)
        if file.is_file():  # the decoder has no int8
            graph = Session(file, "cpu")
            errors = [_relative(found[n], e[n]) for feed, e in pairs for found in [_run(graph, feed)] for n in e]
            figures.append(Figure(f"{precision} {role}: relative error", float(np.max(errors)), limit))
    return figures


def run_bundle(folder: Path, files: Mapping[str, str], given: Examples) -> Iterator[tuple[Array, Array]]:
    """Yield what a bundle's graphs make of the examples, end to end, beside what the checkpoint made of them.

    Parameters
    ----------
    files
        By role.
    """
    graphs = {role: Session(folder / file, "cpu") for role, file in files.items()}
    one, three = (
        _run(graphs["image_encoder"], {"pixel_values": pixels}) for pixels in (given.pixels[:1], given.pixels)
    )
    for count, tokens in enumerate(given.tokens, start=1):
        embedding = _run(graphs["text_encoder"], tokens)
        yield _run(graphs["mask_decoder"], one | embedding)["logits"], given.one_image[:count]
        if count == _PAIRS:
            yield _run(graphs["mask_decoder"], three | embedding)["logits"], given.pairs


def end_to_end(folder: Path, files: Mapping[str, str], precision: str, given: Examples) -> tuple[list[Figure], str]:
    """Compare a precision with the checkpoint, from pixels and token ids to masks.

    Returns
    -------
    tuple
        The figures, and which of them decides.
    """
    agreement = Agreement()
    for found, expected in run_bundle(folder, files, given):
        agreement.add(found, expected)
    return agreement.figures(precision), agreement.basis(precision)


def _run(session: Session, feed: Mapping[str, Array]) -> dict[str, Array]:
    return dict(zip(session.outputs, session.run(**feed), strict=True))


def _ask(part: Part, feed: Mapping[str, Array]) -> dict[str, Array]:
    with torch.inference_mode():
        outputs = part.module(**{name: torch.tensor(array) for name, array in feed.items()})
    return {name: outputs[name].numpy() for name in part.outputs}


def _relative(found: Array, expected: Array) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
