"""Models split into graphs: the tensors of each submodel, and its export by optimum.

An architecture is a mapping from a graph's role to a `Submodel`. The shapes that a submodel states are its contract:
the exporter takes the dynamic axes from them, and the manifest repeats them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from optimum.exporters.onnx import OnnxConfig, export_models
from optimum.utils import NormalizedConfig
from torch import nn

from .graphs import OPSET, Tensor, save, slim
from .parity import Array

__all__ = ["Submodel", "export_submodels", "quiet"]

# Lengths of dynamic axes while tracing. All but the batch are longer than one, so that no code path for a single one is
# traced; they differ, so that no two axes of a graph become one. "texts" are encoded one by one, "classes" are theirs
# in a decoder, "phrases" are parts of one text.
_LENGTHS = {"batch": 1, "prompts": 2, "points": 3, "texts": 4, "classes": 5, "phrases": 6, "length": 7}
_OTHER_LENGTH = 3


@dataclass(frozen=True)
class Submodel:
    """One graph of a model.

    Attributes
    ----------
    module
        Takes the inputs by name and returns a dict of the outputs; optimum reads its attribute `config`, the model's.
    example
        Inputs to trace with, by name; by default ones and noise. Give them where a graph needs meaningful ones.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    example: Mapping[str, Array] | None = None

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the torch module on arrays; return the outputs by name."""
        with torch.inference_mode():
            outputs = self.module(**{name: torch.tensor(array) for name, array in inputs.items()})
        return {name: outputs[name].numpy() for name in self.outputs}


class _SubmodelConfig(OnnxConfig):
    """A submodel, described to optimum."""

    NORMALIZED_CONFIG_CLASS = NormalizedConfig
    DEFAULT_ONNX_OPSET = OPSET

    def __init__(self, submodel: Submodel, task: str) -> None:
        super().__init__(submodel.module.config, task=task)
        self._submodel = submodel

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        return {name: tensor.dynamic_axes for name, tensor in self._submodel.inputs.items()}

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        return {name: tensor.dynamic_axes for name, tensor in self._submodel.outputs.items()}

    def generate_dummy_inputs(self, framework: str = "pt", **_: Any) -> dict[str, Any]:  # noqa: ANN401 (optimum's own)
        arrays = self._submodel.example or {name: _example(one) for name, one in self._submodel.inputs.items()}
        # optimum calls this with "np" to find dynamic axes that turned out to be fixed.
        return dict(arrays) if framework == "np" else {name: torch.from_numpy(array) for name, array in arrays.items()}


def _example(tensor: Tensor) -> Array:
    shape = tuple(_LENGTHS.get(length, _OTHER_LENGTH) if isinstance(length, str) else length for length in tensor.shape)
    if tensor.dtype == "int64":
        return np.ones(shape, np.int64)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def export_submodels(submodels: Mapping[str, Submodel], folder: Path, *, task: str) -> dict[str, Path]:
    """Write one slimmed, checked float32 graph per submodel.

    Parameters
    ----------
    submodels
        By role.
    folder
        Folder for the files ``<role>.onnx``.
    task
        optimum's name of the model's task.

    Returns
    -------
    dict
        File by role.
    """
    with quiet():
        configured = {role: (one.module, _SubmodelConfig(one, task)) for role, one in submodels.items()}
        export_models(configured, folder)
    files = {role: folder / f"{role}.onnx" for role in submodels}
    for role, submodel in submodels.items():
        whole = onnx.load(files[role])
        _state_shapes(whole, submodel)
        slimmed = slim(whole)
        _state_shapes(slimmed, submodel)
        save(slimmed, files[role])
    return files


def _state_shapes(model: onnx.ModelProto, submodel: Submodel) -> None:
    """Write the stated shapes into the graph: the exporter gives two dynamic axes that may meet one common name."""
    del model.graph.value_info[:]
    for values, tensors in ((model.graph.input, submodel.inputs), (model.graph.output, submodel.outputs)):
        for value in values:
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
