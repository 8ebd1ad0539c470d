"""With the real onnxruntime-gpu wheel: `cuda` and `tensorrt` are used or refused, `auto` works. Run by `.ci/run`.

A script and no test: the wheel needs an environment of its own, because it overwrites the CPU wheel's files. It checks
the refusal where there is no NVIDIA driver, and the real thing where there is one.
"""

import ctypes
import sys

import numpy as np
import onnxruntime

import automask

PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


def has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def check_named(device: str) -> str:
    if PROVIDERS[device] not in onnxruntime.get_available_providers():
        sys.exit(f"this wheel does not even list {PROVIDERS[device]}: is it onnxruntime-gpu?")
    try:
        segmenter = automask.load(device=device)  # type: ignore[arg-type]
    except automask.DeviceError as error:
        return f"refused: {error}"
    if not has_driver() or segmenter.device != device:
        sys.exit(f"{device} was accepted without a driver, as {segmenter.device}")
    return "works"


def main() -> None:
    for device in PROVIDERS:
        print(f"{device}: {check_named(device)}")
    segmenter = automask.load(device="auto")
    if not has_driver() and segmenter.device != "cpu":
        sys.exit(f"auto claims to run on {segmenter.device}")
    result = segmenter.mask(np.zeros((48, 64, 3), np.uint8), "dog", threshold=0)
    print(f"auto: {result.device}, {len(result.instances)} instances drawn")


if __name__ == "__main__":
    main()
