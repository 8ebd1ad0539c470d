"""With the real package of OpenVINO: its library is registered, and its device used or refused. Run by `.ci/run`.

A script and no test, because the package is in no environment of the tests. On an Intel processor the model must run on
it, or be refused with figures; on another one, the package offers no device.
"""

from __future__ import annotations

import sys
from pathlib import Path

import automask
from automask.devices import find_problem, library_versions

PACKAGE = "onnxruntime-ep-openvino"


def is_intel() -> bool:
    return "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8")


def check_used() -> str:
    try:
        segmenter = automask.load(device="openvino")
    except automask.DeviceError as error:
        if "does not compute on openvino" in str(error):
            return f"refused: {error}"
        raise
    segmenter.warm_up()
    result = segmenter.warm_up()
    if segmenter.device != "openvino" or segmenter.standing != "proven" or result.is_empty:
        sys.exit(f"openvino claims to work: {segmenter}, {segmenter.standing}")
    return f"{segmenter.precision}, {result.timings['total']:.0f} ms, {library_versions('openvino')}"


def check_refused() -> str:
    problem = find_problem("openvino")
    if problem is None or f"{PACKAGE} " not in problem.reason or "offers no CPU device" not in problem.reason:
        sys.exit(f"{PACKAGE} must be registered and offer no device here: {problem}")
    try:
        automask.load(device="openvino")
    except automask.DeviceError as error:
        return f"refused: {error}"
    sys.exit("openvino was accepted without a device")


def main() -> None:
    print(f"openvino: {check_used() if is_intel() else check_refused()}")
    segmenter = automask.load()
    if segmenter.device != "cpu" and not is_intel():
        sys.exit(f"auto claims to run on {segmenter.device}")
    if segmenter.warm_up().is_empty:
        sys.exit(f"auto finds nobody on {segmenter.device}")
    print(f"auto: {segmenter.device} in {segmenter.precision}")


if __name__ == "__main__":
    main()
