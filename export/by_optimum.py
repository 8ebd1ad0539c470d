"""Export of submodels by optimum, each through a configuration that repeats its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from optimum.exporters.onnx import OnnxConfig, export_models
from optimum.utils import NormalizedConfig

from .graphs import OPSET
from .submodel import Submodel

__all__ = ["export_by_optimum"]


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
        arrays = self._submodel.example_inputs()
        # optimum calls this with "np" to find dynamic axes that turned out to be fixed.
        return arrays if framework == "np" else {name: torch.from_numpy(array) for name, array in arrays.items()}


def export_by_optimum(submodels: Mapping[str, Submodel], folder: Path, task: str) -> None:
    """Write the files ``<role>.onnx``; parameters as for `automask.export.submodels.export_submodels`."""
    export_models({role: (one.module, _SubmodelConfig(one, task)) for role, one in submodels.items()}, folder)
