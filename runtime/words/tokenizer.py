"""A tokenizer: a prompt as the token ids that a text encoder takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import BundleError, MissingDependencyError

__all__ = ["Tokenizer", "Tokens"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """One prompt, tokenized.

    Attributes
    ----------
    ids
        Token ids, with the start and end tokens, unpadded.
    dropped
        The end of the prompt that is over the model's limit, if any.
    warnings
        A sentence about it, if any.
    """

    ids: tuple[int, ...]
    dropped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Tokenizer:
    """A `tokenizer.json`, run by the library `tokenizers`.

    Parameters
    ----------
    path
        The file.
    max_length
        Most tokens that the model takes, with the start and end tokens; the rest of a prompt is cut off.

    Raises
    ------
    MissingDependencyError
        `tokenizers` is not installed.
    BundleError
        The file cannot be read.
    """

    def __init__(self, path: Path, max_length: int) -> None:
        try:
            import tokenizers
        except ImportError as error:
            raise MissingDependencyError(
                "models that understand free text need a tokenizer: pip install 'automask[text]'"
            ) from error
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing more specific
            raise BundleError(f"{path} is no tokenizer: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length)

    def encode(self, prompt: str) -> Tokens:
        """Return the tokens of a prompt."""
        encoding = self._tokenizer.encode(prompt)
        ids = tuple(encoding.ids)
        if not encoding.overflowing:
            return Tokens(ids)
        end = max(end for _, end in encoding.offsets)
        return Tokens(
            ids,
            dropped=(prompt[end:].strip(),),
            warnings=(f"the prompt was cut after {len(ids)} tokens, the most that this model takes",),
        )

    def token_id(self, token: str) -> int | None:
        """Return the id of a token; None if there is none."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found
