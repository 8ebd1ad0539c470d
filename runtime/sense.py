"""Sense: whether a model masks in the package's own photo what the built-in model masks there.

Parity does not show this: a graph may compute exactly what a checkpoint with untrained weights computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .bundle import read_bundle
from .cpu_graphs import CpuGraphs, OpenedGraphs, assemble, best_precision
from .errors import AutomaskError, BundleError, UnknownPromptError
from .loading import load
from .segmenter import Segmenter

__all__ = ["Sense", "check_sense"]

_PHOTO = Path(__file__).parent / "data" / "person.jpg"
_PROMPT = "person"
# Kinds of thing that are not in the photo, in the words of common label sets. A model that masks one of them as it
# masks the person did not read the prompt: a box at random, for example, into which a good drawer draws the person.
_ABSENT = ("giraffe", "car", "toilet", "sea")
_LEAST_IOU = 0.5  # a mask of the whole photo has 0.32


@dataclass(frozen=True, slots=True)
class Sense:
    """What a model made of the photo.

    Attributes
    ----------
    iou
        IoU of its mask of the person with that of the built-in model; None if it has no word for a person.
    absent
        A thing that is not in the photo; empty if it has a word for none of those that are tried.
    absent_iou
        IoU of its mask of that with the person.
    """

    iou: float | None
    absent: str = ""
    absent_iou: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether the mask is that of the person, and depends on the prompt; true if it could not be checked."""
        return self.iou is None or (self.iou >= _LEAST_IOU and self.absent_iou < self.iou / 2)

    def __str__(self) -> str:
        """Return one sentence."""
        if self.iou is None:
            return f"not checked: the model has no word for a {_PROMPT}"
        asked = f"asked for a {_PROMPT} in a photo, its mask has an IoU of {self.iou:.2f} with the built-in model's"
        if self.holds:
            return f"makes sense: {asked}"
        absent = f", and asked for a {self.absent}, which is not there, {self.absent_iou:.2f}" if self.absent else ""
        reason = "Its weights are untrained or made for another task, or its preprocessing is wrong"
        return f"WARNING: makes no sense: {asked}{absent}. {reason}"


def check_sense(model: str | Path, opened: OpenedGraphs | None = None) -> Sense:
    """Mask the photo with a model, on the CPU.

    Parameters
    ----------
    model
        As for `load`, which also has the errors; with `opened`, its folder.
    opened
        Its graphs, as far as they are open already.

    Examples
    --------
    >>> print(check_sense("default"))
    makes sense: asked for a person in a photo, its mask has an IoU of 1.00 with the built-in model's
    """
    segmenter = load(model, device="cpu", prove=False) if opened is None else _assemble(Path(model), opened)
    person = _mask(segmenter, _PROMPT)
    if person is None:
        return Sense(None)
    for word in _ABSENT:
        absent = _mask(segmenter, word)
        if absent is not None:
            return Sense(_iou(person), word, _iou(absent))
    return Sense(_iou(person))


def _assemble(folder: Path, opened: OpenedGraphs) -> Segmenter:
    bundle = read_bundle(folder)
    return assemble(bundle, CpuGraphs(bundle, best_precision(bundle), opened))


def _mask(segmenter: Segmenter, word: str) -> NDArray[np.bool_] | None:
    """Return a model's mask of a word; None if it does not know it.

    Raises
    ------
    BundleError
        A graph fails, as one does that was made for images of another size.
    """
    try:
        return segmenter.mask(_PHOTO, word, grow_mask=0, edges="model").mask > 0
    except UnknownPromptError:
        return None
    except AutomaskError:
        raise
    except Exception as error:  # ONNX Runtime's own classes share no base but this
        raise BundleError(f"the model fails on a photo: {str(error).partition(chr(10))[0]}") from error


@cache
def _person() -> NDArray[np.bool_]:
    mask = _mask(load(device="cpu", prove=False), _PROMPT)
    assert mask is not None, "the built-in model knows the word"  # noqa: S101
    return mask


def _iou(mask: NDArray[np.bool_]) -> float:
    return float((mask & _person()).sum() / (mask | _person()).sum())
