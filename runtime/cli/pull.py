"""`automask pull`: a ready-made model of the Hub becomes a bundle of the user."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from ..publish import ending_cleanly

__all__ = ["pull"]


def _print_list(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from ..pull import list_entries

        click.echo(list_entries())
        context.exit()


@click.command(short_help="Download a ready-made model; torch is not needed.")
@click.argument("model", metavar="MODEL")
@click.option("--name", metavar="NAME", help="Name of the bundle.  [default: the model's]")
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(["int8", "fp16", "fp32"]),
    multiple=True,
    help="Precision of ready-made graphs; repeat the option for several in one bundle.  [default: int8]",
)
@click.option("--revision", metavar="REV", help="Branch, tag or commit on the Hub.")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder with the files of the repository, for a machine without a network.",
)
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_list,
    help="Show the models with a short name: what each is good at, Hub id, size, licence.",
)
@click.option(
    "--accept-licence",
    is_flag=True,
    help="Accept a licence that has conditions (SAM 3) without a question; asked for once.",
)
@click.option("--force", is_flag=True, help="Replace a bundle of this name.")
def pull(
    *,
    model: str,
    name: str | None,
    precisions: tuple[str, ...],
    revision: str | None,
    source: Path | None,
    accept_licence: bool,
    force: bool,
) -> None:
    """Download a ready-made model from the Hugging Face Hub; torch is not needed.

    MODEL is a short name (`automask pull --list`), or the Hub id (owner/name) of a repository that holds a bundle (an
    automask.json and its files), or graphs as transformers.js has them (onnx/model.onnx).

    \b
    automask pull clipseg
    automask pull owner/name
    automask pull owner/name --from /media/usb/name      a folder with the files
    automask mask photo.jpg "the red cup" --model name

    The bundle goes to the user's bundle folder, where --model NAME finds it; `automask models` lists it. A download
    that was cut off continues with the next call. HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are read as by any client of
    the Hub.
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    from ..licences import accept
    from ..pull import pull as run

    with ending_cleanly():
        pulled = run(
            model,
            name=name,
            revision=revision,
            source=source,
            precisions=precisions,
            force=force,
            agree=partial(accept, accepted=accept_licence),
            progress=click.echo,
        )
    size = sum(path.stat().st_size for path in pulled.folder.iterdir())
    click.echo(f"  {pulled.sense}\n\n{pulled.folder}  {size / 1e6:.1f} MB")
    click.echo(f'automask mask photo.jpg "…" --model {pulled.name}')
