"""The images of a command line, and the file for each result."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from ..images import SUFFIXES
from ..result import FORMATS

__all__ = ["STDIO", "Job", "count_subfolders", "for_each_prompt", "plan", "split_arguments"]

STDIO = "-"
_MAX_NAME = 60  # characters of a prompt in a file name
_RESULTS = (".mask.png", ".alpha.png", ".preview.png", ".cutout.png")


@dataclass(frozen=True, slots=True)
class Job:
    """One mask of an image; None is standard input or output. The prompt is set where an image has several."""

    source: Path | None
    target: Path | None
    prompt: str = ""

    @property
    def name(self) -> str:
        """Name of the image in messages, and of the prompt."""
        image = "standard input" if self.source is None else str(self.source)
        return f"{image} ({self.prompt})" if self.prompt else image


@dataclass(frozen=True, slots=True)
class _Source:
    """An image, None for standard input, and its subfolder below the folder that was named."""

    path: Path | None
    subfolder: Path = Path()


def split_arguments(arguments: Sequence[str], command: str, *, needs_prompt: bool) -> tuple[Sequence[str], str | None]:
    """Return the images and the prompt of a command line.

    Where no prompt is needed, the last argument is an image if it is a file, or alone.

    Raises
    ------
    click.UsageError
        There is no image, or no prompt.
    """
    if not needs_prompt and (len(arguments) == 1 or (arguments and Path(arguments[-1]).exists())):
        return arguments, None
    if len(arguments) < 2:
        raise click.UsageError(f'give at least one image and, last, the prompt: automask {command} room.jpg "sofa"')
    *images, prompt = arguments
    if Path(prompt).is_file():
        raise click.UsageError(f"the prompt comes last, but {prompt!r} is a file")
    if not prompt.strip():
        raise click.UsageError(f'the prompt is empty; name something: automask {command} {images[0]} "sofa"')
    return images, prompt


def plan(images: Sequence[str], output: str | None, kind: str, *, recursive: bool = False) -> list[Job]:
    """Return each image with the file for its result.

    Parameters
    ----------
    images
        Files, folders (their images), glob patterns, or ``-``.
    output
        A file for one image, a folder for several, ``-``, or None for ``NAME.<kind>.png`` beside each image.
    kind
        ``mask``, ``alpha``, ``preview`` or ``cutout``.
    recursive
        Take the images in the subfolders of folders, too; the folder of the results gets the same subfolders.

    Raises
    ------
    click.UsageError
        There is no image, or several images are for one file.
    """
    found = (source for image in images for source in _expand(image, recursive=recursive))
    sources = list({source.path: source for source in found}.values())
    if output == STDIO or (output is None and [source.path for source in sources] == [None]):
        if len(sources) > 1:
            raise click.UsageError(f"standard output takes one picture, not {len(sources)}: give -o FOLDER")
        return [Job(sources[0].path, None)]
    several = len(sources) > 1 or any(_is_many(image) for image in images)
    if output is not None and not several and not output.endswith("/") and not Path(output).is_dir():
        if Path(output).suffix.lower() not in FORMATS:
            raise click.UsageError(f"-o {output}: a picture is written as {' or '.join(FORMATS)}, which are lossless")
        return [Job(sources[0].path, Path(output))]
    if output is not None:
        _check_folder(output, len(sources))
    return _name_targets(sources, None if output is None else Path(output), kind)


def for_each_prompt(jobs: Sequence[Job], prompts: Sequence[str], kind: str) -> list[Job]:
    """Return a job for each image and prompt; the prompt is part of the file name: ``room.red-cup.mask.png``.

    Raises
    ------
    click.UsageError
        The pictures go to standard output, or two prompts have the same file name.
    """
    if any(job.target is None for job in jobs):
        raise click.UsageError(f"standard output takes one picture, not one for each of {len(prompts)} prompts")
    names = {prompt: "-".join(re.findall(r"\w+", prompt.lower()))[:_MAX_NAME] or "prompt" for prompt in prompts}
    if len(set(names.values())) < len(names):
        raise click.UsageError("two prompts would have the same file name; run them one by one")
    return [
        Job(job.source, _insert(job.target, names[prompt], kind), prompt)
        for job in jobs
        if job.target is not None
        for prompt in names
    ]


def _insert(target: Path, name: str, kind: str) -> Path:
    ending = f".{kind}.png" if target.name.endswith(f".{kind}.png") else target.suffix
    return target.with_name(f"{target.name.removesuffix(ending)}.{name}{ending}")


def count_subfolders(images: Sequence[str]) -> int:
    """Return how many folders lie directly in the folders of a command line."""
    folders = [Path(image) for image in images if image != STDIO and Path(image).is_dir()]
    return sum(child.is_dir() for folder in folders for child in folder.iterdir())


def _check_folder(output: str, images: int) -> None:
    if Path(output).is_file():
        raise click.UsageError(f"{output} is a file; for several images give a folder: -o FOLDER")
    if Path(output).suffix.lower() in FORMATS and not Path(output).is_dir() and not output.endswith("/"):
        folder = Path(output).with_suffix("")
        raise click.UsageError(
            f"-o {output} is the name of one picture, for {images} images; give a folder: -o {folder}/"
        )


def _expand(image: str, *, recursive: bool) -> Sequence[_Source]:
    if image == STDIO:
        return [_Source(None)]
    if "://" in image:
        raise click.UsageError(f"{image} is a URL; automask fetches nothing: download it, then name the file")
    path = Path(image)
    if path.is_dir():
        return _expand_folder(path, recursive=recursive)
    if not path.exists() and glob.has_magic(image):
        matches = sorted(Path(match) for match in glob.glob(image, recursive=True) if Path(match).is_file())
        found = [_Source(match) for match in matches if not match.name.endswith(_RESULTS)]
        if not found:
            raise click.UsageError(f"no file matches {image!r}")
        return found
    return [_Source(path)]


def _expand_folder(folder: Path, *, recursive: bool) -> Sequence[_Source]:
    children = sorted(_walk(folder) if recursive else folder.iterdir())
    found = [_Source(child, child.parent.relative_to(folder)) for child in children if _is_image(child)]
    if not found:
        hint = "; --recursive also takes the images in its subfolders" if count_subfolders([str(folder)]) else ""
        hint = "" if recursive else hint
        raise click.UsageError(f"the folder {folder} holds no images ({', '.join(sorted(SUFFIXES))}){hint}")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders. Links to folders are not followed: they may lead back."""

    def fail(error: OSError) -> None:
        raise click.UsageError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    for inner, _, names in os.walk(folder, onerror=fail):
        yield from (Path(inner) / name for name in names)


def _is_many(image: str) -> bool:
    return image != STDIO and (Path(image).is_dir() or (not Path(image).exists() and glob.has_magic(image)))


def _is_image(path: Path) -> bool:
    """Return whether a file of a folder is an image, and no result of an earlier run."""
    return path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.endswith(_RESULTS)


def _name_targets(sources: Sequence[_Source], folder: Path | None, kind: str) -> list[Job]:
    if folder is None and any(source.path is None for source in sources):
        raise click.UsageError("standard input beside other images needs -o FOLDER")
    named = [source.path or Path("stdin") for source in sources]
    folders = [
        name.parent if folder is None else folder / source.subfolder
        for name, source in zip(named, sources, strict=True)
    ]
    defaults = [inner / f"{name.stem}.{kind}.png" for inner, name in zip(folders, named, strict=True)]
    taken = Counter(defaults)
    # cup.jpg and cup.webp must not overwrite each other's result.
    targets = [
        default.with_name(f"{name.name}.{kind}.png") if taken[default] > 1 else default
        for name, default in zip(named, defaults, strict=True)
    ]
    doubled = [str(target) for target, count in Counter(targets).items() if count > 1]
    if doubled:
        raise click.UsageError(f"several images would be written to {doubled[0]}; run one folder at a time")
    return [Job(source.path, target) for source, target in zip(sources, targets, strict=True)]
