"""Every error automask raises on purpose.

Each names the value it met and what would be right, and also inherits the fitting builtin::

    AutomaskError
    ├── ParameterError (ValueError)              a parameter out of range or of the wrong type
    ├── ImageError (ValueError)                  an image that cannot be read, or may not be
    ├── UnknownPromptError (ValueError)          words that a fixed-vocabulary model does not know
    ├── EmptyMaskError (LookupError)             nothing found, and `stop_on_empty_mask` was set
    ├── CancelledError (RuntimeError)            stopped from outside, by an `Interrupt`
    ├── BundleNotFoundError (FileNotFoundError)  no bundle under that name, path or Hub id
    ├── BundleError (ValueError)                 a bundle that is damaged or not understood
    ├── DeviceError (RuntimeError)               a device that was asked for and is not there
    └── MissingDependencyError (ImportError)     an optional package that this step needs
"""

from __future__ import annotations

__all__ = [
    "AutomaskError",
    "BundleError",
    "BundleNotFoundError",
    "CancelledError",
    "DeviceError",
    "EmptyMaskError",
    "ImageError",
    "MissingDependencyError",
    "ParameterError",
    "UnknownPromptError",
]


class AutomaskError(Exception):
    """Base of every error that automask raises on purpose."""


class ParameterError(AutomaskError, ValueError):
    """A parameter is out of its range or of the wrong type.

    Parameters
    ----------
    parameter
        Name of the parameter as the caller wrote it.
    requirement
        What would be right, as the end of the sentence ``<parameter> must …``.
    value
        The value that was met.
    """

    def __init__(self, parameter: str, requirement: str, value: object) -> None:
        super().__init__(f"{parameter} must {requirement}, got {value!r}")
        self.parameter = parameter
        self.requirement = requirement
        self.value = value


class ImageError(AutomaskError, ValueError):
    """An image cannot be decoded, is of a kind that is not supported, or is over the pixel limit."""


class UnknownPromptError(AutomaskError, ValueError):
    """A fixed-vocabulary model does not know the thing the prompt names.

    Parameters
    ----------
    prompt
        The part of the prompt that was not understood.
    known
        How many kinds of object the model knows.
    nearest
        Known words that are spelled alike, best first; may be empty.
    """

    def __init__(self, prompt: str, *, known: int, nearest: tuple[str, ...] = ()) -> None:
        hint = f"; did you mean {' or '.join(map(repr, nearest))}?" if nearest else "."
        super().__init__(
            f"{prompt!r} is not among the {known} kinds of object that this model knows{hint} "
            "`automask models default` lists them; for free text, make a CLIPSeg bundle: `automask export clipseg`."
        )
        self.prompt = prompt
        self.nearest = nearest


class EmptyMaskError(AutomaskError, LookupError):
    """Nothing in the image matched the prompt, and `stop_on_empty_mask` was set."""


class CancelledError(AutomaskError, RuntimeError):
    """The work was stopped from outside before it was done."""


class BundleNotFoundError(AutomaskError, FileNotFoundError):
    """No bundle under that name, path or Hub id."""


class BundleError(AutomaskError, ValueError):
    """A bundle is incomplete, damaged, or of a schema or family this version does not know."""


class DeviceError(AutomaskError, RuntimeError):
    """A device was asked for explicitly and cannot be used; nothing falls back silently."""


class MissingDependencyError(AutomaskError, ImportError):
    """An optional package is needed for this step; the message says what to type."""
