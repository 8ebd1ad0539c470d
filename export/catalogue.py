"""Models by short name, Hub id or folder; the table of `automask export --list`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from automask.bundle import Terms
from automask.errors import ParameterError
from automask.licences import accept
from automask.lookup import HUB_ID

from .architecture import Architecture, CheckpointFormat, Entry, Part
from .architectures import architecture_names, find_architecture
from .built_in import MOBILE_SAM, mobile_sam
from .checkpoint import ArchitectureError, Checkpoint, CheckpointNotFoundError, find
from .source import Source, checkpoint_source

__all__ = ["Choice", "choose", "default_model", "entries", "find_source", "list_entries"]

_TITLES: Mapping[Part, str] = {
    "finder": "Finders: words to boxes; a model that draws (--masks) makes masks of them",
    "whole": "Complete: words to masks by themselves",
    "drawer": f"Draw masks into the boxes of a finder, by --masks NAME; the default is {MOBILE_SAM}, which is built in",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A model as the user named it.

    Attributes
    ----------
    model
        Hub id, folder, or the name of the built-in drawer.
    name
        Name of its bundle, unless the user gives another one.
    """

    model: str
    name: str


def entries() -> Iterator[tuple[Architecture, Entry]]:
    """Yield the published checkpoints of all architectures."""
    for name in architecture_names():
        architecture = find_architecture(name)
        if architecture is not None:
            yield from ((architecture, entry) for entry in architecture.catalogue)


def default_model(architecture: Architecture) -> str:
    """Return the short name of an architecture's default checkpoint."""
    return architecture.catalogue[0].name


def choose(model: str) -> Choice:
    """Return what a short name, a folder or a Hub id stands for, in this order.

    Raises
    ------
    CheckpointNotFoundError
        It is none of them.
    """
    hub_ids = {entry.name: entry.hub_id for _, entry in entries()} | {MOBILE_SAM: MOBILE_SAM}
    if model in hub_ids:
        return Choice(hub_ids[model], model)
    if Path(model).is_dir() or HUB_ID.fullmatch(model):
        # Names of folders may have spaces; those of bundles do not.
        return Choice(model, re.sub(r"[^\w.-]+", "-", Path(model).resolve().name).lstrip(".") or "model")
    near = difflib.get_close_matches(model, hub_ids, n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise CheckpointNotFoundError(
        f"no checkpoint {model!r}: it is no short name of `automask export --list`, no folder, nor a Hub id "
        f"(owner/name){hint}"
    )


def find_source(
    choice: Choice,
    *,
    parts: Collection[Part],
    revision: str | None,
    image_size: int | None,
    agree: Callable[[Terms], None] = accept,
    only: Architecture | None = None,
) -> Source:
    """Find a checkpoint, by the architecture that its configuration names, and download what is missing.

    Parameters
    ----------
    parts
        What it may be in a bundle.
    revision
        Branch, tag or commit; for a Hub id only.
    image_size
        Side of the square image in pixels; None for the checkpoint's own.
    agree
        Called with a licence that has conditions; raises `LicenceError` if the user does not accept it.
    only
        The architecture that it must have; by default any.

    Raises
    ------
    CheckpointNotFoundError, GatedError, ArchitectureError, CheckpointError, SpaceError
        As `checkpoint.find` does.
    MissingDependencyError
        The installed packages cannot load it.
    LicenceError
        Its licence is not accepted.
    ParameterError
        It is something else in a bundle. Its weights are not downloaded then.
    """
    if choice.model == MOBILE_SAM:
        if "drawer" not in parts:
            raise _wrong_part(choice, "drawer", parts)
        return mobile_sam()
    formats = _formats(only)

    def check(checkpoint: Checkpoint) -> None:
        kind = formats[checkpoint.config["model_type"]]
        if kind.check_packages is not None:
            kind.check_packages()
        if kind.terms is not None:
            agree(kind.terms(checkpoint))

    _check_packages(choice)
    supported = [name for name, kind in formats.items() if kind.part in parts]
    try:
        checkpoint = find(choice.model, revision=revision, supported=supported, check=check)
    except ArchitectureError as error:
        if error.model_type in formats:
            raise _wrong_part(choice, formats[error.model_type].part, parts) from error
        known = ", ".join(entry.name for architecture, entry in entries() if only in (None, architecture))
        raise ArchitectureError(f"{error}; short names of models to start from: {known}") from error
    return replace(
        checkpoint_source(checkpoint, formats[checkpoint.config["model_type"]], image_size), name=choice.name
    )


def _check_packages(choice: Choice) -> None:
    """Check the packages for a model of the list before anything is downloaded, its configuration included."""
    for architecture, entry in entries():
        kind = architecture.checkpoints
        if entry.hub_id == choice.model and kind is not None and kind.check_packages is not None:
            kind.check_packages()


def _wrong_part(choice: Choice, found: Part, wanted: Collection[Part]) -> ParameterError:
    if "drawer" in wanted:
        return ParameterError(
            "--masks", "be a model that draws masks into boxes: see `automask export --list`", choice.model
        )
    if found == "drawer":
        requirement = f"find something: {choice.name} only draws masks; pass it to a finder, by --masks {choice.name}"
        return ParameterError("MODEL", requirement, choice.model)
    return ParameterError("--masks", "be left out: this model draws its masks itself", choice.model)


def _formats(only: Architecture | None) -> dict[str, CheckpointFormat]:
    """Return the formats by ``model_type``."""
    found = [only] if only else [find_architecture(name) for name in architecture_names()]
    kinds = [one.checkpoints for one in found if one is not None and one.checkpoints is not None]
    return {model_type: kind for kind in kinds for model_type in kind.model_types}


def list_entries() -> str:
    """Return the table of all published checkpoints."""
    found = [(a.checkpoints.part if a.checkpoints else "whole", entry) for a, entry in entries()]
    sections = []
    for part, title in _TITLES.items():
        rows = [_row(entry) for kind, entry in found if kind == part]
        if rows:
            sections.append("\n".join([title, "", *rows]))
    return "\n\n".join(sections)


def _row(entry: Entry) -> str:
    licence = f"{entry.licence}{f' (not: {entry.forbids})' if entry.forbids else ''}"
    return (
        f"  {entry.name:24} {entry.good_at}\n"
        f"  {'':24} {entry.hub_id}, {entry.megabytes} MB, images of {entry.image_size} px, {licence}"
    )
