"""Models split into graphs, and their export.

An architecture is a mapping from a graph's role to a `Submodel`. The shapes that a submodel states are its contract:
the exporter takes the dynamic axes from them, and the manifest repeats them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch

from .graphs import slim
from .submodel import Submodel
from .weights import put_back, take_out

__all__ = ["Submodel", "export_submodels", "quiet"]


def export_submodels(submodels: Mapping[str, Submodel], folder: Path, *, task: str | None) -> dict[str, Path]:
    """Write one slimmed, checked float32 graph per submodel.

    Parameters
    ----------
    submodels
        By role.
    folder
        Folder for the files ``<role>.onnx``.
    task
        optimum's name of the model's task; None to export without optimum.

    Returns
    -------
    dict
        File by role.
    """
    files = {role: folder / f"{role}.onnx" for role in submodels}
    # Of a graph over 2 GB, the exporters write each weight to a file of its own.
    with TemporaryDirectory(dir=folder) as temporary:
        if task is not None:
            from .by_optimum import export_by_optimum

            with quiet():
                export_by_optimum(submodels, Path(temporary), task)
        for role, submodel in submodels.items():
            raw = Path(temporary, f"{role}.onnx")
            if task is None:
                from .by_torch import export_by_torch

                with quiet():
                    export_by_torch(submodel, raw)
            _finish(raw, files[role], submodel)
    return files


def _finish(raw: Path, target: Path, submodel: Submodel) -> None:
    """Slim what an exporter wrote; remove that first, because both may be gigabytes."""
    whole = onnx.load(raw)
    raw.unlink()
    _state_shapes(whole, submodel)
    weights = take_out(whole)
    slimmed = slim(whole)
    _state_shapes(slimmed, submodel)
    put_back(slimmed, weights, target)


def _state_shapes(model: onnx.ModelProto, submodel: Submodel) -> None:
    """Write the stated shapes into the graph: the exporter gives two dynamic axes that may meet one common name."""
    del model.graph.value_info[:]
    for values, tensors in ((model.graph.input, submodel.inputs), (model.graph.output, submodel.outputs)):
        for value in values:
            if value.name not in tensors:  # a weight that is kept aside
                continue
            shape = value.type.tensor_type.shape
            del shape.dim[:]
            for length in tensors[value.name].shape:
                dim = shape.dim.add()
                if isinstance(length, str):
                    dim.dim_param = length
                else:
                    dim.dim_value = length


@contextmanager
def quiet() -> Iterator[None]:
    """Silence known warnings of the exporters; the parity check finds what they warn about."""
    loggers = [logging.getLogger(name) for name in ("optimum", "transformers")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        # torch.onnx's tracing exporter is deprecated since torch 2.9; optimum still uses it, with good reason.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Python values in the traced code: shapes that are fixed here, and masks whose axes stay dynamic.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # `slim` folds the rest
        warnings.filterwarnings("ignore", "Exporting aten::index", UserWarning)  # no index here is negative
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
