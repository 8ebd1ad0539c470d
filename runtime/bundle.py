"""Bundles: a folder of ONNX graphs and one `automask.json`, the manifest, that describes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

from .errors import BundleError, BundleNotFoundError
from .schema import check_manifest

__all__ = [
    "DATA_SUFFIX",
    "MANIFEST",
    "SCHEMA_VERSION",
    "Bundle",
    "Graph",
    "Shape",
    "TensorSpec",
    "Terms",
    "data_file",
    "graph_files",
    "open_bundle",
    "read_bundle",
    "sha256",
]

MANIFEST = "automask.json"
SCHEMA_VERSION = 1

DATA_SUFFIX = ".data"
"""Ending of a file that holds the weights of a large graph, after the name of the graph's file."""

Shape: TypeAlias = tuple[int | None, ...] | None
"""The shape that a family needs: None as an axis is any length, None as the whole is any shape."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or an output of a graph.

    Attributes
    ----------
    dtype
        Element type, such as ``float32``.
    shape
        Length of each axis; a name stands for an axis of any length.
    """

    dtype: str
    shape: tuple[int | str, ...]

    def fits(self, needed: Shape) -> bool:
        """Return whether tensors of this shape can have the needed one."""
        if needed is None:
            return True
        return len(needed) == len(self.shape) and all(
            isinstance(axis, str) or length is None or axis == length
            for axis, length in zip(self.shape, needed, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Graph:
    """One ONNX graph of a bundle.

    Attributes
    ----------
    role
        What it does in its family: ``detector``, ``image_encoder``, …
    variants
        File name by precision, such as ``{"int8": "image_encoder.int8.onnx"}``.
    inputs, outputs
        `TensorSpec` by name.
    """

    role: str
    variants: Mapping[str, str]
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    def choose(self, preferred: Sequence[str]) -> str:
        """Return the file of the first preferred precision that exists, else of the first one that exists."""
        for precision in preferred:
            if precision in self.variants:
                return self.variants[precision]
        return next(iter(self.variants.values()))


@dataclass(frozen=True, slots=True)
class Terms:
    """A licence with conditions.

    Attributes
    ----------
    name
        Its name and date.
    url
        Where its text is.
    conditions
        What it asks for and what it forbids, each in a few words.
    """

    name: str
    url: str
    conditions: Sequence[str]

    def __str__(self) -> str:
        """Return name and conditions in one line, as the manifest has them."""
        return f"{self.name}: {'; '.join(self.conditions)}"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The content of a manifest, checked.

    Attributes
    ----------
    folder
        Folder of the files.
    name, family, description, licence
        Name of the model, name of its family, one sentence about it, SPDX identifier of its licence.
    files
        SHA-256 (hex) by file name.
    graphs
        `Graph` by role.
    image, text
        Settings of the preprocessing, which the family reads.
    calibration
        Points (raw score, calibrated score), both rising from 0 to 1, between which scores are interpolated.
    sources
        Where the weights come from: package, version, file, SHA-256, licence.
    kinds
        Which implementation each part of the family has, where there are several: ``{"finder": "picodet"}``.
    proof
        File with what the model made of a photo at export; None in a bundle of an older exporter.
    terms
        Licences that a user must accept before the model is pulled.
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
    sources: tuple[Mapping[str, str], ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    proof: str | None = None
    terms: tuple[Terms, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum((self.folder / name).stat().st_size for name in self.files)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Each precision in which at least one graph exists."""
        return tuple(sorted({precision for graph in self.graphs.values() for precision in graph.variants}))

    def require(self, role: str, *, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> None:
        """Check that a graph has the inputs and outputs that a family uses.

        Parameters
        ----------
        role
            Role of the graph.
        inputs, outputs
            The needed shape by name.

        Raises
        ------
        KeyError
            There is no such graph.
        BundleError
            An input or output is missing, or cannot have the needed shape.
        """
        graph = self.graphs[role]
        for kind, needed, there in (("input", inputs, graph.inputs), ("output", outputs, graph.outputs)):
            for name, shape in needed.items():
                where = f"{self.folder / MANIFEST}: the graph {role!r}"
                if name not in there:
                    raise BundleError(f"{where} must have the {kind} {name!r}, has {', '.join(there)}")
                if not there[name].fits(shape):
                    raise BundleError(
                        f"{where} has the {kind} {name!r} as {_show(there[name].shape)}, must be {_show(shape)}"
                    )

    def check(self, opened: Collection[str] | None = None) -> None:
        """Check presence and SHA-256 of every file; with `opened`, skip graphs that are not in it, and their weights.

        Raises
        ------
        BundleError
            A file is missing, or is not the one listed.
        """
        graphs = {file for graph in self.graphs.values() for file in graph.variants.values()}
        for name, expected in self.files.items():
            graph = name.removesuffix(DATA_SUFFIX)
            if opened is None or graph in opened or graph not in graphs:
                _check_file(self.folder / name, expected)


def open_bundle(folder: Path) -> Bundle:
    """Read the bundle in a folder, and check its manifest and every file.

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
    """Read and check the manifest of the bundle in a folder; `Bundle.check` checks its files.

    Raises
    ------
    BundleNotFoundError
        The folder holds no `automask.json`.
    BundleError
        The manifest is malformed or of another schema version.
    """
    _require_file(folder / MANIFEST)
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
        manifest = json.loads(text, parse_constant=_refuse_constant)
        version = manifest["schema_version"]
        if version != SCHEMA_VERSION:
            raise BundleError(f"{where} has schema version {version!r}; this automask reads {SCHEMA_VERSION}")
        check_manifest(manifest)
        bundle = _from_json(folder, manifest)
    except KeyError as error:
        raise BundleError(f"{where} has no {error.args[0]!r}") from error
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{where} is malformed: {error}") from error
    _check_names(where, bundle)
    _check_calibration(where, bundle.calibration)
    return bundle


def _from_json(folder: Path, manifest: Mapping[str, Any]) -> Bundle:
    return Bundle(
        folder=folder,
        name=manifest["name"],
        family=manifest["family"],
        description=manifest["description"],
        licence=manifest["licence"],
        files=dict(manifest["files"]),
        graphs={
            role: Graph(role, dict(graph["variants"]), _tensors(graph["inputs"]), _tensors(graph["outputs"]))
            for role, graph in manifest["graphs"].items()
        },
        image=dict(manifest["image"]),
        text=dict(manifest["text"]),
        calibration=tuple((float(raw), float(score)) for raw, score in manifest["calibration"]),
        sources=tuple(manifest["sources"]),
        kinds=dict(manifest.get("kinds", {})),
        proof=manifest.get("proof"),
        terms=tuple(Terms(one["name"], one["url"], tuple(one["conditions"])) for one in manifest.get("terms", ())),
    )


def _tensors(described: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: TensorSpec(one["dtype"], tuple(one["shape"])) for name, one in described.items()}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _show(shape: tuple[int | str | None, ...] | None) -> str:
    return "anything" if shape is None else f"[{', '.join('any' if axis is None else str(axis) for axis in shape)}]"


def _check_names(where: Path, bundle: Bundle) -> None:
    for text in (bundle.name, bundle.family, bundle.description, bundle.licence):
        if not text.isprintable():  # it would control the terminal that shows it
            raise BundleError(f"{where}: {text!r} must be printable")
    for name in bundle.files:
        if not name or Path(name).name != name:
            raise BundleError(f"{where} lists {name!r}; files of a bundle are plain names inside its folder")
    if bundle.proof is not None and bundle.proof not in bundle.files:
        raise BundleError(f"{where} gives no SHA-256 for {bundle.proof!r} under 'files'")
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


def data_file(path: Path) -> Path:
    """Return the file for the weights of the graph in a file, which only a large graph has."""
    return path.with_name(path.name + DATA_SUFFIX)


def graph_files(path: Path) -> list[Path]:
    """Return the files of a graph, those that exist."""
    return [file for file in (path, data_file(path)) if file.is_file()]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_file(path: Path) -> None:
    """Refuse a device or a pipe, which might never end."""
    if path.exists() and not path.is_file():
        raise BundleError(f"{path} must be a file")


def _check_file(path: Path, expected: str) -> None:
    _require_file(path)
    try:
        found = sha256(path)
    except OSError as error:
        raise BundleError(f"{path} is listed in {MANIFEST} but cannot be read: {error.strerror}") from error
    if found != expected:
        raise BundleError(f"{path} is damaged or was replaced: its SHA-256 is {found}, {MANIFEST} says {expected}")
