"""Models split into graphs: each part says what goes in and out, and optimum exports it.

An architecture is a mapping from a graph's role to a `Part`. The shapes that a part states are its contract: the
exporter takes the free axes from them, and the manifest repeats them.
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

from .graphs import OPSET, save, slim

__all__ = ["Part", "Tensor", "export_parts", "quiet"]

# Lengths to trace with. Prompts and length are more than one, so that nothing is traced as if there were only ever one.
_LENGTHS = {"batch": 1, "prompts": 2, "length": 7}


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output; a name in the shape is a free axis."""

    shape: tuple[int | str, ...]
    dtype: str = "float32"

    @property
    def free(self) -> dict[int, str]:
        """Names of the free axes."""
        return {axis: length for axis, length in enumerate(self.shape) if isinstance(length, str)}

    def described(self) -> dict[str, Any]:
        """As the manifest says it."""
        return {"dtype": self.dtype, "shape": list(self.shape)}


@dataclass(frozen=True)
class Part:
    """One graph of a model.

    Attributes
    ----------
    module
        Takes the inputs by name and returns a dict of the outputs; `config` is the model's, which optimum reads.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


class _PartConfig(OnnxConfig):
    """What optimum wants to know of a part."""

    NORMALIZED_CONFIG_CLASS = NormalizedConfig
    DEFAULT_ONNX_OPSET = OPSET

    def __init__(self, part: Part, task: str) -> None:
        super().__init__(part.module.config, task=task)
        self._part = part

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        return {name: tensor.free for name, tensor in self._part.inputs.items()}

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        return {name: tensor.free for name, tensor in self._part.outputs.items()}

    def generate_dummy_inputs(self, framework: str = "pt", **_: Any) -> dict[str, Any]:  # noqa: ANN401 (optimum's own)
        arrays = {name: _example(tensor) for name, tensor in self._part.inputs.items()}
        # optimum asks for numpy when it settles the axes that turned out to be fixed.
        return arrays if framework == "np" else {name: torch.from_numpy(array) for name, array in arrays.items()}


def _example(tensor: Tensor) -> np.ndarray[Any, np.dtype[Any]]:
    shape = tuple(_LENGTHS[length] if isinstance(length, str) else length for length in tensor.shape)
    if tensor.dtype == "int64":
        return np.ones(shape, np.int64)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def export_parts(parts: Mapping[str, Part], folder: Path, *, task: str) -> dict[str, Path]:
    """Write one slimmed, checked float32 graph per part.

    Parameters
    ----------
    parts
        By role.
    folder
        Where ``<role>.onnx`` goes.
    task
        optimum's name of the model's task.

    Returns
    -------
    dict
        File by role.
    """
    with quiet():
        export_models({role: (part.module, _PartConfig(part, task)) for role, part in parts.items()}, folder)
    files = {role: folder / f"{role}.onnx" for role in parts}
    for role, part in parts.items():
        whole = onnx.load(files[role])
        _state_shapes(whole, part)
        slimmed = slim(whole)
        _state_shapes(slimmed, part)
        save(slimmed, files[role])
    return files


def _state_shapes(model: onnx.ModelProto, part: Part) -> None:
    """Write the contract into the graph: where two free axes may meet, the exporter takes them for one."""
    del model.graph.value_info[:]
    for values, tensors in ((model.graph.input, part.inputs), (model.graph.output, part.outputs)):
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
    """Hide what the exporters say about themselves; the parity check says whether they did it right."""
    loggers = [logging.getLogger(name) for name in ("optimum", "transformers")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        # Deprecated since torch 2.9, and still the exporter that optimum uses, for good reasons.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Python values in the traced code: shapes that are fixed here, and masks whose axes stay free.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # what it leaves, `slim` folds
        warnings.filterwarnings("ignore", "Exporting aten::index", UserWarning)  # no index here is negative
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
