"""Finders in transformers, eager, with MobileSAM in torch; and EoMT."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .fixed_objects import boxes_of
from .peers import Masks, MobileSamInTorch, Pixels

_NOTHING = 0.999  # a threshold that no random score reaches: the boxes are fixed

Find = Callable[[Pixels, Sequence[str]], Any]


class OpenInTransformers:
    """The chain in torch: processor, model, post-processing, then MobileSAM in boxes that are fixed.

    All prompts of a call share one pass, and MobileSAM's encoding of a photo is kept for the next call on it. The
    finder has nothing to keep: transformers' models have no separate encoding of the photo.

    Parameters
    ----------
    name
        A name of `open_models.MODELS`.
    checkpoint
        Its folder.
    side
        Longer side of a photo for MobileSAM, in pixels.
    threads
        Threads of torch.
    """

    def __init__(self, name: str, checkpoint: Path, side: int, threads: int) -> None:
        import torch

        self._find: Find = _FINDERS[name](checkpoint)
        self._draws_itself = name == "eomt"
        if not self._draws_itself:
            self._sam = MobileSamInTorch(side=side)
        torch.set_num_threads(threads)
        self._photo: Pixels | None = None
        self._embedding: Any = None

    def __call__(self, photo: Pixels, prompts: Sequence[str], objects: int) -> Masks:
        """Return one mask for each prompt, with so many objects; nothing where there are none."""
        import torch

        with torch.inference_mode():
            found = self._find(photo, prompts)
        if not objects:
            return []
        if self._draws_itself:
            outputs, numbers = found
            return [_draw(outputs, numbers[prompt], photo, objects) for prompt in prompts]
        if photo is not self._photo:
            self._photo, self._embedding = photo, self._sam.encode(photo)
        return [self._sam.mask(self._embedding, photo, boxes_of(number, objects)) for number in range(len(prompts))]


def _owl(checkpoint: Path) -> Find:
    from transformers import OwlViTForObjectDetection, OwlViTProcessor

    model: Any = OwlViTForObjectDetection.from_pretrained(checkpoint).eval()
    processor: Any = OwlViTProcessor.from_pretrained(checkpoint)

    def find(photo: Pixels, prompts: Sequence[str]) -> Any:  # noqa: ANN401
        texts = [[f"a photo of a {prompt}" for prompt in prompts]]
        outputs = model(**processor(text=texts, images=photo, return_tensors="pt"))
        return processor.post_process_grounded_object_detection(
            outputs, threshold=_NOTHING, target_sizes=[photo.shape[:2]], text_labels=texts
        )

    return find


def _grounding_dino(checkpoint: Path) -> Find:
    from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

    model: Any = GroundingDinoForObjectDetection.from_pretrained(checkpoint).eval()
    processor: Any = GroundingDinoProcessor.from_pretrained(checkpoint)

    def find(photo: Pixels, prompts: Sequence[str]) -> Any:  # noqa: ANN401
        # Not padded to a square, as the bundle must: 25 % fewer pixels of this photo.
        size = {"shortest_edge": 480, "longest_edge": 640}
        inputs = processor(images=photo, text=[list(prompts)], size=size, return_tensors="pt")
        outputs = model(**inputs)
        return processor.post_process_grounded_object_detection(
            outputs, inputs["input_ids"], threshold=_NOTHING, target_sizes=[photo.shape[:2]]
        )

    return find


def _omdet(checkpoint: Path) -> Find:
    import torch
    from transformers import CLIPTokenizerFast, DetrImageProcessor, OmDetTurboForObjectDetection

    model: Any = OmDetTurboForObjectDetection.from_pretrained(checkpoint).eval()
    tokenizer: Any = CLIPTokenizerFast.from_pretrained(checkpoint)
    processor: Any = DetrImageProcessor.from_pretrained(checkpoint)
    options: dict[str, Any] = {"padding": "max_length", "truncation": True, "max_length": 77, "return_tensors": "pt"}

    def find(photo: Pixels, prompts: Sequence[str]) -> Any:  # noqa: ANN401
        # What its processor does, which itself needs torchvision; nothing is left for its suppression to compare.
        classes, task = tokenizer(list(prompts), **options), tokenizer([f"Detect {', '.join(prompts)}."], **options)
        outputs = model(
            pixel_values=processor(photo, return_tensors="pt").pixel_values,
            classes_input_ids=classes["input_ids"],
            classes_attention_mask=classes["attention_mask"],
            tasks_input_ids=task["input_ids"],
            tasks_attention_mask=task["attention_mask"],
            classes_structure=torch.tensor([len(prompts)]),
        )
        return outputs.decoder_class_logits.sigmoid() > _NOTHING

    return find


def _detector(checkpoint: Path) -> Find:
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    model: Any = AutoModelForObjectDetection.from_pretrained(checkpoint).eval()
    processor: Any = AutoImageProcessor.from_pretrained(checkpoint, use_fast=False)

    def find(photo: Pixels, _: Sequence[str]) -> Any:  # noqa: ANN401
        outputs = model(**processor(photo, return_tensors="pt"))
        return processor.post_process_object_detection(outputs, threshold=_NOTHING, target_sizes=[photo.shape[:2]])

    return find


def _regions(checkpoint: Path) -> Find:
    from transformers import AutoImageProcessor, AutoModelForUniversalSegmentation

    model: Any = AutoModelForUniversalSegmentation.from_pretrained(checkpoint).eval()
    processor: Any = AutoImageProcessor.from_pretrained(checkpoint, use_fast=False)

    def find(photo: Pixels, _: Sequence[str]) -> Any:  # noqa: ANN401
        outputs = model(pixel_values=processor(photo, return_tensors="pt")["pixel_values"])
        return outputs, model.config.label2id

    return find


def _draw(outputs: Any, label: int, photo: Pixels, objects: int) -> Pixels:  # noqa: ANN401
    """Return the union of the best masks of a label, of a photo in the upper part of a padded square.

    transformers' own post-processing enlarges all masks, and takes longer.
    """
    import torch

    scores = outputs.class_queries_logits[0].softmax(-1)
    best = scores[:, label].topk(objects).indices
    masks = outputs.masks_queries_logits[0, best]
    masks = masks[:, : round(masks.shape[1] * photo.shape[0] / photo.shape[1])]
    union = torch.nn.functional.interpolate(masks[None], photo.shape[:2], mode="bilinear")[0].amax(0) > 0
    return np.asarray((union.to(torch.uint8) * 255).numpy())


_FINDERS: dict[str, Callable[[Path], Find]] = {
    "omdet": _omdet,
    "grounding-dino": _grounding_dino,
    "owlvit": _owl,
    "d-fine": _detector,
    "eomt": _regions,
}
