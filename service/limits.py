"""Limits of the service contract, which clients may rely on: no setting changes them."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_KEY_LENGTH", "MAX_PROMPTS", "MAX_PROMPT_LENGTH", "MAX_RAW_BYTES", "MAX_RESULT_WAIT"]

MAX_PROMPTS: Final = 64
"""Prompts of a task; and as many to leave out."""

MAX_PROMPT_LENGTH: Final = 1000
"""Characters of a prompt."""

MAX_RAW_BYTES: Final = 150_000_000
"""Bytes of all raw masks of a response: three of 50 megapixels."""

MAX_KEY_LENGTH: Final = 128
"""Characters of an idempotency key."""

MAX_RESULT_WAIT: Final = 60.0
"""Seconds that one GetResult may wait for the end of its request."""
