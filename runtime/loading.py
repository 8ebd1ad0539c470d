"""The door of the library: `load` a model by folder, name or Hub id."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .bundle import MANIFEST, Bundle, read_bundle
from .cache import Arrays, ByteCache
from .devices import AUTO, CPU, DEVICES, Device, pick_device
from .errors import BundleError, DeviceError, ParameterError
from .families import FAMILIES
from .families.family import Family
from .images import DEFAULT_MAX_PIXELS
from .lookup import locate_bundle
from .outline import Outline
from .segmenter import Segmenter
from .session import Session

__all__ = ["load", "outline"]

_log = logging.getLogger(__name__)


def load(
    model: str | Path = "default",
    *,
    device: Device = "auto",
    precision: str | None = None,
    threads: int | None = None,
    cache_bytes: int = 256 << 20,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    revision: str | None = None,
) -> Segmenter:
    """Load a model.

    Parameters
    ----------
    model
        ``"default"``, a bundle's folder, or a Hub id ``owner/name``.
    device
        ``auto`` takes CUDA where it works, else the CPU. A device that is named is used or refused, never replaced.
    precision
        One that the bundle has, such as ``int8`` or ``fp32``; graphs that do not have it keep their own. By default
        int8 on the CPU and fp16 or fp32 on a GPU.
    threads
        CPU threads for one call, at least 1; by default one per physical core.
    cache_bytes
        How much to keep of decoded pictures and their encodings, so that another prompt on the same picture is fast.
    max_pixels
        Largest image that is decoded, width × height.
    revision
        Branch, tag or commit of a Hub id.

    Raises
    ------
    BundleNotFoundError, BundleError
        There is no such bundle, or it is damaged or not understood.
    DeviceError
        The device was named and cannot be used.
    MissingDependencyError
        ONNX Runtime is not installed; the message says what to type.
    ParameterError
        Another argument is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> segmenter = load(device="cpu")
    >>> result = segmenter.mask(np.zeros((48, 64, 3), np.uint8), "a dog")
    >>> result.mask.shape, result.is_empty, result.labels
    ((48, 64), True, ('dog',))
    """
    for name, value, least in (
        ("threads", threads, 1),
        ("cache_bytes", cache_bytes, 0),
        ("max_pixels", max_pixels, 1),
    ):
        if value is not None and value < least:
            raise ParameterError(name, f"be at least {least}", value)
    bundle, family = _find(model, revision)
    if precision is not None and precision not in bundle.precisions:
        raise ParameterError("precision", f"be one of {', '.join(bundle.precisions)} for this bundle", precision)
    sessions = _open_sessions(bundle, device, precision, threads)
    cache = ByteCache[Arrays](cache_bytes, _size)
    with _described(bundle):
        return Segmenter(bundle, family(bundle, sessions, cache), cache, max_pixels)


def outline(model: str | Path = "default", *, device: Device = "auto", revision: str | None = None) -> Outline:
    """Find out what a model is and understands without loading it; raises as `load` does.

    Parameters
    ----------
    model, device, revision
        As in `load`; the device is the one that it would be tried on.

    Examples
    --------
    >>> outline(device="cpu").vocabulary[:2]
    ('person', 'bicycle')
    """
    bundle, family = _find(model, revision)
    with _described(bundle):
        return Outline(bundle, pick_device(device), family.read_words(bundle))


def _find(model: str | Path, revision: str | None) -> tuple[Bundle, type[Family[Any]]]:
    bundle = read_bundle(locate_bundle(model, revision=revision))
    if bundle.family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise BundleError(f"{bundle.folder} is of family {bundle.family!r}; this automask knows {known}")
    return bundle, FAMILIES[bundle.family]


@contextmanager
def _described(bundle: Bundle) -> Iterator[None]:
    """Say what a manifest lacks of what its family needs."""
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        said = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise BundleError(f"{bundle.folder / MANIFEST} does not describe a {bundle.family!r} bundle: {said}") from error


def _open_sessions(bundle: Bundle, device: str, precision: str | None, threads: int | None) -> dict[str, Session]:
    picked = pick_device(device)
    try:
        return _open_on(bundle, picked, precision, threads)
    except DeviceError as error:
        if device != AUTO:
            raise
        _log.warning("%s; running on the CPU", error)
        return _open_on(bundle, CPU, precision, threads)


def _open_on(bundle: Bundle, device: str, precision: str | None, threads: int | None) -> dict[str, Session]:
    preferred = DEVICES[device].precisions
    if precision is not None:
        preferred = (precision, *preferred)
    files = {role: graph.choose(preferred) for role, graph in bundle.graphs.items()}
    # Hashing takes longer than opening, and most of a bundle may be other precisions.
    bundle.check(opened=files.values())
    return {role: Session(bundle.folder / file, device, threads=threads) for role, file in files.items()}


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays)
