"""The table of devices: execution providers, probes, precisions, what to install. A new device is one row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from .hardware import identify_nvidia, tensorrt_versions
from .info import DeviceInfo
from .plugins import Plugin
from .providers import (
    coreml,
    coreml_options,
    cuda,
    cuda_options,
    directml,
    macos_version,
    openvino,
    openvino_gpu,
    openvino_gpu_options,
    openvino_options,
    preload_nvidia,
    probe_nvidia,
    qnn,
    tensorrt,
    tensorrt_options,
    tensorrt_rtx_options,
)

__all__ = ["DEVICES"]


def _plugin_row(plugin: Plugin, **fields: Any) -> DeviceInfo:  # noqa: ANN401 (those of a row)
    """Return the row of a plugin; it works beside ONNX Runtime's wheel for the CPU."""
    return DeviceInfo(
        wheel="onnxruntime",
        plugin=plugin,
        automatic="where faster",
        **{"providers": lambda: [(plugin.provider, {})], **fields},
    )


_CPU = DeviceInfo(
    name="cpu",
    wheel="onnxruntime",
    extras={"cpu": "any machine"},
    providers=lambda: [("CPUExecutionProvider", {})],
    precisions=("int8", "fp32", "fp16"),
    float32_error=0.001,
    compares=("int8", "fp32"),
)
_CUDA = DeviceInfo(
    name="cuda",
    wheel="onnxruntime-gpu",
    extras={"gpu": "NVIDIA, CUDA 13", "gpu-cu12": "NVIDIA, CUDA 12"},
    requirements="an NVIDIA GPU, its driver, CUDA and cuDNN",
    providers=cuda,
    options=cuda_options,
    memory="cuda",
    precisions=("fp16", "fp32"),
    probe=probe_nvidia,
    prepare=preload_nvidia,
    identify=identify_nvidia,
    least_share=0.0,  # what it leaves to the CPU are many nodes for shapes, of no weight
    is_gpu=True,
    batches_boxes=True,
)
_TENSORRT = replace(
    _CUDA,
    name="tensorrt",
    requirements="an NVIDIA GPU, its driver, CUDA, cuDNN and TensorRT",
    providers=tensorrt,
    options=tensorrt_options,
    builds_engines=True,
    versions=tensorrt_versions,
    automatic="never",
)
_TENSORRT_RTX = _plugin_row(
    Plugin(
        distribution="onnxruntime-ep-nv-tensorrt-rtx",
        module="onnxruntime_ep_nv_tensorrt_rtx",
        provider="NvTensorRTRTXExecutionProvider",
        hardware="GPU",
    ),
    name="tensorrt-rtx",
    extras={"tensorrt-rtx": "NVIDIA, from RTX 30 on"},
    requirements="an NVIDIA GPU of the Ampere generation or later, and a driver for CUDA 13",
    options=tensorrt_rtx_options,
    builds_engines=True,
    systems=(("Linux", "x86_64"), ("Windows", "AMD64")),
    precisions=("fp16", "fp32"),
    probe=probe_nvidia,
    identify=identify_nvidia,
    is_gpu=True,
    batches_boxes=True,
)
_OPENVINO_PLUGIN = Plugin(
    distribution="onnxruntime-ep-openvino",
    module="onnxruntime_ep_openvino",
    provider="OpenVINOExecutionProvider",
    hardware="CPU",
)
_OPENVINO = _plugin_row(
    _OPENVINO_PLUGIN,
    name="openvino",
    extras={"openvino": "Intel"},
    requirements="an Intel processor",
    providers=openvino,
    options=openvino_options,
    systems=(("Linux", "x86_64"), ("Windows", "AMD64")),
    precisions=("fp32", "int8"),
    float32_error=0.001,
    compares=("fp32", "int8"),
)
_OPENVINO_GPU = _plugin_row(
    replace(_OPENVINO_PLUGIN, hardware="GPU"),
    name="openvino-gpu",
    extras=_OPENVINO.extras,
    requirements="an Intel GPU and its driver for OpenCL",
    providers=openvino_gpu,
    options=openvino_gpu_options,
    builds_engines=True,
    systems=_OPENVINO.systems,
    precisions=("fp16", "fp32"),
    is_gpu=True,
    batches_boxes=True,
)
_COREML = DeviceInfo(
    name="coreml",
    wheel="onnxruntime",
    extras={"cpu": "any machine"},
    systems=(("Darwin", ""),),
    providers=coreml,
    options=coreml_options,
    builds_engines=True,
    versions=macos_version,
    precisions=("fp32", "fp16"),
    float32_error=0.02,  # it may compute in float16
    automatic="where faster",
)
_DIRECTML = DeviceInfo(
    name="directml",
    wheel="onnxruntime-directml",
    extras={"directml": "any GPU, on Windows"},
    requirements="a GPU with DirectX 12",
    systems=(("Windows", "AMD64"),),
    providers=directml,
    precisions=("fp16", "fp32"),
    automatic="where faster",
    is_serial=True,
    is_gpu=True,
    batches_boxes=True,
)
_QNN = _plugin_row(
    Plugin(
        distribution="onnxruntime-qnn",
        module="onnxruntime_qnn",
        provider="QNNExecutionProvider",
        hardware="NPU",
    ),
    name="qnn",
    providers=qnn,
    extras={"qnn": "Qualcomm"},
    requirements="a Qualcomm processor with a Hexagon neural processor",
    systems=(("Windows", "ARM64"), ("Linux", "aarch64")),
    precisions=("fp32",),
    float32_error=0.02,  # it computes in float16
)

_ROWS = (_CPU, _CUDA, _TENSORRT, _TENSORRT_RTX, _OPENVINO, _OPENVINO_GPU, _COREML, _DIRECTML, _QNN)
DEVICES: Final[dict[str, DeviceInfo]] = {row.name: row for row in _ROWS}
