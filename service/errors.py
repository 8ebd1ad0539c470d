"""Errors of the service, in addition to those of the library.

Clients raise the errors of the library unchanged, and these::

    AutomaskError
    ├── UnauthenticatedError (PermissionError)  the API key is missing, unknown or expired
    ├── NotAllowedError (PermissionError)       the key may not use this model
    ├── NotFoundError (KeyError)                an unknown or expired request, an unknown model
    ├── OutOfCreditsError (RuntimeError)        the key has no credits left
    ├── QueueFullError (RuntimeError)           too many requests wait, or the store is full; has `retry_after`
    ├── RateLimitError (RuntimeError)           the key exceeded its rate limit; has `retry_after`
    ├── UnavailableError (ConnectionError)      no server at this address, or one that is loading or draining
    ├── DeadlineError (TimeoutError)            not done in time
    ├── InternalError (RuntimeError)            a bug of the server; its log has more under the request id
    └── StoreError (OSError)                    the store of requests or keys cannot be used
"""

from __future__ import annotations

from automask.errors import AutomaskError

__all__ = [
    "DeadlineError",
    "InternalError",
    "NotAllowedError",
    "NotFoundError",
    "OutOfCreditsError",
    "QueueFullError",
    "RateLimitError",
    "StoreError",
    "UnauthenticatedError",
    "UnavailableError",
    "release_frames",
    "shutting_down",
]


class UnauthenticatedError(AutomaskError, PermissionError):
    """The API key is missing, unknown or expired."""


class NotAllowedError(AutomaskError, PermissionError):
    """The API key is known, but may not do this."""


class NotFoundError(AutomaskError, KeyError):
    """The request is unknown or has expired, or there is no model of this name."""

    __str__ = Exception.__str__  # KeyError would show the repr of the message


class OutOfCreditsError(AutomaskError, RuntimeError):
    """The API key has no credits left."""


class _TryAgainError(AutomaskError):
    """An error that passes.

    Parameters
    ----------
    message
        The message.
    retry_after
        Seconds after which to retry; None if not known.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFullError(_TryAgainError, RuntimeError):
    """Too many requests wait, or the store has no room; retry after `retry_after` seconds."""


class RateLimitError(_TryAgainError, RuntimeError):
    """The API key exceeded its rate limit; retry after `retry_after` seconds."""


class UnavailableError(_TryAgainError, ConnectionError):
    """No server responds at this address, or it is loading, draining, or has lost its device."""


class DeadlineError(AutomaskError, TimeoutError):
    """The work was not done before its deadline."""


class InternalError(AutomaskError, RuntimeError):
    """A bug of the server; its log has more under the request id in the message."""


class StoreError(AutomaskError, OSError):
    """The store of requests or keys cannot be used."""


class StoreUnavailableError(UnavailableError, StoreError):
    """The store, or its media storage, cannot be reached, and may come back; clients receive an `UnavailableError`."""


def shutting_down() -> UnavailableError:
    """Return the error for calls that arrive while the server drains."""
    return UnavailableError("the server is shutting down", retry_after=1.0)


def release_frames(error: BaseException) -> None:
    """Drop the tracebacks of an error, and of what led to it, once it was logged and answered.

    A frame that handled the error refers to it, and its traceback to that frame: such a cycle keeps everything in the
    frames, an image for one, until the garbage collector runs.
    """
    errors, seen = [error], set[int]()
    while errors:
        one = errors.pop()
        if id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            errors += [other for other in (one.__cause__, one.__context__) if other is not None]
