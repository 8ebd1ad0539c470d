"""Execution providers of ONNX Runtime: their options, and probes of what they need besides a wheel."""

from __future__ import annotations

import ctypes
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

from .hardware import nvidia_driver
from .tuning import Tuning

__all__ = [
    "Providers",
    "coreml",
    "coreml_options",
    "cuda",
    "cuda_options",
    "directml",
    "macos_version",
    "openvino",
    "openvino_gpu",
    "openvino_gpu_options",
    "openvino_options",
    "preload_nvidia",
    "probe_nvidia",
    "qnn",
    "tensorrt",
    "tensorrt_options",
    "tensorrt_rtx_options",
]

_OPENVINO = "OpenVINOExecutionProvider"

Providers: TypeAlias = Sequence[tuple[str, Mapping[str, str]]]


def probe_nvidia() -> str | None:
    """Ask the driver itself: onnxruntime-gpu lists CUDA and TensorRT on machines that have neither."""
    driver = nvidia_driver()
    if driver is None:
        return "no NVIDIA driver was found (libcuda cannot be loaded)"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the NVIDIA driver reports no usable GPU"
    return None


def preload_nvidia(ort: ModuleType) -> None:
    """Load CUDA and cuDNN from their own wheels, where pip has installed them."""
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()


def cuda() -> Providers:
    """Return CUDA's provider."""
    # By default, CUDA times every algorithm of each convolution at the first call with a new shape, and its arena
    # grows by powers of two: good for a process that has the card for itself and hours to run.
    options = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
    return [("CUDAExecutionProvider", options)]


def cuda_options(tuning: Tuning, _engines: Path | None) -> Mapping[str, Mapping[str, str]]:
    """Return the options of CUDA's provider for one graph."""
    options = {"use_tf32": "0"} if tuning.exact else {}
    if tuning.cuda_graphs:
        options["enable_cuda_graph"] = "1"
    if tuning.gpu_memory_bytes is not None:
        options["gpu_mem_limit"] = str(tuning.gpu_memory_bytes)
    return {"CUDAExecutionProvider": options}


def tensorrt() -> Providers:
    """Return TensorRT's provider, and CUDA's for the operators that it lacks."""
    return [("TensorrtExecutionProvider", {}), *cuda()]


def tensorrt_options(tuning: Tuning, engines: Path | None) -> Mapping[str, Mapping[str, str]]:
    """Return the options of both for one graph.

    TensorRT names an engine after the names and shapes in a graph, without its weights: in one folder, a model would
    run the engine of another one of the same architecture. There is no option for float16: the graphs are typed.
    """
    options: dict[str, str] = {}
    if engines is not None:
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(engines),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(engines),
        }
    if tuning.gpu_memory_bytes is not None:
        options["trt_max_workspace_size"] = str(tuning.gpu_memory_bytes)
    if tuning.cuda_graphs:
        options["trt_cuda_graph_enable"] = "1"
    # Only one provider records, and it must have all of the graph.
    return {"TensorrtExecutionProvider": options, **cuda_options(replace(tuning, cuda_graphs=False), engines)}


def tensorrt_rtx_options(_tuning: Tuning, engines: Path | None) -> Mapping[str, Mapping[str, str]]:
    """Return the options of TensorRT for RTX for one graph: what it compiles is kept."""
    return {} if engines is None else {"NvTensorRTRTXExecutionProvider": {"nv_runtime_cache_path": str(engines)}}


def openvino() -> Providers:
    """Return OpenVINO's provider, on the processor."""
    return [(_OPENVINO, _load_config("CPU"))]


def openvino_options(tuning: Tuning, _engines: Path | None) -> Mapping[str, Mapping[str, str]]:
    """Return the options of OpenVINO on the processor for one graph."""
    if tuning.threads is None:
        return {}
    return {_OPENVINO: _load_config("CPU", INFERENCE_NUM_THREADS=str(tuning.threads))}


def openvino_gpu() -> Providers:
    """Return OpenVINO's provider, on a GPU."""
    return [(_OPENVINO, _load_config("GPU"))]


def openvino_gpu_options(_tuning: Tuning, engines: Path | None) -> Mapping[str, Mapping[str, str]]:
    """Return the options of OpenVINO on a GPU for one graph: what it compiles is kept."""
    return {} if engines is None else {_OPENVINO: _load_config("GPU", CACHE_DIR=str(engines))}


def _load_config(hardware: str, **properties: str) -> Mapping[str, str]:
    # By default, OpenVINO computes float32 graphs in bfloat16 or float16 where the hardware has it.
    config = {hardware: {"EXECUTION_MODE_HINT": "ACCURACY", **properties}}
    return {"load_config": json.dumps(config)}


def coreml() -> Providers:
    """Return the provider of Apple's Core ML, for the newer one of its model formats, which has more operators."""
    return [("CoreMLExecutionProvider", {"ModelFormat": "MLProgram"})]


def coreml_options(_tuning: Tuning, engines: Path | None) -> Mapping[str, Mapping[str, str]]:
    """Return the options of Core ML for one graph: what it compiles is kept."""
    return {} if engines is None else {"CoreMLExecutionProvider": {"ModelCacheDirectory": str(engines)}}


def macos_version() -> Mapping[str, str]:
    """Return the version of macOS, of which Core ML is a part."""
    return {"macOS": platform.mac_ver()[0]}


def directml() -> Providers:
    """Return the provider of DirectML, on the first GPU."""
    return [("DmlExecutionProvider", {"device_id": "0"})]


def qnn() -> Providers:
    """Return the provider of Qualcomm's processors, on the neural one."""
    return [("QNNExecutionProvider", {"backend_type": "htp"})]
