"""With the real onnxruntime-gpu wheel: `cuda` and `tensorrt` are used or refused, `auto` works. Run by `.ci/run`.

A script and no test: the wheel needs an environment of its own, because it overwrites the CPU wheel's files. It checks
the refusal where there is no NVIDIA driver, and the real thing where there is one.
"""

import ctypes
import sys

import numpy as np
import onnxruntime

import automask
from automask.lookup import find_bundle
from automask.session import Session

LEAST_IOU = 0.95
PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


def has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def has_gpu() -> bool:
    """Whether the driver finds a GPU that can be used."""
    return has_driver() and ctypes.CDLL("libcuda.so.1").cuInit(0) == 0


def check_named(device: str) -> str:
    if PROVIDERS[device] not in onnxruntime.get_available_providers():
        sys.exit(f"this wheel does not even list {PROVIDERS[device]}: is it onnxruntime-gpu?")
    try:
        segmenter = automask.load(device=device)  # type: ignore[arg-type]
    except automask.DeviceError as error:
        if has_gpu() and device == "cuda":  # TensorRT's libraries are not part of the extra
            sys.exit(f"a GPU is here, and {device} is refused: {error}")
        return f"refused: {error}"
    if not has_driver() or segmenter.device != device:
        sys.exit(f"{device} was accepted without a driver, as {segmenter.device}")
    check_masks(device)
    return "works"


def check_masks(device: str) -> None:
    """Where there is a GPU: the model is proven, encodings stay in its memory, recorded graphs compute the same."""
    expected = automask.load(device=device).warm_up().mask > 0  # type: ignore[arg-type]
    for options in ({}, {"cuda_graphs": True}, {"gpu_memory_bytes": 4 << 30}):
        segmenter = automask.load(device=device, **options)  # type: ignore[arg-type]
        for _ in range(3):  # the second run is replayed, where it was recorded
            found = segmenter.warm_up().mask > 0
        iou = (found & expected).sum() / (found | expected).sum()
        if segmenter.standing != "proven" or iou < LEAST_IOU or not segmenter.cache_info().gpu_bytes:
            sys.exit(f"{device} with {options}: {segmenter.standing}, IoU {iou:.3f}, {segmenter.cache_info()}")
        print(f"{device} with {options}: IoU {iou:.4f}, {segmenter.cache_info().gpu_bytes} bytes on it")


def check_fall_back(device: str) -> str:
    """Open a session as if the driver had been found: ONNX Runtime then falls back to the CPU without a word."""
    try:
        Session(find_bundle("default").folder / "detector.onnx", device)
    except automask.DeviceError as error:
        return f"caught: {error}"
    if not has_driver():
        sys.exit(f"ONNX Runtime fell back from {device} and nobody noticed")
    return "none"


def main() -> None:
    for device in PROVIDERS:
        print(f"{device}: {check_named(device)}")
        print(f"{device}, silent fall-back: {check_fall_back(device)}")
    segmenter = automask.load(device="auto")
    if not has_driver() and segmenter.device != "cpu":
        sys.exit(f"auto claims to run on {segmenter.device}")
    result = segmenter.mask(np.zeros((48, 64, 3), np.uint8), "dog", threshold=0)
    print(f"auto: {result.device}, {len(result.instances)} instances drawn")


if __name__ == "__main__":
    main()
