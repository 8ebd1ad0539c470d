"""Findings: what a model found for the meaning of each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import hypot
from typing import Any

from .families.family import Family, Picture, Prediction, Stopwatch
from .instance import Instance
from .parameters import Query
from .selection import Selection
from .words.meaning import Meaning

__all__ = ["Finding", "find", "select"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found for one prompt.

    Attributes
    ----------
    prediction
        What is wanted, with all labels, dropped words and warnings of the prompt.
    excluded
        What is subtracted from it; None for nothing.
    invert
        Whether the mask is everything but what is wanted.
    """

    prediction: Prediction
    excluded: Prediction | None
    invert: bool


def find(
    family: Family[Any],
    picture: Picture,
    meanings: Sequence[Meaning[Any]],
    thresholds: Sequence[float],
    watch: Stopwatch,
) -> list[Finding]:
    """Return what was found for each meaning, in one pass of the model.

    Parameters
    ----------
    family
        Runs the graphs.
    picture
        The image.
    meanings
        Prompts as the family's words resolved them.
    thresholds
        Least score of an instance, 0..1, for each meaning.
    watch
        Measures the stages.
    """
    looked_for = [(meaning.wanted, least) for meaning, least in zip(meanings, thresholds, strict=True)]
    looked_for += [
        (meaning.excluded, least)
        for meaning, least in zip(meanings, thresholds, strict=True)
        if meaning.excluded is not None
    ]
    if not looked_for:
        return []
    texts, limits = zip(*looked_for, strict=True)
    predictions = family.predict(picture, texts, limits, watch)
    extra = iter(predictions[len(meanings) :])
    return [
        _combine(meaning, prediction, None if meaning.excluded is None else next(extra), picture.size)
        for meaning, prediction in zip(meanings, predictions, strict=False)
    ]


def select(
    family: Family[Any],
    picture: Picture,
    meaning: Meaning[Any] | None,
    query: Query,
    watch: Stopwatch,
) -> Finding:
    """Return what the selection of a query makes of what was found for its prompt.

    Parameters
    ----------
    family, picture, watch
        As in `find`.
    meaning
        The prompt of the query; None without one: then the selection means an object by itself.
    query
        The query, with its selection and threshold.

    Raises
    ------
    ParameterError
        The selection does not fit the image or what was found in it.
    """
    selection, threshold = query.selection, query.parameters.threshold
    if meaning is None:
        return Finding(family.select(picture, None, threshold, selection, watch), None, invert=False)
    if meaning.pick:
        (found,) = family.predict(picture, [meaning.wanted], [threshold], watch)
        selection = _within_subject(found.instances, picture.size, selection)
    prediction = family.select(picture, meaning.wanted, threshold, selection, watch)
    excluded = None
    if meaning.excluded is not None:
        (excluded,) = family.predict(picture, [meaning.excluded], [threshold], watch)
    return _combine(replace(meaning, pick=""), prediction, excluded, picture.size)


def _within_subject(instances: Sequence[Instance], size: tuple[int, int], selection: Selection) -> Selection:
    """Return a selection among all instances that does what this one does to the subject alone."""
    if not instances:
        return selection
    index = max(range(len(instances)), key=lambda at: _prominence(instances[at], size))
    if selection.pick(1):
        return replace(selection, keep=(index,), drop=())
    return replace(selection, keep=(), drop=tuple(range(len(instances))))


def _combine(
    meaning: Meaning[Any], prediction: Prediction, excluded: Prediction | None, size: tuple[int, int]
) -> Finding:
    dropped, warnings = prediction.dropped, (*meaning.warnings, *prediction.warnings)
    if excluded is not None:
        dropped, warnings = (*dropped, *excluded.dropped), (*warnings, *excluded.warnings)
    prediction = replace(prediction, dropped=dropped, warnings=tuple(dict.fromkeys(warnings)))
    if meaning.pick == "subject" and prediction.instances:
        subject = max(prediction.instances, key=lambda instance: _prominence(instance, size))
        prediction = replace(prediction, instances=(subject,), labels=(subject.label,))
    return Finding(prediction, excluded, meaning.invert)


def _prominence(instance: Instance, size: tuple[int, int]) -> float:
    """Return the area of an object's box times its nearness to the centre of the image: 1 there, 0 in a corner."""
    height, width = size
    left, top, right, bottom = instance.box
    away = hypot((left + right) / width - 1, (top + bottom) / height - 1) / hypot(1, 1)
    return (right - left) * (bottom - top) * (1 - away)
