"""The protocol of a key store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from .key import Key
from .rate_limits import Rate, RateLimiter

__all__ = ["MAX_CREDITS", "KeyStore"]

MAX_CREDITS: Final = 10**12


class KeyStore(Protocol):
    """All API keys of a server. Thread-safe.

    `automask keys` changes keys while servers use them. Every method reads the database, so a change takes effect at
    once. Every method raises `StoreError` if the database fails.
    """

    is_remote: bool
    """Whether calls go over a network, so that an event loop must not wait for them."""

    def close(self) -> None:
        """Close the store; closing it again does nothing."""

    def limiter(self, kind: str) -> RateLimiter:
        """Return the rate limiter for one kind of call, such as ``"tasks"``; kinds are limited independently."""

    def add(
        self,
        name: str,
        *,
        credits: int | None = None,  # noqa: A002 (the name of `automask keys add --credits`)
        rate: Rate | None = None,
        models: Sequence[str] = (),
        expires_in: float | None = None,
    ) -> str:
        """Create a key.

        Parameters
        ----------
        name
            1 to 64 letters, digits, dots, underscores and hyphens; unique.
        credits
            0 to 10¹²; None for unlimited.
        rate
            Rate limit; None for unlimited.
        models
            Names of the allowed models; empty for all.
        expires_in
            Seconds until the key is refused, greater than 0; None for never.

        Returns
        -------
        str
            The text of the key. It is not stored, so it cannot be shown again.

        Raises
        ------
        ParameterError
            The name is in use, or a parameter is invalid.
        """

    def list(self) -> Sequence[Key]:
        """Return all keys, sorted by name."""

    def remove(self, name: str) -> None:
        """Remove a key permanently.

        Raises
        ------
        NotFoundError
            There is no key of this name.
        """

    def rotate(self, name: str, *, grace: float = 0, expires_in: float | None = None) -> str:
        """Give a key a new secret.

        Parameters
        ----------
        name
            Name of the key.
        grace
            Seconds for which the secret until now works as well, 0 or more. The one before it stops working at once.
        expires_in
            Seconds until the key is refused, greater than 0; None leaves its expiry unchanged.

        Returns
        -------
        str
            The new text of the key. It is not stored, so it cannot be shown again.

        Raises
        ------
        NotFoundError
            There is no key of this name.
        ParameterError
            A parameter is invalid.
        """

    def set_credits(self, name: str, count: int | None) -> None:
        """Set the credits of a key; None for unlimited.

        Raises
        ------
        NotFoundError
            There is no key of this name.
        ParameterError
            The credits are not in 0..10¹².
        """

    def top_up(self, name: str, count: int) -> int:
        """Add credits to a key.

        Returns
        -------
        int
            Credits of the key now.

        Raises
        ------
        NotFoundError
            There is no key of this name.
        ParameterError
            The key has unlimited credits, or would have more than 10¹².
        """

    def authenticate(self, text: str | None) -> Key:
        """Return the key with this text.

        Raises
        ------
        UnauthenticatedError
            The text is missing, no key has it, the key has expired, or it was rotated and the grace is over.
        """

    def credits(self, name: str) -> int | None:
        """Return the credits left: None for unlimited, 0 if there is no key of this name."""

    def sign(self, name: str, text: str) -> str:
        """Return a signature of a text by a key; valid until the secret of the key is."""

    def verify(self, name: str, text: str, signature: str) -> bool:
        """Return whether `sign` made a signature of this text with a secret of the key that is still valid."""

    def charge(self, name: str, count: int) -> int | None:
        """Charge credits to a key: all of them or none.

        Parameters
        ----------
        name
            Name of the key.
        count
            Credits, 0 or more.

        Returns
        -------
        int or None
            Credits left; None for unlimited.

        Raises
        ------
        OutOfCreditsError
            The key has fewer credits left; nothing is charged.
        UnauthenticatedError
            The key was removed in the meantime.
        """

    def refund(self, name: str, count: int) -> None:
        """Return charged credits to a key; does nothing if the key is unlimited or removed.

        Parameters
        ----------
        name
            Name of the key.
        count
            Credits, 0 or more.
        """
