"""The files that a bundle is pulled from: a repository of the Hub, or a folder with the same files."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BundleError, BundleNotFoundError
from ..hub import HubError, check_cache_space, download, list_files, stated_licence

__all__ = ["Repository", "find_repository", "open_folder"]

_SMALL = ("*.json", "*.md", "LICEN[CS]E*", "NOTICE*")  # of any format; graphs are chosen by these


@dataclass(frozen=True, slots=True)
class Repository:
    """Files by name.

    Attributes
    ----------
    folder
        Where the files are; for a repository of the Hub, its folder in the cache.
    name
        Hub id, or the folder's path.
    hub_id
        Hub id of the model.
    commit
        Commit on the Hub; empty for a folder.
    sizes
        Bytes of each file by name; None if the Hub cannot be reached.
    """

    folder: Path
    name: str
    hub_id: str
    commit: str
    sizes: Mapping[str, int] | None

    def has(self, name: str) -> bool:
        """Return whether there is such a file: on the Hub, or else here."""
        return (self.folder / name).is_file() if self.sizes is None else name in self.sizes

    def fetch(self, names: Iterable[str]) -> None:
        """Download files that are not in the cache yet.

        Raises
        ------
        BundleError
            The repository does not have one.
        HubError, SpaceError
            As `automask.hub.download`; also if a file is neither in the cache nor can the Hub be reached.
        """
        wanted = list(names)
        if self.sizes is not None:
            absent = [name for name in wanted if name not in self.sizes]
            if absent:
                raise BundleError(f"{self.name} must have {', '.join(absent)}, it has {', '.join(sorted(self.sizes))}")
            if self.commit:
                check_cache_space(self.name, self.commit, {name: self.sizes[name] for name in wanted})
        if self.commit:
            download(self.name, self.commit, [glob.escape(name) for name in wanted])
        missing = [name for name in wanted if not (self.folder / name).is_file()]
        if missing:
            raise HubError(
                f"{', '.join(missing)} of {self.name}: not in the cache, and the Hub cannot be reached; in a folder "
                "that was made elsewhere, --from DIR needs neither"
            )

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one of the small files.

        Raises
        ------
        BundleError
            It is missing, or is no JSON object.
        """
        try:
            content = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BundleError(f"{self.name} must have {name}, it has none") from error
        except (OSError, ValueError) as error:
            raise BundleError(f"{name} of {self.name} cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise BundleError(f"{name} of {self.name} must be an object, is {type(content).__name__}")
        return content

    @property
    def small_files(self) -> list[str]:
        """Model cards and licences."""
        return sorted(path.name for pattern in _SMALL[1:] for path in self.folder.glob(pattern))

    @property
    def licence(self) -> str:
        """The licence that the model card states, or ``unknown``."""
        card = self.folder / "README.md"
        return stated_licence(card.read_text(encoding="utf-8", errors="replace") if card.is_file() else "")

    def source(self, licence: str) -> dict[str, str]:
        """Return the entry in ``sources`` of the manifest: what was pulled, and the commit."""
        version = self.commit or "local folder"
        return {"what": "the pulled repository", "package": self.hub_id, "version": version, "licence": licence}


def find_repository(hub_id: str, revision: str | None) -> Repository:
    """Find a repository of the Hub, and download its small files; raises as `automask.hub.download` does."""
    folder = download(hub_id, revision, _SMALL)
    return Repository(folder, hub_id, hub_id, folder.name, list_files(hub_id, folder.name))


def open_folder(folder: Path, hub_id: str) -> Repository:
    """Take a folder with the files of a repository.

    Raises
    ------
    BundleNotFoundError
        There is no such folder.
    """
    if not folder.is_dir():
        raise BundleNotFoundError(f"--from must be a folder with the files of a repository, got {str(folder)!r}")
    files = (path for path in folder.rglob("*") if path.is_file())
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    return Repository(folder, str(folder), hub_id, "", sizes)
