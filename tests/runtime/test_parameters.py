"""Ranges and defaults are the hosted API's; what is wrong is named."""

import numpy as np
import pytest

from automask import ParameterError, Parameters


def test_defaults_are_those_of_the_hosted_api() -> None:
    assert Parameters() == Parameters(
        threshold=0.2,
        grow_mask=10,
        invert_mask=False,
        return_mask=True,
        return_alpha=False,
        stop_on_empty_mask=False,
        seed=-1,
        base64=False,
    )


def test_ends_of_ranges_and_numpy_numbers_are_accepted() -> None:
    for ends in ((0, 0, -1), (1, 100, 999_999_999_999_999)):
        taken = Parameters(**dict(zip(("threshold", "grow_mask", "seed"), ends, strict=True)))  # type: ignore[arg-type]
        assert (taken.threshold, taken.grow_mask, taken.seed) == ends
    of_numpy = Parameters(threshold=np.float32(0.5), grow_mask=np.int64(3))  # type: ignore[arg-type]
    assert of_numpy == Parameters(threshold=0.5, grow_mask=3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("threshold", value) for value in (-0.01, 1.01, float("nan"), True, "0.2", None)),
        *(("grow_mask", value) for value in (-1, 101, 1.0, True, "10", None)),
        *(("seed", value) for value in (-2, 10**15, 1.0, False, None)),
        *((name, value) for name in ("invert_mask", "return_mask", "base64") for value in (1, "true", None)),
    ],
)
def test_other_values_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ParameterError, match=f"^{name} must be ") as caught:
        Parameters(**{name: value})  # type: ignore[arg-type]
    assert (caught.value.parameter, caught.value.value is value) == (name, True)
    assert isinstance(caught.value, ValueError)
