"""Callbacks that parse the values of click options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from automask.errors import ParameterError

__all__ = ["parse_with"]

T = TypeVar("T")


def parse_with(parse: Callable[[Any], T]) -> Callable[[click.Context, click.Parameter, Any], T | None]:
    """Return a callback that parses a value if there is one, and reports a `ParameterError` as wrong usage."""

    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> T | None:  # noqa: ANN401
        try:
            return None if value is None else parse(value)
        except ParameterError as error:
            raise click.BadParameter(f"must {error.requirement}, got {error.value!r}", context, parameter) from error

    return callback
