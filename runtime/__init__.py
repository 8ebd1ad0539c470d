"""Masks from an image and a few words, through ONNX Runtime.

>>> import automask
>>> automask.load(device="cpu").device
'cpu'
"""

from importlib.metadata import version

from .bundle import Bundle
from .cache import CacheInfo
from .encodings import Rle
from .errors import (
    AutomaskError,
    BundleError,
    BundleNotFoundError,
    CancelledError,
    DeviceError,
    EmptyMaskError,
    ImageError,
    MissingDependencyError,
    ParameterError,
    UnknownPromptError,
)
from .instance import Instance
from .interrupt import Interrupt
from .loading import load
from .parameters import Parameters, Query
from .result import Result
from .segmenter import Segmenter

__all__ = [
    "AutomaskError",
    "Bundle",
    "BundleError",
    "BundleNotFoundError",
    "CacheInfo",
    "CancelledError",
    "DeviceError",
    "EmptyMaskError",
    "ImageError",
    "Instance",
    "Interrupt",
    "MissingDependencyError",
    "ParameterError",
    "Parameters",
    "Query",
    "Result",
    "Rle",
    "Segmenter",
    "UnknownPromptError",
    "load",
]

__version__ = version("automask")
