"""Digests of arrays: shape, norm and a random projection, from which the distance of two arrays is estimated.

The projection is a count sketch (Charikar, Chen and Farach-Colton, 2002): each element is added to one of a few sums,
with a random sign. The norm of the difference of two sketches is that of the arrays within some 10 %, and one element
that differs is seen as well as many.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Digest"]

_SUMS = 64
_SEED = 17


@dataclass(frozen=True, slots=True)
class Digest:
    """What is kept of an array.

    Attributes
    ----------
    shape
        Its shape.
    norm
        Its Euclidean norm.
    sketch
        The sums of the projection.
    seed
        Seed of the projection.
    infinite
        Number of infinite elements, which norm and sketch leave out: a graph may mark padding by them.
    """

    shape: tuple[int, ...]
    norm: float
    sketch: tuple[float, ...]
    seed: int = _SEED
    infinite: int = 0

    @staticmethod
    def of(array: NDArray[Any], seed: int = _SEED) -> Digest:
        """Return the digest of an array.

        Examples
        --------
        >>> one, other = np.zeros((2, 3)), np.zeros((2, 3))
        >>> one[0, 1] = other[0, 1] = other[1, 2] = 4
        >>> Digest.of(one).norm, Digest.of(one).error(Digest.of(other))
        (4.0, 1.0)
        """
        values = np.array(array, np.float64).ravel()
        is_infinite = np.isinf(values)
        values[is_infinite] = 0
        # The stream of a bit generator is the same in every version of NumPy; that of `Generator` is not.
        bits = np.random.PCG64(seed).random_raw(values.size)
        signed = np.where(bits & 1, values, -values)
        sums = np.bincount((bits >> np.uint64(1)) % _SUMS, signed, minlength=_SUMS)
        return Digest(
            np.shape(array), float(np.linalg.norm(values)), tuple(sums.tolist()), seed, int(is_infinite.sum())
        )

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Digest:
        """Read what `to_json` returned; raises `KeyError`, `TypeError` or `ValueError` where it is malformed."""
        sketch: Sequence[float] = content["sketch"]
        if len(sketch) != _SUMS:
            raise ValueError(f"a sketch has {len(sketch)} sums, must have {_SUMS}")
        shape = tuple(map(int, content["shape"]))
        sums = tuple(map(float, sketch))
        return Digest(shape, float(content["norm"]), sums, int(content["seed"]), int(content.get("infinite", 0)))

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a JSON file, rounded to six digits."""
        return {
            "shape": list(self.shape),
            "norm": _round(self.norm),
            "sketch": [_round(one) for one in self.sketch],
            "seed": self.seed,
            **({"infinite": self.infinite} if self.infinite else {}),
        }

    def error(self, found: Digest) -> float:
        """Return the estimated norm of the difference over the norm of this array; infinite for another shape, or NaN.

        Also infinite for another number of infinite elements: an overflow is an error. The difference of the norms
        alone counts too, where it is larger.
        """
        same = (found.shape, found.infinite) == (self.shape, self.infinite)
        if not same or not math.isfinite(found.norm):
            return math.inf
        apart = float(np.linalg.norm(np.subtract(found.sketch, self.sketch)))
        apart = max(apart, abs(found.norm - self.norm))
        return apart / self.norm if self.norm else (math.inf if apart else 0.0)


def _round(value: float) -> float:
    return float(f"{value:.6g}")
