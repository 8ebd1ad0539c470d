"""Summaries of a result: one line of text, or JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..result import Result

__all__ = ["describe", "summarise"]


def summarise(result: Result) -> str:
    """Return one line: what was found, its share of the image, and the time."""
    share = 100 * float((result.mask != 0).mean())
    found = Counter(instance.label for instance in result.instances)
    what = ", ".join(f"{count} × {label}" for label, count in found.items()) or "something"
    return (
        f"{'nothing found' if result.is_empty else what}, {share:.1f} % of the image masked, "
        f"{result.timings['total']:.0f} ms on {result.device}"
    )


def describe(result: Result) -> dict[str, Any]:
    """Return everything but the pictures, for JSON."""
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
