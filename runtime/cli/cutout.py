"""`automask cutout`: images in, objects without their background out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from ..compositing import blur, cover, over, trim
from ..images import read_image
from ..parameters import Options
from ..result import Result, encode_picture
from .batch import CONTEXT, Batch, batch_options
from .inputs import split_arguments
from .options import cutout_options
from .selecting import selection_options

__all__ = ["cutout"]

_BLUR = "blur"

Background = Callable[[Result], NDArray[np.uint8]]
"""Returns what lies behind the cut-out of a result: an image of its size, or one colour."""


def _parse_background(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Background | None:
    """Return the background that a colour, a file or ``blur`` means."""
    if value is None:
        return None
    if value == _BLUR:
        return lambda result: blur(result.image, result.alpha)
    try:
        colour = ImageColor.getrgb(value)
    except ValueError:
        return _read_background(value)
    if len(colour) != 3:
        raise click.BadParameter(f"{value!r} has an alpha value; leave it out, or leave the option out")
    return lambda _: np.array(colour, np.uint8)


def _read_background(path: str) -> Background:
    if not Path(path).exists():
        raise click.BadParameter(f"{path!r} is neither a colour (white, #20c0ff), nor a file, nor {_BLUR}")
    try:
        image = read_image(path)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return lambda result: cover(image, (result.mask.shape[0], result.mask.shape[1]))


@click.command(no_args_is_help=True, context_settings=CONTEXT, short_help="Cut out an object, with a soft edge.")
@click.argument("arguments", nargs=-1, metavar="IMAGE... [PROMPT]")
@click.option(
    "--background",
    metavar="COLOUR|FILE|blur",
    callback=_parse_background,
    help="Put the object on a colour (white, #20c0ff), on an image, which is scaled and cropped to fit, or on its own "
    "background, blurred; the picture then has no transparency. [default: transparent]",
)
@click.option("--trim", "is_trimmed", is_flag=True, envvar="AUTOMASK_TRIM", help="Crop the picture to the object.")
@cutout_options
@selection_options
@batch_options
def cutout(
    *,
    arguments: Sequence[str],
    background: Background | None,
    is_trimmed: bool,
    exclude: Sequence[str],
    options: Options,
    batch: Batch,
) -> None:
    """Cut out what PROMPT names in each IMAGE, or what --box or --point mark, without the background.

    IMAGE is a file, a folder, a glob pattern or - (standard input); PROMPT comes last, in quotes. The picture is
    NAME.cutout.png beside the image, with transparency: its edge is soft, and has no colour of the old background.

    \b
    automask cutout cat.jpg "cat"
    automask cutout cat.jpg "cat" --background white --trim -o cat.webp
    automask cutout cat.jpg "cat" --background beach.jpg -o beach-cat.png
    automask cutout photos/ "person" --background blur -o portraits/
    automask cutout cat.jpg --box 120,80,640,410

    Each option that takes one value is also a variable (AUTOMASK_BACKGROUND=white) and a key of --config, in the
    table [cutout] (background = "white").

    Exit status: 0 done, 1 an image failed, 2 wrong usage or unknown prompt, 3 nothing found (with
    --stop-on-empty-mask), 130 interrupted.
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    images, prompt = split_arguments(arguments, "cutout", needs_prompt=not (options["box"] or options["points"]))
    encode = partial(_encode, background=background, is_trimmed=is_trimmed)
    batch.run(images, prompt, "cutout", encode, exclude=exclude, options=options)


def _encode(result: Result, suffix: str, *, background: Background | None, is_trimmed: bool) -> bytes:
    picture = result.alpha
    if background is not None:
        picture = np.dstack([over(picture, background(result)), picture[..., 3]])
    if is_trimmed:
        picture = trim(picture)
    return encode_picture(picture if background is None else picture[..., :3], suffix)
