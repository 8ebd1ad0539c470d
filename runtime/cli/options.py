"""Options of several commands: the parameters of a mask or a cut-out, and the credentials of a client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any, get_args

import click

from ..matting import MAX_FEATHER
from ..parameters import Edges, Options, Parameters
from ..postprocess import MAX_RADIUS

__all__ = ["cutout_options", "mask_options", "secret_options"]

_DEFAULTS = Parameters()
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_THRESHOLD = click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=_DEFAULTS.threshold,
    show_default=True,
    help="Minimum score of an object. A lower value finds more objects, a higher one fewer.",
)
_EXCLUDE = click.option(
    "--exclude",
    multiple=True,
    metavar="PROMPT",
    allow_from_autoenv=False,
    help="Leave this out of the mask; repeatable.",
)
_EDGES = click.option(
    "--edges",
    type=click.Choice(get_args(Edges)),
    default=_DEFAULTS.edges,
    show_default=True,
    help="fast: the outline follows the edges in the image; fine: the largest objects are drawn a second time from "
    "a closer view, which takes longer; model: as the model drew it.",
)
_STOP_ON_EMPTY_MASK = click.option(
    "--stop-on-empty-mask", is_flag=True, help="If nothing is found, write nothing and exit with 3."
)

_MASK_OPTIONS = (
    _THRESHOLD,
    click.option(
        "--grow-mask",
        type=click.IntRange(0, MAX_RADIUS),
        default=_DEFAULTS.grow_mask,
        show_default=True,
        help="Expand the mask by this many pixels.",
    ),
    click.option("--invert-mask", is_flag=True, help="Mask everything but the prompt."),
    _EXCLUDE,
    click.option(
        "--return-alpha",
        is_flag=True,
        help="Write the image with the mask as its alpha channel (RGBA), as the hosted API does: --grow-mask leaves a "
        "rim of background around the object. `automask cutout` has none.",
    ),
    click.option("--preview", is_flag=True, help="Write the image, tinted where the mask is set."),
    _EDGES,
    click.option(
        "--feather",
        type=click.IntRange(0, MAX_FEATHER),
        default=_DEFAULTS.feather,
        show_default=True,
        help="Add a smooth ramp of this many pixels around the mask, for inpainting.",
    ),
    _STOP_ON_EMPTY_MASK,
)

_CUTOUT_OPTIONS = (_THRESHOLD, _EXCLUDE, _EDGES, _STOP_ON_EMPTY_MASK)

_SECRET_OPTIONS = (
    click.option(
        "--api-key",
        envvar="AUTOMASK_API_KEY",
        show_envvar=True,
        metavar="KEY",
        help="Key for a server with keys. Other users of this machine can see the command line: prefer the variable.",
    ),
    click.option("--ca", type=_FILE, help="Use TLS: certificate of the authority that signed the server's (PEM)."),
    click.option("--cert", type=_FILE, help="Certificate of this client, for a server that requires one (PEM)."),
    click.option("--key", type=_FILE, help="Private key of that certificate (PEM)."),
)


def mask_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the parameters of a mask to a command, which gets them as `exclude` and `options`."""

    @wraps(command)
    def gather(*, preview: bool, **others: Any) -> Any:  # noqa: ANN401 (the parameters of the command)
        if others["return_alpha"] and preview:
            raise click.UsageError("--return-alpha and --preview exclude each other")
        options: Options = {**_take_options(others), "return_mask": not preview}
        return command(options=options, **others)

    return _add(_MASK_OPTIONS, gather)


def cutout_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the parameters of a soft cut-out to a command, which gets them as `exclude` and `options`."""

    @wraps(command)
    def gather(**others: Any) -> Any:  # noqa: ANN401 (the parameters of the command)
        options: Options = {**_take_options(others), "grow_mask": 0, "return_alpha": True, "alpha": "soft"}
        return command(options=options, **others)

    return _add(_CUTOUT_OPTIONS, gather)


def _take_options(values: dict[str, Any]) -> Options:
    """Remove the fields of `Parameters` from the values of a command line, and return them."""
    taken: Any = {field.name: values.pop(field.name) for field in fields(Parameters) if field.name in values}
    options: Options = taken
    return options


def secret_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the credentials and certificates of a client to a command, which gets them as `secrets`."""

    @wraps(command)
    def gather(
        *,
        api_key: str | None,
        ca: Path | None,
        cert: Path | None,
        key: Path | None,
        **others: Any,  # noqa: ANN401 (the parameters of the command)
    ) -> Any:  # noqa: ANN401
        if (cert is None) != (key is None):
            raise click.UsageError("--cert and --key go together")
        return command(secrets={"api_key": api_key, "ca": ca, "cert": cert, "key": key}, **others)

    return _add(_SECRET_OPTIONS, gather)


def _add(options: tuple[Callable[..., Any], ...], command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):  # click lists the decorator that is applied last first
        command = option(command)
    return command
