"""The images of a command line, and the file for each result."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from ..images import SUFFIXES
from ..result import FORMATS

__all__ = ["STDIO", "Job", "plan"]

STDIO = "-"
_RESULTS = (".mask.png", ".alpha.png", ".preview.png")


@dataclass(frozen=True, slots=True)
class Job:
    """One image to mask; None is standard input or output."""

    source: Path | None
    target: Path | None

    @property
    def name(self) -> str:
        """Name of the image in messages."""
        return "standard input" if self.source is None else str(self.source)


def plan(images: Sequence[str], output: str | None, kind: str) -> list[Job]:
    """Return each image with the file for its result.

    Parameters
    ----------
    images
        Files, folders (their images, not their subfolders), glob patterns, or ``-``.
    output
        A file for one image, a folder for several, ``-``, or None for ``NAME.<kind>.png`` beside each image.
    kind
        ``mask``, ``alpha`` or ``preview``.

    Raises
    ------
    click.UsageError
        There is no image, or several images are for one file.
    """
    sources = list(dict.fromkeys(source for image in images for source in _expand(image)))
    if output == STDIO or (output is None and sources == [None]):
        if len(sources) > 1:
            raise click.UsageError(f"standard output takes one picture, not {len(sources)}: give -o FOLDER")
        return [Job(sources[0], None)]
    several = len(sources) > 1 or any(_is_many(image) for image in images)
    if output is not None and not several and not output.endswith("/") and not Path(output).is_dir():
        if Path(output).suffix.lower() not in FORMATS:
            raise click.UsageError(f"-o {output}: a picture is written as {' or '.join(FORMATS)}, which are lossless")
        return [Job(sources[0], Path(output))]
    if output is not None and Path(output).is_file():
        raise click.UsageError(f"{output} is a file; for several images give a folder: -o FOLDER")
    return _name_targets(sources, None if output is None else Path(output), kind)


def _expand(image: str) -> Iterable[Path | None]:
    if image == STDIO:
        return [None]
    if "://" in image:
        raise click.UsageError(f"{image} is a URL; automask fetches nothing: download it, then name the file")
    path = Path(image)
    if path.is_dir():
        found = sorted(child for child in path.iterdir() if _is_image(child))
        if not found:
            raise click.UsageError(f"the folder {image} holds no images ({', '.join(sorted(SUFFIXES))})")
        return found
    if not path.exists() and glob.has_magic(image):
        matches = sorted(Path(match) for match in glob.glob(image, recursive=True) if Path(match).is_file())
        found = [match for match in matches if not match.name.endswith(_RESULTS)]
        if not found:
            raise click.UsageError(f"no file matches {image!r}")
        return found
    return [path]


def _is_many(image: str) -> bool:
    return image != STDIO and (Path(image).is_dir() or (not Path(image).exists() and glob.has_magic(image)))


def _is_image(path: Path) -> bool:
    """Return whether a file of a folder is an image, and no result of an earlier run."""
    return path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.endswith(_RESULTS)


def _name_targets(sources: Sequence[Path | None], folder: Path | None, kind: str) -> list[Job]:
    if None in sources:
        if folder is None:
            raise click.UsageError("standard input beside other images needs -o FOLDER")
        named = [Path("stdin") if source is None else source for source in sources]
    else:
        named = [source for source in sources if source is not None]
    defaults = [(name.parent if folder is None else folder) / f"{name.stem}.{kind}.png" for name in named]
    taken = Counter(defaults)
    # cup.jpg and cup.webp must not overwrite each other's result.
    targets = [
        default.with_name(f"{name.name}.{kind}.png") if taken[default] > 1 else default
        for name, default in zip(named, defaults, strict=True)
    ]
    doubled = [str(target) for target, count in Counter(targets).items() if count > 1]
    if doubled:
        raise click.UsageError(f"several images would be written to {doubled[0]}; run one folder at a time")
    return [Job(source, target) for source, target in zip(sources, targets, strict=True)]
