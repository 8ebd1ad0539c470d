"""The choice of an implementation by the name that a manifest gives under ``kinds``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ..bundle import MANIFEST, Bundle
from ..errors import BundleError

__all__ = ["choose"]

T = TypeVar("T")


def choose(bundle: Bundle, part: str, kinds: Mapping[str, T], default: str) -> T:
    """Return the implementation of a part of a family.

    Parameters
    ----------
    part
        Its key under ``kinds``.
    kinds
        Implementations by name.
    default
        Name that a manifest without this part means.

    Raises
    ------
    BundleError
        The name is not among the implementations.
    """
    kind = bundle.kinds.get(part, default)
    if kind not in kinds:
        raise BundleError(
            f"{bundle.folder / MANIFEST} has the {part} {kind!r}; this version of automask knows {', '.join(kinds)}"
        )
    return kinds[kind]
