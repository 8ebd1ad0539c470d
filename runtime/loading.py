"""Loading a model by folder, name or Hub id."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from .bundle import MANIFEST, Bundle, read_bundle
from .cache import Arrays, ByteCache
from .devices import AUTO, CPU, Device
from .devices.arrays import device_bytes, host_bytes
from .devices.tuning import Tuning
from .errors import BundleError, ParameterError
from .families import FAMILIES
from .families.family import Family, Words
from .graphs import Progress, silent
from .images import DEFAULT_MAX_PIXELS, Decoder, decode
from .lookup import locate_bundle
from .opening import open_bundle_on, predict_device
from .outline import Outline
from .running import Running
from .segmenter import Segmenter

__all__ = ["load", "outline", "read_words"]


def load(
    model: str | Path = "default",
    *,
    device: Device = "auto",
    precision: str | None = None,
    threads: int | None = None,
    cache_bytes: int = 256 << 20,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    revision: str | None = None,
    decoder: Decoder = decode,
    prove: bool = True,
    gpu_memory_bytes: int | None = None,
    gpu_cache_bytes: int = 1 << 30,
    cuda_graphs: bool = False,
    progress: Callable[[str], object] | None = None,
) -> Segmenter:
    """Load a model.

    A device that is gone in the middle of a call is opened again, at most every few seconds; with ``auto``, the model
    goes on with the CPU, and says so in the warnings of each result.

    The first time on a device and in a precision, the model masks a photo, and what each graph computes is compared
    with what it computed at export; that takes a second or two, and is kept in the cache folder. See docs/devices.md.

    Parameters
    ----------
    model
        ``"default"``, the name of a bundle that you exported, a bundle's folder, or a Hub id ``owner/name``.
    device
        ``auto`` takes CUDA where it works, else the CPU, or a plugin that was measured to be faster and computes what
        it should. A device that is named is used or refused, never replaced.
    precision
        One that the bundle has, such as ``int8`` or ``fp32``; a graph that does not have it keeps its own. By default
        the first one in the device's order that computes here what it should: int8 on the CPU, unless fp32 was
        measured to be faster here; fp16 on a GPU; else fp32.
    threads
        CPU threads for one call, at least 1; by default one per physical core.
    cache_bytes
        Size of the cache of decoded images and what the model computed from them, so that another prompt on the same
        image is fast; 0 or more, 0 for none.
    max_pixels
        Most pixels (width times height) of an image, at least 1.
    revision
        Branch, tag or commit of a Hub id.
    decoder
        What decodes image files; by default `automask.images.decode`, in this process.
    prove
        Whether the model is compared as above. A bundle of an older exporter has nothing to compare with.
    gpu_memory_bytes
        Most bytes of GPU memory that ONNX Runtime takes for each graph of the model, at least 1; by default no limit.
    gpu_cache_bytes
        Size of the cache of what the model computed from images and that stays in the memory of the GPU; 0 or more.
    cuda_graphs
        Whether a GPU of NVIDIA records each graph of fixed shapes in one run, and replays it as a whole: less time for
        starting kernels, some more memory. Elsewhere without effect.
    progress
        Called with a line after each step: TensorRT takes minutes to build the engine of a graph, once.

    Raises
    ------
    BundleNotFoundError, BundleError
        There is no such bundle, or it is damaged, malformed or of an unknown family.
    SpaceError
        The model is downloaded from the Hub, and the disk became full.
    DeviceError
        The device cannot be used, or the model does not compute there what it should. If device or precision is not
        named, the next one is tried first, with a warning.
    MissingDependencyError
        A package is not installed, such as ONNX Runtime; the message has the command that installs it.
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
        ("gpu_memory_bytes", gpu_memory_bytes, 1),
        ("gpu_cache_bytes", gpu_cache_bytes, 0),
    ):
        if value is not None and value < least:
            raise ParameterError(name, f"be at least {least}", value)
    bundle = read_bundle(locate_bundle(model, revision=revision))
    family = _family(bundle)
    if precision is not None and precision not in bundle.precisions:
        raise ParameterError("precision", f"be one of {', '.join(bundle.precisions)} for this bundle", precision)
    tuning = Tuning(threads=threads, gpu_memory_bytes=gpu_memory_bytes, cuda_graphs=cuda_graphs)

    def open_on(name: str, progress: Progress) -> Running:
        with _naming_the_manifest(bundle):
            opened = open_bundle_on(bundle, name, precision, tuning, proves=prove, progress=progress)
            cache = ByteCache[Arrays](cache_bytes, host_bytes, gpu_cache_bytes, device_bytes)
            loaded = family(bundle, opened.sessions, cache)
        return Running(loaded, cache, opened.plan.precision, opened.standing, opened.warnings)

    running = open_on(device, progress or silent)
    for warning in running.warnings:
        warnings.warn(warning, RuntimeWarning, stacklevel=2)
    # The next device is tried only if none was named.
    reopen = partial(open_on, CPU if device == AUTO else device, silent)
    return Segmenter(bundle, running, max_pixels, decoder, reopen=reopen)


def outline(model: str | Path = "default", *, device: Device = "auto", revision: str | None = None) -> Outline:
    """Return a description of a model, without loading it; raises as `load` does.

    Parameters
    ----------
    model, device, revision
        As in `load`; the outline has the device on which `load` would run the model.

    Examples
    --------
    >>> outline(device="cpu").vocabulary[:2]
    ('person', 'bicycle')
    """
    bundle = read_bundle(locate_bundle(model, revision=revision))
    return Outline(bundle, predict_device(bundle, device), read_words(bundle))


def read_words(bundle: Bundle) -> Words[Any]:
    """Return the words that a bundle understands.

    Raises
    ------
    BundleError
        The bundle is of an unknown family, or does not describe its words.

    Examples
    --------
    >>> from automask.lookup import find_bundle
    >>> len(read_words(find_bundle("default")).labels)
    80
    """
    family = _family(bundle)
    with _naming_the_manifest(bundle):
        return family.read_words(bundle)


def _family(bundle: Bundle) -> type[Family[Any]]:
    if bundle.family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise BundleError(f"{bundle.folder} is of family {bundle.family!r}; this automask knows {known}")
    return FAMILIES[bundle.family]


@contextmanager
def _naming_the_manifest(bundle: Bundle) -> Iterator[None]:
    """Turn errors about missing or malformed settings into a `BundleError` that names the manifest."""
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise BundleError(
            f"{bundle.folder / MANIFEST} does not describe a {bundle.family!r} bundle: {reason}"
        ) from error
