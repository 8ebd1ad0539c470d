"""Options that select in an image: a box, points, and instances of the prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import click

from ..errors import ParameterError
from ..parameters import Options
from ..selection import Selection

__all__ = ["selection_options"]


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the fields of a selection to a command, which gets them in `options`; use it below `mask_options`."""

    @click.option(
        "--box",
        callback=_parse_box,
        allow_from_autoenv=False,
        metavar="L,T,R,B",
        help="Box around one object: left, top, right, bottom in pixels. Needs no PROMPT; with one, the box corrects "
        "an object of the prompt, or adds one.",
    )
    @click.option(
        "--point",
        "points",
        multiple=True,
        callback=_parse_points,
        allow_from_autoenv=False,
        metavar="X,Y[,-]",
        help="Point on the object, in pixels; with ,- a point outside it. Repeatable. Needs no PROMPT; with one, "
        "points correct the objects of the prompt.",
    )
    @click.option(
        "--keep",
        callback=_parse_indices,
        allow_from_autoenv=False,
        metavar="I,J,...",
        help="Keep only these objects of the prompt, by their index in --json; 0 is the best one.",
    )
    @click.option(
        "--drop",
        callback=_parse_indices,
        allow_from_autoenv=False,
        metavar="I,J,...",
        help="Leave out these objects of the prompt, by index.",
    )
    @wraps(command)
    def gather(
        *,
        options: Options,
        box: Sequence[float] | None,
        points: Sequence[tuple[float, float, int]],
        keep: Sequence[int],
        drop: Sequence[int],
        **others: Any,  # noqa: ANN401 (the parameters of the command)
    ) -> Any:  # noqa: ANN401
        try:
            Selection.build(box, points, keep, drop)
        except ParameterError as error:
            raise click.UsageError(str(error)) from error
        selected: Options = {**options, "box": box, "points": points, "keep": keep, "drop": drop}
        return command(options=selected, **others)

    return gather


def _parse_box(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    del context, parameter
    if value is None:
        return None
    sides = _numbers(value, float)
    if len(sides) != 4:
        raise click.BadParameter(f"{value!r} is not four numbers: left,top,right,bottom")
    return sides


def _parse_points(
    context: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> tuple[tuple[float, float, int], ...]:
    del context, parameter
    return tuple(_parse_point(value) for value in values)


def _parse_point(text: str) -> tuple[float, float, int]:
    is_negative = text.endswith(",-")
    numbers = _numbers(text.removesuffix(",-"), float)
    if len(numbers) != 2:
        raise click.BadParameter(f"{text!r} is not x,y or x,y,-")
    return numbers[0], numbers[1], 0 if is_negative else 1


def _parse_indices(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    del context, parameter
    return () if value is None else _numbers(value, int)


def _numbers(text: str, kind: Callable[[str], Any]) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        name = "integers" if kind is int else "numbers"
        raise click.BadParameter(f"{text!r} is not {name} with commas between them") from None
