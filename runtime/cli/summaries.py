"""A result in words and as JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..result import Result

__all__ = ["describe", "summarise"]


def summarise(result: Result) -> str:
    """Say in a line what was found, how much of the picture it is, and how long it took."""
    share = 100 * float((result.mask != 0).mean())
    found = Counter(instance.label for instance in result.instances)
    what = ", ".join(f"{count} × {label}" for label, count in found.items()) or "something"
    return (
        f"{'nothing found' if result.is_empty else what}, {share:.1f} % of the picture masked, "
        f"{result.timings['total']:.0f} ms on {result.device}"
    )


def describe(result: Result) -> dict[str, Any]:
    """Give all but the pictures, for JSON."""
    return {
        "prompt": result.prompt,
        "labels": result.labels,
        "dropped": result.dropped,
        "warnings": result.warnings,
        "is_empty": result.is_empty,
        "width": result.mask.shape[1],
        "height": result.mask.shape[0],
        "instances": [
            {
                "label": one.label,
                "score": round(one.score, 4),
                "box": [round(side, 1) for side in one.box],
                "rle": one.rle,
            }
            for one in result.instances
        ],
        "timings_ms": {stage: round(ms, 2) for stage, ms in result.timings.items()},
        "device": result.device,
        "model": result.model,
    }
