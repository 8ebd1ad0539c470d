"""The errors of automask.

Each names the value it met and what would be right, and also inherits the fitting builtin::

    AutomaskError
    ├── ParameterError (ValueError)              a parameter out of range or of the wrong type
    ├── ImageError (ValueError)                  an image that cannot be read, or is over a limit
    ├── UnknownPromptError (ValueError)          a prompt that is not in the model's fixed vocabulary
    ├── EmptyMaskError (LookupError)             nothing found, and `stop_on_empty_mask` was set
    ├── CancelledError (RuntimeError)            stopped by an `Interrupt`
    ├── BundleNotFoundError (FileNotFoundError)  no bundle with this name, path or Hub id
    ├── BundleError (ValueError)                 a bundle that is damaged, malformed or of an unknown kind
    ├── DeviceError (RuntimeError)               a device that cannot be used, or failed
    └── MissingDependencyError (ImportError)     an optional package that is not installed
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
    """Base class of all errors that automask raises on purpose."""


class ParameterError(AutomaskError, ValueError):
    """A parameter is out of its range, or of the wrong type.

    Parameters
    ----------
    parameter
        Name of the parameter.
    requirement
        What would be right, as the end of the sentence ``<parameter> must …``.
    value
        The value that was passed.

    Examples
    --------
    >>> print(ParameterError("threshold", "be in [0, 1]", 1.7))
    threshold must be in [0, 1], got 1.7
    """

    def __init__(self, parameter: str, requirement: str, value: object) -> None:
        super().__init__(f"{parameter} must {requirement}, got {value!r}")
        self.parameter = parameter
        self.requirement = requirement
        self.value = value

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), dict(vars(self)))


class ImageError(AutomaskError, ValueError):
    """An image cannot be decoded, has an unsupported format or pixel type, or is over the pixel limit."""


class UnknownPromptError(AutomaskError, ValueError):
    """Part of a prompt is not in the fixed vocabulary of the model.

    Parameters
    ----------
    *parts
        The unknown parts, at least one.
    known
        Number of labels that the model knows.
    nearest
        Known phrases nearest in meaning, then in spelling; may be empty.

    Attributes
    ----------
    prompt
        The first unknown part.

    Examples
    --------
    >>> error = UnknownPromptError("the sky", "a lion", known=80, nearest=("cat",))
    >>> print(str(error).partition(";")[0])
    'the sky' and 'a lion' are not among the 80 kinds of object that this model knows
    """

    def __init__(self, *parts: str, known: int, nearest: tuple[str, ...] = ()) -> None:
        hint = f"; did you mean {' or '.join(map(repr, nearest))}?" if nearest else "."
        super().__init__(
            f"{' and '.join(map(repr, parts))} {'is' if len(parts) == 1 else 'are'} not among the {known} kinds of "
            f"object that this model knows{hint} "
            "`automask models NAME` lists them; for free text: `automask pull --list`, `automask export --list`."
        )
        self.parts = parts
        self.prompt = parts[0]
        self.nearest = nearest

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), str(self), dict(vars(self)))


class EmptyMaskError(AutomaskError, LookupError):
    """Nothing in the image matches the prompt, and `stop_on_empty_mask` was set."""


class CancelledError(AutomaskError, RuntimeError):
    """The work was stopped by an interrupt."""


class BundleNotFoundError(AutomaskError, FileNotFoundError):
    """There is no bundle with this name, path or Hub id."""


class BundleError(AutomaskError, ValueError):
    """A bundle is incomplete, damaged or malformed, or has an unknown schema version or family."""


class DeviceError(AutomaskError, RuntimeError):
    """A device was named and cannot be used, or failed while it computed.

    Attributes
    ----------
    is_gone
        Whether the device fails for every image, so that the same call may work later: it is no fault of the image.
    """

    is_gone: bool = False


class MissingDependencyError(AutomaskError, ImportError):
    """An optional package is not installed; the message has the command that installs it."""


def _rebuild(kind: type[AutomaskError], message: str, attributes: dict[str, object]) -> AutomaskError:
    """Return an unpickled error whose constructor takes more than the message."""
    error = kind.__new__(kind, message)
    vars(error).update(attributes)
    return error
