"""Pulling: a repository of the Hub becomes a bundle of the user, without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..bundle import MANIFEST, Terms, read_bundle
from ..errors import BundleError, BundleNotFoundError, ParameterError
from ..licences import accept
from ..lookup import HUB_ID, place_of
from ..manifest import write_manifest
from ..proof import add_proof
from ..publish import check_output, staged
from ..sense import Sense, check_sense
from .catalogue import ENTRIES, list_entries
from .ready import write_ready
from .ready_made import PRECISIONS, write_ready_made
from .repository import Repository, find_repository, open_folder

__all__ = ["ENTRIES", "PRECISIONS", "Pulled", "list_entries", "pull"]


@dataclass(frozen=True, slots=True)
class Pulled:
    """A bundle that was pulled.

    Attributes
    ----------
    name, folder
        Name and folder of the bundle.
    sense
        What it made of a photo whose answer is known.
    """

    name: str
    folder: Path
    sense: Sense


def pull(
    model: str,
    *,
    name: str | None = None,
    revision: str | None = None,
    source: Path | None = None,
    precisions: Sequence[str] = (),
    force: bool = False,
    agree: Callable[[Terms], None] = accept,
    progress: Callable[[str], None] = lambda _: None,
) -> Pulled:
    """Make a bundle of a repository, in the user's bundle folder. Nothing is left there unless every step succeeds.

    Parameters
    ----------
    model
        A short name of `ENTRIES`, or a Hub id ``owner/name``.
    name
        Name of the bundle; None for the model's.
    revision
        Branch, tag or commit on the Hub.
    source
        A folder that holds the files of the repository; nothing is downloaded then.
    precisions
        Some of `PRECISIONS`; empty for the first one that there is. A bundle is taken whole.
    force
        Replace a bundle of this name.
    agree
        Called with each licence that has conditions, before the graphs are downloaded; raises `LicenceError` if the
        user does not accept it.
    progress
        Called with one line at a time.

    Raises
    ------
    ParameterError
        The model, the name or the precision is none.
    OutputError
        There is a bundle of this name.
    HubError
        The repository is unknown, private or gated, or the Hub cannot be reached.
    LicenceError
        A licence of a bundle is not accepted.
    BundleNotFoundError
        There is no such folder.
    BundleError
        The repository is neither a bundle nor has graphs that become one, or is damaged.
    SpaceError
        The disk has too little space.
    MissingDependencyError
        A package is not installed.
    """
    hub_id = {entry.name: entry.hub_id for entry in ENTRIES}.get(model, model)
    if not HUB_ID.fullmatch(hub_id):
        raise ParameterError("MODEL", "be a short name of `automask pull --list`, or a Hub id (owner/name)", model)
    name = model.rpartition("/")[2] if name is None else name
    output = place_of(name)
    check_output(output, force=force)
    progress(f"repository: {hub_id if source is None else source}")
    repository = open_folder(source, hub_id) if source else find_repository(hub_id, revision)
    if repository.has(MANIFEST):
        for terms in read_bundle(repository.folder).terms:
            agree(terms)
    with staged(output) as (folder, _):
        try:
            manifest = _write(repository, folder, precisions, name)
            write_manifest(folder, manifest)
            progress(f"licence: {manifest['licence']}")
            progress("sense: a photo of a person")
            sense = check_sense(folder)
            if manifest.get("proof") is None:
                progress("proof: what the graphs make of a photo, for each device to be compared with")
                add_proof(folder, manifest)
        except BundleError as error:  # names the repository, not a folder that is gone
            raise BundleError(str(error).replace(str(folder), repository.name)) from error
        write_manifest(folder, {**manifest, "sense": {**asdict(sense), "holds": sense.holds}})
        check_output(output, force=force)  # another pull may have ended there in the meantime
    return Pulled(name, output, sense)


def _write(repository: Repository, folder: Path, precisions: Sequence[str], name: str) -> dict[str, Any]:
    """Write all files of a bundle but its manifest, which is returned."""
    if repository.has(MANIFEST):
        return {**write_ready(repository, folder, precisions), "name": name}
    if repository.has("config.json"):
        return write_ready_made(repository, folder, precisions, name)
    raise BundleNotFoundError(
        f"{repository.name} is no model that can be pulled: it holds neither {MANIFEST} nor config.json"
    )
