"""Parameters of a mask, as the hosted API names them: ranges, defaults, checks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Literal, TypedDict, get_args

from .errors import ParameterError
from .matting import MAX_FEATHER
from .postprocess import MAX_RADIUS
from .selection import Selection

__all__ = ["MAX_SEED", "Alpha", "Edges", "Options", "Parameters", "Query", "as_texts", "hosted_defaults"]

MAX_SEED = 999_999_999_999_999
_MAX_SHOWN = 10**30  # larger integers are not written out in errors

Edges = Literal["fast", "fine", "model"]
Alpha = Literal["hard", "soft"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Parameters of a mask.

    Attributes
    ----------
    threshold
        Least score of an object or a pixel, 0..1. Scores are calibrated, so that 0.2 is a good value for every model.
        Of a model that finds objects, at most 100 are drawn, and at most 20 where some score below 0.1; a warning of
        the result says so.
    grow_mask
        Pixels by which the mask is expanded in every direction, 0..100.
    invert_mask
        Mask everything but the prompt.
    return_mask, return_alpha
        Which picture `Result.output` is: the cut-out with `return_alpha`, else the mask with `return_mask`, else the
        preview.
    stop_on_empty_mask
        Raise `EmptyMaskError` if nothing is found, instead of returning an empty mask.
    seed
        −1..999999999999999. Accepted and echoed; a mask depends on no random numbers.
    base64
        Make `Result.output` text (base64) instead of bytes.
    edges
        ``fast`` moves the outline of the mask to the edges in the image; ``fine`` also draws the largest objects a
        second time, from a closer view, which costs one more encoding for each; ``model`` leaves the outline as the
        model drew it. Not in the hosted API.
    alpha
        ``soft`` makes the edge of the cut-out follow hair and blur, and frees its colours of the background; it wants
        `grow_mask` 0, because a grown mask covers the soft edge. ``hard`` makes it as sharp as the mask. Not in the
        hosted API.
    feather
        Width in pixels, 0..100, of a smooth ramp outside the mask, in the pictures of the mask and of the cut-out. Not
        in the hosted API.

    Raises
    ------
    ParameterError
        A value is of the wrong type, or out of its range.

    Examples
    --------
    >>> Parameters(grow_mask=3).threshold
    0.2
    >>> Parameters(threshold=1.7)
    Traceback (most recent call last):
        ...
    automask.errors.ParameterError: threshold must be a number in [0, 1], got 1.7
    """

    threshold: float = 0.2
    grow_mask: int = 10
    invert_mask: bool = False
    return_mask: bool = True
    return_alpha: bool = False
    stop_on_empty_mask: bool = False
    seed: int = -1
    base64: bool = False
    edges: Edges = "fast"
    alpha: Alpha = "hard"
    feather: int = 0

    def __post_init__(self) -> None:
        _check_number("threshold", self.threshold, 0, 1)
        _check_integer("grow_mask", self.grow_mask, 0, MAX_RADIUS)
        _check_integer("seed", self.seed, -1, MAX_SEED)
        _check_integer("feather", self.feather, 0, MAX_FEATHER)
        _check_choice("edges", self.edges, get_args(Edges))
        _check_choice("alpha", self.alpha, get_args(Alpha))
        for name in ("invert_mask", "return_mask", "return_alpha", "stop_on_empty_mask", "base64"):
            if not isinstance(getattr(self, name), bool):
                raise ParameterError(name, "be True or False", getattr(self, name))


def hosted_defaults() -> dict[str, Any]:
    """Return the defaults of the parameters that the hosted API has, too, by name."""
    return {name: value for name, value in asdict(Parameters()).items() if name not in {"edges", "alpha", "feather"}}


class Options(TypedDict, total=False):
    """The fields of `Parameters` and of `Selection`, for the type of ``**options``."""

    threshold: float
    grow_mask: int
    invert_mask: bool
    return_mask: bool
    return_alpha: bool
    stop_on_empty_mask: bool
    seed: int
    base64: bool
    box: Sequence[float] | None
    points: Sequence[tuple[float, float, int]]
    keep: Sequence[int]
    drop: Sequence[int]
    edges: Edges
    alpha: Alpha
    feather: int


@dataclass(frozen=True, slots=True)
class Query:
    """Prompts and parameters for one image.

    Attributes
    ----------
    prompts
        What to mask; each prompt gets its own mask. There may be none where `selection` means an object.
    exclude
        Prompts whose masks are not grown, and are subtracted from each grown mask.
    parameters
        Parameters of the masks.
    selection
        A box, points and instances. With one, there is at most one prompt.
    return_errors
        A prompt that cannot be answered does not fail the others: its result is its error.
    """

    prompts: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    parameters: Parameters = field(default_factory=Parameters)
    selection: Selection = field(default_factory=Selection)
    return_errors: bool = False

    @classmethod
    def build(cls, prompt: object, exclude: object, options: Options, *, return_errors: bool = False) -> Query:
        """Build a query from what a caller passes to `Segmenter.mask` or to a client.

        Raises
        ------
        ParameterError
            A value is of the wrong type, or out of its range, or `return_errors` goes with a single prompt.
        """
        if return_errors and (prompt is None or isinstance(prompt, str)):
            raise ParameterError("return_errors", "be False for a single prompt, whose error is raised", return_errors)
        names = {one.name for one in fields(Parameters)}
        parameters: dict[str, Any] = {name: value for name, value in options.items() if name in names}
        selected: dict[str, Any] = {name: value for name, value in options.items() if name not in names}
        return cls(
            () if prompt is None else as_texts("prompt", prompt),
            as_texts("exclude", exclude),
            Parameters(**parameters),
            Selection.build(**selected),
            return_errors,
        )

    def check_selection(self) -> None:
        """Check that prompts and selection fit together.

        Raises
        ------
        ParameterError
            There are no prompts, and box and points mean no object; or there are several, and something is selected.
        """
        names = " and ".join(self.selection.names)
        if not self.prompts and self.selection.points and not self.selection.is_object:
            raise ParameterError(
                "points", "hold a point with label 1 where there is neither a prompt nor a box", self.selection.points
            )
        if not self.prompts and (self.selection.keep or self.selection.drop):
            raise ParameterError("prompt", f"name something: {names} pick among its instances", self.prompts)
        if not self.prompts and not self.selection.is_object:
            raise ParameterError("prompt", "name at least one thing", self.prompts)
        if len(self.prompts) > 1 and names:
            raise ParameterError("prompt", f"be one prompt where {names} is used", self.prompts)


def as_texts(name: str, value: object) -> tuple[str, ...]:
    """Return one text, or a sequence of texts, as a tuple.

    Parameters
    ----------
    name
        Name of the parameter, for the error.
    value
        What the caller passed as this parameter.

    Raises
    ------
    ParameterError
        The value, or an item of it, is not text.

    Examples
    --------
    >>> as_texts("prompt", "cup"), as_texts("prompt", ["cup", "spoon"])
    (('cup',), ('cup', 'spoon'))
    """
    if isinstance(value, str):
        return (value,)
    texts: list[str] = []
    for item in value if isinstance(value, Iterable) else [value]:
        if not isinstance(item, str):
            raise ParameterError(name, "be text or a sequence of texts", item)
        texts.append(item)
    return tuple(texts)


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= _to_float(value) <= high:
        raise ParameterError(name, f"be a number in [{low}, {high}]", _shorten(value))


def _to_float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        raise ParameterError(name, f"be an integer in [{low}, {high}]", _shorten(value))


def _shorten(value: object) -> object:
    """Shorten a value for an error: a number may have any number of digits, more than Python writes out."""
    if not isinstance(value, Integral):
        return value
    return value if abs(int(value)) <= _MAX_SHOWN else f"an integer of {int(value).bit_length()} bits"


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ParameterError(name, f"be one of {', '.join(choices)}", _shorten(value))
