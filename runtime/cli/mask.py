"""`automask mask`: images in, masks out."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..parameters import Options
from ..result import Result
from .batch import CONTEXT, Batch, batch_options
from .inputs import split_arguments
from .options import mask_options
from .selecting import selection_options

__all__ = ["mask"]


@click.command(no_args_is_help=True, context_settings=CONTEXT, short_help="Mask what a prompt, a box or points name.")
@click.argument("arguments", nargs=-1, metavar="IMAGE... [PROMPT]")
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    metavar="PROMPT",
    allow_from_autoenv=False,
    help="What to mask, instead of the last argument. Repeatable: each prompt gets a file of its own.",
)
@mask_options
@selection_options
@batch_options
def mask(
    *, arguments: Sequence[str], prompts: Sequence[str], exclude: Sequence[str], options: Options, batch: Batch
) -> None:
    """Mask what PROMPT names in each IMAGE, or what --box or --point mark.

    IMAGE is a file, a folder, a glob pattern or - (standard input); PROMPT comes last, in quotes. The path of each
    file written goes to standard output, messages go to standard error. After an image that fails, the run goes on.

    \b
    automask mask room.jpg "sofa" -o sofa.png
    automask mask room.jpg "cup and spoon" --grow-mask 0 --threshold 0.3
    automask mask "photos/*.jpg" "dog" -o masks/ --json > masks.jsonl
    automask mask photos/ "dog" -o masks/ --recursive --skip-existing
    automask mask room.jpg "sofa" --server 127.0.0.1:50051
    automask mask room.jpg --box 120,80,640,410
    automask mask room.jpg "cup" --drop 1 --point 300,180,-
    automask mask photos/ --prompt "animals" --prompt "everything but the dog"

    Each option that takes one value is also a variable (AUTOMASK_GROW_MASK=0) and a key of --config, in the table
    [mask] (grow_mask = 0). The command line has priority over the environment, the environment over the file.

    Exit status: 0 done, 1 an image failed, 2 wrong usage or unknown prompt, 3 nothing found (with
    --stop-on-empty-mask), 130 interrupted.
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    images: Sequence[str]
    prompt: str | Sequence[str] | None
    if prompts:
        images, prompt = arguments, prompts[0] if len(prompts) == 1 else prompts
        if not images:
            raise click.UsageError("give at least one image")
    else:
        images, prompt = split_arguments(arguments, "mask", needs_prompt=not (options["box"] or options["points"]))
    kind = "alpha" if options["return_alpha"] else "mask" if options["return_mask"] else "preview"
    batch.run(images, prompt, kind, _encode, exclude=exclude, options=options)


def _encode(result: Result, suffix: str) -> bytes:
    return result.encode(suffix=suffix)
