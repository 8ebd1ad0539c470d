"""Ready-made graphs in the layout of transformers.js: config.json, tokenizer.json and onnx/model_quantized.onnx."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ..bundle import TensorSpec, sha256
from ..devices import CPU
from ..errors import BundleError, ParameterError
from ..manifest import describe_bundle, variant_name
from ..publish import check_space
from ..session import Session
from ..words.tokenizer import Tokenizer
from .catalogue import known_licence
from .layouts import LAYOUTS, Layout
from .mobile_sam import MOBILE_SAM, read_mobile_sam
from .repository import Repository

__all__ = ["PRECISIONS", "write_ready_made"]

_FILES: Mapping[str, Sequence[str]] = {
    "int8": ("onnx/model_quantized.onnx", "onnx/model_int8.onnx", "onnx/model_uint8.onnx"),
    "fp32": ("onnx/model.onnx",),
    "fp16": ("onnx/model_fp16.onnx",),
}
PRECISIONS = tuple(_FILES)
"""Precisions that such a repository may have; without a choice, the first one that it has is pulled."""

_TOKENIZER = "tokenizer.json"
_DTYPES = ("float32", "int64")  # what the runtime gives


def write_ready_made(repository: Repository, folder: Path, precisions: Sequence[str], name: str) -> dict[str, Any]:
    """Make a bundle of ready-made graphs.

    Parameters
    ----------
    folder
        An empty folder.
    precisions
        Some of `PRECISIONS`; empty for the first one that there is.
    name
        Name of the bundle.

    Returns
    -------
    dict
        Its manifest, which is not written yet.

    Raises
    ------
    BundleError
        The architecture is unknown, a file is missing or damaged, or a graph has other inputs than are given.
    ParameterError
        There is no graph in a precision.
    HubError, SpaceError
        As `Repository.fetch`.
    """
    config = repository.read_json("config.json")
    layout = _layout(config, repository.name)
    chosen = _choose(repository, precisions)
    data = [f"{file}_data" for file in chosen.values() if repository.has(f"{file}_data")]
    repository.fetch([_TOKENIZER, "preprocessor_config.json", *chosen.values(), *data])
    stated = repository.read_json("preprocessor_config.json")
    copies = {file: variant_name(layout.role, precision) for precision, file in chosen.items()}
    copies |= {file: Path(file).name for file in [_TOKENIZER, *data]}  # the graph has the name of its data in it
    check_space(folder, sum((repository.folder / file).stat().st_size for file in copies))
    for file, copy in copies.items():
        shutil.copyfile(repository.folder / file, folder / copy)
    graph = _describe_graph(folder, layout, copies, chosen, repository.name)
    image = _image_settings(stated, layout, graph["inputs"]["pixel_values"]["shape"], repository.name)
    _check_tokens(folder / _TOKENIZER, layout, repository.name)
    licence = known_licence(repository)
    source = repository.source(licence)
    sums = {file: sha256(folder / copies[file]) for file in chosen.values()}
    manifest = describe_bundle(
        folder,
        name=name,
        family=layout.family,
        kinds=layout.kinds,
        description=layout.description,
        licence=licence,
        sources=[{**source, "file": file, "sha256": digest} for file, digest in sums.items()],
        exported_with={},
        graphs={layout.role: graph},
        image={layout.role: image},
        text={**layout.text, "file": _TOKENIZER, "max_length": _longest(config, layout)},
        calibration=layout.calibration,
    )
    return manifest if layout.draws else _add_drawer(manifest, folder, name)


def _add_drawer(manifest: Mapping[str, Any], folder: Path, name: str) -> dict[str, Any]:
    """Copy MobileSAM into a bundle that only finds boxes; return the manifest of both."""
    drawer = read_mobile_sam()
    for path in drawer.files:
        shutil.copyfile(path, folder / path.name)
    return {
        **manifest,
        "licence": f"{name}: {manifest['licence']}; {MOBILE_SAM}: {drawer.licence}",
        "sources": [*manifest["sources"], *drawer.sources],
        "files": {**manifest["files"], **{path.name: sha256(folder / path.name) for path in drawer.files}},
        "graphs": {**manifest["graphs"], **drawer.graphs},
        "image": {**manifest["image"], **drawer.image},
    }


def _layout(config: Mapping[str, Any], name: str) -> Layout:
    found = config.get("model_type")
    if not isinstance(found, str) or found not in LAYOUTS:
        raise BundleError(
            f"{name} is of architecture {found!r}; ready-made models that can be pulled are of {', '.join(LAYOUTS)}. "
            "More architectures are exported from their checkpoints: `automask export --list`"
        )
    return LAYOUTS[found]


def _choose(repository: Repository, precisions: Iterable[str]) -> dict[str, str]:
    """Return the file of each precision."""
    there = {
        precision: next(file for file in files if repository.has(file))
        for precision, files in _FILES.items()
        if any(map(repository.has, files))
    }
    if not there:
        raise BundleError(
            f"{repository.name} has no graphs: it must hold one of "
            f"{', '.join(file for files in _FILES.values() for file in files)}. A checkpoint of transformers is "
            f"exported: `automask export {repository.name}`"
        )
    wanted = list(precisions) or [next(iter(there))]
    for precision in wanted:
        if precision not in there:
            requirement = f"be one of {', '.join(there)}, which {repository.name} has"
            raise ParameterError("--precision", requirement, precision)
    return {precision: there[precision] for precision in wanted}


def _longest(config: Mapping[str, Any], layout: Layout) -> int:
    """Return the most tokens of a prompt."""
    stated: Any = config
    for key in layout.longest_key:
        stated = stated.get(key) if isinstance(stated, dict) else None
    return stated if isinstance(stated, int) else layout.longest


def _check_tokens(path: Path, layout: Layout, name: str) -> None:
    """Check that the tokenizer has the ids that the network expects.

    Raises
    ------
    BundleError
        It has others.
    """
    if layout.tokens:
        tokenizer = Tokenizer(path, layout.longest)
        found = {token: tokenizer.token_id(token) for token in layout.tokens}
        if found != layout.tokens:
            raise BundleError(f"the tokenizer of {name} must have the ids {dict(layout.tokens)}, it has {found}")


def _image_settings(stated: Mapping[str, Any], layout: Layout, shape: Sequence[int | str], name: str) -> dict[str, Any]:
    """Return the settings of the image's preprocessing, in units of 0..255.

    Parameters
    ----------
    stated
        Content of `preprocessor_config.json`.
    shape
        Shape of the graph's input.

    Raises
    ------
    BundleError
        They are not those of a square image.
    """
    where = f"preprocessor_config.json of {name}"
    settings = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255, **layout.image}
    settings |= stated
    try:
        size = _side(settings["size"]) if layout.resize == "stretch" else _padded_side(settings["size"], shape)
        if (settings.get("do_center_crop") and _side(settings["crop_size"]) != size) or not settings["do_resize"]:
            raise BundleError(f"{where} must resize images to a square and not crop them")
        factor = settings["rescale_factor"] if settings["do_rescale"] else 1.0
        mean, std = (
            settings[key] if settings["do_normalize"] else [plain] * 3
            for key, plain in (("image_mean", 0.0), ("image_std", 1.0))
        )
        return {
            "size": size,
            "resize": layout.resize,
            "interpolation": f"pillow_{Image.Resampling(settings['resample']).name.lower()}",
            "mean": [float(value) / factor for value in mean],
            "std": [float(value) / factor for value in std],
        }
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{where} cannot be read: {error!r}") from error


def _side(size: Any) -> int:  # noqa: ANN401 (as the file has it)
    """Return the side of a square: older files have one number or a pair, newer ones names."""
    sides = size.values() if isinstance(size, dict) else size if isinstance(size, list) else [size]
    (side,) = {int(one) for one in sides}
    return side


def _padded_side(size: Any, shape: Sequence[int | str]) -> int:  # noqa: ANN401 (as the file has it)
    """Return the side of the square into which images are fitted: the graph's own, else the shorter side stated."""
    fixed = [length for length in shape[2:] if isinstance(length, int)]
    shortest = size.get("shortest_edge") if isinstance(size, dict) else None
    return _side(fixed or shortest or size)


def _describe_graph(
    folder: Path, layout: Layout, files: Mapping[str, str], chosen: Mapping[str, str], name: str
) -> dict[str, Any]:
    """Open the graph in each precision, and describe it.

    Parameters
    ----------
    files
        Name in the bundle's folder by name in the repository.
    chosen
        Name in the repository by precision.
    name
        Name of the repository.

    Raises
    ------
    BundleError
        It cannot be opened, or has other inputs than the runtime gives.
    """
    signatures = [_open(folder / files[file], f"{file} of {name}", layout.inputs) for file in chosen.values()]
    inputs, outputs = signatures[0]
    return {
        "variants": {precision: files[file] for precision, file in chosen.items()},
        "inputs": _describe(inputs),
        "outputs": _describe(outputs),
    }


def _open(path: Path, shown: str, needed: frozenset[str]) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    """Return the inputs and outputs of a graph, which must be those that the runtime gives."""
    try:
        inputs, outputs = Session(path, CPU).signature
    except BundleError as error:
        raise BundleError(str(error).replace(str(path), shown)) from error
    if set(inputs) != needed:
        raise BundleError(f"{shown} must have the inputs {_join(needed)}, it has {_join(inputs)}")
    for name, spec in inputs.items():
        if spec.dtype not in _DTYPES:
            raise BundleError(f"{shown} has the input {name!r} as {spec.dtype}, must be {' or '.join(_DTYPES)}")
    return inputs, outputs


def _join(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _describe(tensors: Mapping[str, TensorSpec]) -> dict[str, Any]:
    return {name: {"dtype": spec.dtype, "shape": list(spec.shape)} for name, spec in tensors.items()}
