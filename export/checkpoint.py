"""Checkpoints of transformers, in a folder or on the Hub: files, configuration, licence."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automask.bundle import sha256
from automask.errors import AutomaskError
from automask.hub import (
    HubError,
    HubGatedError,
    HubUnreachableError,
    check_cache_space,
    download,
    list_files,
    stated_licence,
)
from automask.lookup import HUB_ID

__all__ = ["ArchitectureError", "Checkpoint", "CheckpointError", "CheckpointNotFoundError", "GatedError", "find"]

_SAFE, _PICKLED = "*.safetensors", "pytorch_model*.bin"
_SMALL = ["*.json", "*.txt", "*.model", "README.md", "LICENSE*"]


class CheckpointError(AutomaskError, ValueError):
    """A checkpoint is incomplete, damaged, or contradicts itself."""


class ArchitectureError(CheckpointError):
    """A checkpoint has an architecture that this export does not support.

    Attributes
    ----------
    model_type
        ``model_type`` in its `config.json`; empty if there is none.
    """

    def __init__(self, message: str, model_type: str = "") -> None:
        super().__init__(message)
        self.model_type = model_type


class CheckpointNotFoundError(AutomaskError, FileNotFoundError):
    """There is no checkpoint in the folder or under the Hub id, or the Hub is unreachable."""


class GatedError(AutomaskError, PermissionError):
    """The weights are gated: the Hub requires that their terms are accepted."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on this disk.

    Attributes
    ----------
    folder
        Folder of its files.
    name
        Hub id, or the folder's own name.
    revision
        Commit on the Hub; empty for a folder.
    config
        `config.json`.
    card
        README.md; empty if there is none.
    """

    folder: Path
    name: str
    revision: str
    config: dict[str, Any]
    card: str

    @property
    def weights(self) -> list[Path]:
        """Files of the weights; safetensors if there are several formats."""
        for pattern in (_SAFE, _PICKLED):
            if files := sorted(self.folder.glob(pattern)):
                return files
        return []

    @property
    def licence(self) -> str:
        """The licence in the card's front matter, or ``unknown``."""
        return stated_licence(self.card)

    def sources(self) -> list[dict[str, str]]:
        """Return ``sources`` of the manifest: package, version, licence, file and SHA-256 of the weights."""
        origin = {
            "what": "the checkpoint",
            "package": self.name,
            "version": self.revision or "local folder",
            "licence": self.licence,
        }
        return [{**origin, "file": file.name, "sha256": sha256(file)} for file in self.weights]


def find(
    model: str, *, revision: str | None, supported: Sequence[str], check: Callable[[Checkpoint], None] | None = None
) -> Checkpoint:
    """Find a checkpoint; check its architecture before the weights are downloaded.

    Parameters
    ----------
    model
        A folder, or a Hub id ``owner/name``.
    revision
        Branch, tag or commit; for a Hub id only.
    supported
        Accepted values of ``model_type``.
    check
        Called with the checkpoint before its weights are downloaded.

    Raises
    ------
    CheckpointNotFoundError
        There is none, or the Hub is unreachable.
    GatedError
        Its terms are not accepted.
    ArchitectureError
        It has another architecture.
    CheckpointError
        It has no weights, or `config.json` cannot be read.
    SpaceError
        The disk has too little space for the weights, or became full during the download.
    """
    if Path(model).is_dir():
        checkpoint = _read(Path(model), Path(model).resolve().name, "", supported)
        if check is not None:
            check(checkpoint)
    elif HUB_ID.fullmatch(model):
        folder = _download(model, revision, _SMALL)
        checkpoint = _read(folder, model, folder.name, supported)
        if check is not None:
            check(checkpoint)
        _check_download(model, folder.name)
        folder = _download(model, revision, [_SAFE])
        if not list(folder.glob(_SAFE)):
            folder = _download(model, revision, [_PICKLED])
        checkpoint = _read(folder, model, folder.name, supported)
    else:
        raise CheckpointNotFoundError(f"no checkpoint {model!r}: it is no folder, nor a Hub id (owner/name)")
    if not checkpoint.weights:
        raise CheckpointError(f"{checkpoint.name} holds no weights: neither *.safetensors nor pytorch_model*.bin")
    return checkpoint


def _read(folder: Path, name: str, revision: str, supported: Sequence[str]) -> Checkpoint:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        found = config["model_type"]
    except FileNotFoundError as error:
        raise CheckpointNotFoundError(f"{name} is no checkpoint of transformers: it holds no config.json") from error
    except KeyError as error:
        raise ArchitectureError(f"config.json of {name} names no model_type; supported: {_join(supported)}") from error
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"config.json of {name} cannot be read: {error}") from error
    if found not in supported:
        raise ArchitectureError(
            f"{name} is of architecture {found!r}; this export supports {_join(supported)}", str(found)
        )
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    return Checkpoint(folder, name, revision, config, text)


def _join(supported: Sequence[str]) -> str:
    return ", ".join(map(repr, supported))


def _check_download(hub_id: str, commit: str) -> None:
    """Check that the disk of the Hub's cache has space for the weights that are not there yet.

    Raises
    ------
    SpaceError
        It has less.
    """
    sizes = list_files(hub_id, commit) or {}
    wanted = fnmatch.filter(sizes, _SAFE) or fnmatch.filter(sizes, _PICKLED)
    check_cache_space(hub_id, commit, {name: sizes[name] for name in wanted})


def _download(hub_id: str, revision: str | None, patterns: list[str]) -> Path:
    """Download some files of a repository; return their folder, whose name is the commit."""
    try:
        return download(hub_id, revision, patterns, what="checkpoint", extra="export")
    except HubGatedError as error:
        raise GatedError(str(error)) from error
    except HubUnreachableError as error:
        raise CheckpointNotFoundError(
            f"{hub_id} is no folder here, and the Hub could not be reached: {error.reason} Where it can be, run `hf "
            f"download {hub_id} --local-dir {hub_id.rpartition('/')[2]}` (config.json, preprocessor_config.json, "
            "tokenizer files and *.safetensors are needed); then copy this folder here, and give it instead of the Hub "
            "id"
        ) from error
    except HubError as error:
        raise CheckpointNotFoundError(str(error)) from error
