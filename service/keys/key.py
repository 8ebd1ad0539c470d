"""One API key: its permissions, and the secret text that a client sends."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from dataclasses import dataclass

from ..errors import NotAllowedError
from .rate_limits import Rate

__all__ = ["Key", "Secret"]

_ID_LETTERS = string.ascii_lowercase + string.digits  # a token may contain underscores, an id must not
_TEXT = re.compile(r"am_([a-z0-9]{8})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Key:
    """The permissions of an API key.

    Parameters
    ----------
    name
        Name of the key, also the owner of its requests.
    credits
        Credits left; None for unlimited.
    rate
        Rate limit; None for unlimited.
    models
        Names of the allowed models; empty for all.
    created
        Unix time of creation, in seconds.
    expires
        Unix time from which the key is refused; None for never.
    old_secret_until
        Unix time from which the secret before the last rotation is refused; None if it was never rotated.
    """

    name: str
    credits: int | None
    rate: Rate | None
    models: tuple[str, ...]
    created: float
    expires: float | None = None
    old_secret_until: float | None = None

    def check_model(self, model: str) -> None:
        """Raise `NotAllowedError` if the key is not allowed to use a model."""
        if self.models and model not in self.models:
            raise NotAllowedError(
                f"key {self.name!r} is not allowed to use model {model!r}, only {', '.join(map(repr, self.models))}"
            )


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """The text of an API key, ``am_<id>_<token>``, in its two parts.

    Parameters
    ----------
    id
        8 lower-case letters and digits, by which the key is looked up; stored as it is.
    token
        256 random bits in base64; only its digest is stored.
    """

    id: str
    token: str

    @classmethod
    def generate(cls) -> Secret:
        """Generate a random secret."""
        return cls("".join(secrets.choice(_ID_LETTERS) for _ in range(8)), secrets.token_urlsafe(32))

    @classmethod
    def parse(cls, text: str) -> Secret:
        """Parse the text of a key; an invalid one gives empty parts, which match no key."""
        match = _TEXT.fullmatch(text)
        return cls(match[1], match[2]) if match else cls("", "")

    @property
    def digest(self) -> bytes:
        """SHA-256 of the token, 32 bytes."""
        # Slow hashes protect passwords, which can be guessed; 256 random bits cannot.
        return hashlib.sha256(self.token.encode()).digest()

    def __str__(self) -> str:
        return f"am_{self.id}_{self.token}"
