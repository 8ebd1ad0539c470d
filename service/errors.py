"""What a service can refuse, besides what the library itself raises.

Clients raise the library's own errors as they are, and these::

    AutomaskError
    ├── UnauthenticatedError (PermissionError)  no API key, or a wrong one
    ├── NotAllowedError (PermissionError)       the key may not do this
    ├── NotFoundError (KeyError)                an unknown or expired request, an unknown model
    ├── OutOfCreditsError (RuntimeError)        the key has no credits left
    ├── QueueFullError (RuntimeError)           too much waits already, or the store is full; tells when to come again
    ├── RateLimitError (RuntimeError)           the key came too often; tells when to come again
    ├── UnavailableError (ConnectionError)      no server there, or one that is loading or draining
    ├── DeadlineError (TimeoutError)            not done in time
    ├── InternalError (RuntimeError)            a bug of the server; its log has more under the request id
    └── StoreError (OSError)                    the file of requests or keys cannot be used
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
]


class UnauthenticatedError(AutomaskError, PermissionError):
    """There is no API key, or it is not one of the server's."""


class NotAllowedError(AutomaskError, PermissionError):
    """The API key is good, but not for this."""


class NotFoundError(AutomaskError, KeyError):
    """No such request, no longer or never; or no such model."""

    __str__ = Exception.__str__  # KeyError would show the repr of the message


class OutOfCreditsError(AutomaskError, RuntimeError):
    """The API key has no credits left."""


class _TryAgainError(AutomaskError):
    """Something that passes.

    Parameters
    ----------
    message
        The sentence.
    retry_after
        Seconds after which to try again; None where that is not known.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFullError(_TryAgainError, RuntimeError):
    """Too many requests wait already, or the store has no room; `retry_after` tells when to try again."""


class RateLimitError(_TryAgainError, RuntimeError):
    """The API key came more often than it may; `retry_after` tells when to try again."""


class UnavailableError(_TryAgainError, ConnectionError):
    """No server answers there, or it is loading, draining, or has lost its device."""


class DeadlineError(AutomaskError, TimeoutError):
    """The work was not done in the time that it was given."""


class InternalError(AutomaskError, RuntimeError):
    """A bug of the server; its log tells more under the request id in the message."""


class StoreError(AutomaskError, OSError):
    """The file that keeps requests or keys cannot be used."""
