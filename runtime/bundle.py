"""Bundles: a folder of ONNX graphs and one `automask.json` that says how they fit together."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from .errors import BundleError, BundleNotFoundError, MissingDependencyError

__all__ = [
    "HUB_ID",
    "MANIFEST",
    "SCHEMA_VERSION",
    "Bundle",
    "Graph",
    "built_in_bundles",
    "find_bundle",
    "locate_bundle",
    "open_bundle",
    "read_bundle",
    "sha256",
]

MANIFEST = "automask.json"
SCHEMA_VERSION = 1

_BUILT_IN = Path(__file__).parent / "bundles"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Graph:
    """One ONNX graph of a bundle.

    Attributes
    ----------
    role
        What it does in its family: ``detector``, ``image_encoder``, …
    variants
        File name by precision, such as ``{"int8": "image_encoder.int8.onnx"}``.
    """

    role: str
    variants: Mapping[str, str]

    def choose(self, preferred: Sequence[str]) -> str:
        """File of the first preferred precision that exists, else of the first one there is."""
        for precision in preferred:
            if precision in self.variants:
                return self.variants[precision]
        return next(iter(self.variants.values()))


@dataclass(frozen=True, slots=True)
class Bundle:
    """What `automask.json` says, checked.

    Attributes
    ----------
    folder
        Where the files are.
    files
        SHA-256 (hex) by file name.
    graphs
        `Graph` by role.
    image, text
        Preprocessing, as the family reads it.
    calibration
        Points (raw score, calibrated score), both rising from 0 to 1, between which scores are interpolated.
    sources
        Where the weights come from: package, version, file, SHA-256, licence.
    """

    folder: Path
    name: str
    family: str
    description: str
    licence: str
    files: Mapping[str, str]
    graphs: Mapping[str, Graph]
    image: Mapping[str, Any]
    text: Mapping[str, Any]
    calibration: tuple[tuple[float, float], ...] = ((0.0, 0.0), (1.0, 1.0))
    sources: tuple[Mapping[str, str], ...] = field(default=())

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum((self.folder / name).stat().st_size for name in self.files)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Every precision that at least one graph is there in."""
        return tuple(sorted({precision for graph in self.graphs.values() for precision in graph.variants}))

    def check(self, opened: Collection[str] | None = None) -> None:
        """Check presence and SHA-256 of every file, or of all but the graphs that are not `opened`.

        Raises
        ------
        BundleError
            A file is missing or not the one listed.
        """
        graphs = {file for graph in self.graphs.values() for file in graph.variants.values()}
        for name, expected in self.files.items():
            if opened is None or name in opened or name not in graphs:
                _check_file(self.folder / name, expected)


def built_in_bundles() -> tuple[str, ...]:
    """Names of the bundles that come with the package."""
    return tuple(sorted(manifest.parent.name for manifest in _BUILT_IN.glob(f"*/{MANIFEST}")))


def find_bundle(model: str | Path, *, revision: str | None = None) -> Bundle:
    """Find a bundle by folder, built-in name or Hub id, and check it and all its files.

    Raises
    ------
    BundleNotFoundError, BundleError, MissingDependencyError
        As `locate_bundle` and `open_bundle` do.
    """
    return open_bundle(locate_bundle(model, revision=revision))


def locate_bundle(model: str | Path, *, revision: str | None = None) -> Path:
    """Find the folder of a bundle by folder, built-in name or Hub id.

    Parameters
    ----------
    model
        A folder that holds an `automask.json`, the name of a built-in bundle, or a Hub id ``owner/name``, which is
        downloaded through `huggingface_hub` and cached by it. A folder wins over a name, a name over a Hub id.
    revision
        Branch, tag or commit; for a Hub id only.

    Raises
    ------
    BundleNotFoundError
        There is no such bundle, or the Hub could not be reached.
    MissingDependencyError
        A Hub id was given and `huggingface_hub` is not installed.
    """
    if Path(model).is_dir():
        return Path(model)
    name = str(model)
    if name in built_in_bundles():
        return _BUILT_IN / name
    if HUB_ID.fullmatch(name):
        return _download(name, revision)
    known = ", ".join(map(repr, built_in_bundles()))
    raise BundleNotFoundError(
        f"no bundle {name!r}: give a folder with an {MANIFEST}, a built-in name ({known}) or a Hub id (owner/name)"
    )


def _download(hub_id: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingDependencyError(
            f"{hub_id!r} looks like a Hub id; to download it: pip install 'automask[hub]'"
        ) from error
    try:
        return Path(snapshot_download(hub_id, revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise BundleNotFoundError(
            f"no bundle {hub_id!r}: it is no folder here, and the Hub did not give it: {reason}"
        ) from error


def open_bundle(folder: Path) -> Bundle:
    """Read and check the bundle in a folder: schema, presence of every file, SHA-256 of every file.

    Raises
    ------
    BundleNotFoundError
        The folder holds no `automask.json`.
    BundleError
        The manifest is malformed or of another schema version, or a file is missing or not the one listed.
    """
    bundle = read_bundle(folder)
    bundle.check()
    return bundle


def read_bundle(folder: Path) -> Bundle:
    """Read and check the manifest of the bundle in a folder; `Bundle.check` is for its files.

    Raises
    ------
    BundleNotFoundError
        The folder holds no `automask.json`.
    BundleError
        The manifest is malformed or of another schema version.
    """
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BundleNotFoundError(f"{folder} is no bundle: it holds no {MANIFEST}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{folder / MANIFEST} cannot be read: {error}") from error
    return _parse(folder, text)


def _parse(folder: Path, text: str) -> Bundle:
    where = folder / MANIFEST
    try:
        manifest = json.loads(text)
        version = manifest["schema_version"]
        if version != SCHEMA_VERSION:
            raise BundleError(f"{where} has schema version {version!r}; this automask reads {SCHEMA_VERSION}")
        bundle = Bundle(
            folder=folder,
            name=str(manifest["name"]),
            family=str(manifest["family"]),
            description=str(manifest["description"]),
            licence=str(manifest["licence"]),
            files=dict(manifest["files"]),
            graphs={role: Graph(role, dict(graph["variants"])) for role, graph in manifest["graphs"].items()},
            image=dict(manifest["image"]),
            text=dict(manifest["text"]),
            calibration=tuple((float(raw), float(score)) for raw, score in manifest["calibration"]),
            sources=tuple(manifest["sources"]),
        )
    except KeyError as error:
        raise BundleError(f"{where} has no {error.args[0]!r}") from error
    except (AttributeError, TypeError, ValueError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{where} is malformed: {error}") from error
    _check_names(where, bundle)
    _check_calibration(where, bundle.calibration)
    return bundle


def _check_names(where: Path, bundle: Bundle) -> None:
    for name in bundle.files:
        if Path(name).name != name:
            raise BundleError(f"{where} lists {name!r}; files of a bundle are plain names inside its folder")
    for graph in bundle.graphs.values():
        if not graph.variants:
            raise BundleError(f"{where} gives no file for the graph {graph.role!r}")
        for file in graph.variants.values():
            if file not in bundle.files:
                raise BundleError(f"{where} gives no SHA-256 for {file!r} under 'files'")


def _check_calibration(where: Path, points: tuple[tuple[float, float], ...]) -> None:
    ends = points[:1] == ((0.0, 0.0),) and points[-1:] == ((1.0, 1.0),)
    rising = all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(points))
    if not (ends and rising):
        raise BundleError(f"{where}: 'calibration' must rise from [0, 0] to [1, 1], got {points}")


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_file(path: Path, expected: str) -> None:
    try:
        found = sha256(path)
    except OSError as error:
        raise BundleError(f"{path} is listed in {MANIFEST} but cannot be read: {error.strerror}") from error
    if found != expected:
        raise BundleError(f"{path} is damaged or was exchanged: its SHA-256 is {found}, {MANIFEST} says {expected}")
