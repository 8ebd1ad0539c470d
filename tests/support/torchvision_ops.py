"""torchvision beside a CPU build of torch: PyPI's wheel cannot load its operators there, and then fails to import.

What Sam3Processor takes from it is written in Python, so that declared operators without code are enough.
"""

from __future__ import annotations

import torch

__all__ = ["declare_operators"]


def declare_operators() -> None:
    """Declare the operators that torchvision describes when it is imported."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)


_KEPT: list[torch.library.Library] = []  # a library that is collected takes its operators away
