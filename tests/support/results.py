"""Comparison of two results."""

import numpy as np

from automask.result import Result


def assert_equal_results(result: Result, other: Result, *, ignore_timings: bool = False) -> None:
    """Compare everything public of two results, except `score_map`, which only the library has."""
    for name in ("mask", "image", "alpha", "preview"):
        np.testing.assert_array_equal(getattr(other, name), getattr(result, name), strict=True)
    assert (other.opacity is None) == (result.opacity is None)
    if result.opacity is not None:
        np.testing.assert_array_equal(other.opacity, result.opacity, strict=True)
    assert other.instances == result.instances
    for mine, theirs in zip(result.instances, other.instances, strict=True):
        np.testing.assert_array_equal(theirs.mask, mine.mask)
    for name in (
        "prompt",
        "labels",
        "dropped",
        "warnings",
        "is_empty",
        "parameters",
        "device",
        "model",
        "output",
        "rle",
    ):
        assert getattr(other, name) == getattr(result, name)
    if not ignore_timings:
        assert other.timings.items() >= {key: ms for key, ms in result.timings.items() if key != "total"}.items()
