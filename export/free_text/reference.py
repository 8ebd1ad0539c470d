"""What the checkpoint of a finder that reads text itself finds in example images.

The reference end to end is the network's `forward` with transformers' tokenizer, image processor and post-processing:
none of the code that made the graphs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from automask.bundle import Bundle
from automask.session import Session

from ..agreement_boxes import BoxAgreement, FoundBoxes
from ..finding import calibrate, find_boxes
from ..parity import Agreement, Array, Case, Image

if TYPE_CHECKING:
    from ..submodels import Submodel
    from .model import FreeTextModel

__all__ = ["FinderReference", "pixel_values", "run_submodel"]

_COUNTS = (1, 2, 7)


@dataclass(frozen=True)
class FinderReference(ABC):
    """Inputs, and the checkpoint's results: an `automask.export.parity.Reference`.

    Attributes
    ----------
    phrases
        What is looked for: the first one, the first two, and all seven.
    cases
        By role, inputs of several images, numbers of phrases and lengths, and the submodel's outputs.
    images
        From `example_images`.
    expected
        For each image, what was found for 1, 2 and 7 phrases, with raw scores.
    """

    phrases: ClassVar[tuple[str, ...]] = (
        "cup",
        "the red cushion on the left",
        "something bright",
        "old wooden chair with a striped seat",
        "кошка",
        "my hat",
        "background",
    )

    cases: Mapping[str, Sequence[Case]]
    images: Sequence[Image]
    expected: Sequence[Sequence[FoundBoxes]]

    @classmethod
    def run(cls, model: FreeTextModel, photo: Image) -> Self:
        """Run the checkpoint; the photo is RGB, (height, width, 3)."""
        images = cls.example_images(photo)
        expected = [[cls.detect(model, image, phrases) for phrases in cls.prompts()] for image in images]
        return cls(cls.run_submodels(model, images), images, expected)

    @classmethod
    def prompts(cls) -> list[tuple[str, ...]]:
        """Return the phrases of each prompt."""
        return [cls.phrases[:count] for count in _COUNTS]

    @staticmethod
    def example_images(photo: Image) -> list[Image]:
        """Return the photo, the same upright, and a small part of it."""
        part = photo[: photo.shape[0] // 8, : photo.shape[1] // 8]
        return [photo, np.ascontiguousarray(photo[::-1].transpose(1, 0, 2)), np.ascontiguousarray(part)]

    @classmethod
    @abstractmethod
    def detect(cls, model: FreeTextModel, image: Image, phrases: Sequence[str]) -> FoundBoxes:
        """Return what transformers finds in an image, without a threshold, with raw scores."""

    @classmethod
    @abstractmethod
    def run_submodels(cls, model: FreeTextModel, images: Sequence[Image]) -> Mapping[str, Sequence[Case]]:
        """Run the torch module of each graph, by role."""

    def compare(self, bundle: Bundle, graphs: Mapping[str, Session]) -> Agreement:
        """Compare what the runtime's finder finds; see `automask.export.parity.Reference`."""
        agreement = BoxAgreement()
        for image, expected in zip(self.images, self.expected, strict=True):
            for found, one in zip(find_boxes(bundle, graphs, image, self.prompts()), expected, strict=True):
                calibrated = FoundBoxes(one.boxes, calibrate(bundle, one.scores), one.labels)
                agreement.add(found, calibrated, image.shape[:2])
        return agreement


def pixel_values(model: FreeTextModel, image: Image) -> Array:
    """Return what the checkpoint's processor makes of an image, (1, 3, height, width)."""
    # The axis of the colours of a small image cannot be guessed.
    return np.asarray(model.processor(image, return_tensors="np", input_data_format="channels_last")["pixel_values"])


def run_submodel(submodel: Submodel, inputs: Mapping[str, Array]) -> Case:
    """Run a torch module; return inputs and outputs."""
    return inputs, submodel.run(inputs)
