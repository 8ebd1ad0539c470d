"""CLIP's tokenizer, which several architectures share: read from a checkpoint, checked, written for the runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint import Checkpoint, CheckpointError

if TYPE_CHECKING:
    from transformers import CLIPTokenizerFast

__all__ = ["TokenizerError", "load_tokenizer", "write_tokenizer"]

# Before transformers 4.31, CLIP's configurations had this wrong end token; with it, the text encoder pools at the
# highest id.
_LEGACY_END = 2


class TokenizerError(CheckpointError):
    """The tokenizer is missing, unreadable, or does not belong to the text encoder."""


def load_tokenizer(checkpoint: Checkpoint, text_config: Any, *, pools_at: str = "end") -> CLIPTokenizerFast:  # noqa: ANN401
    """Read the tokenizer, from tokenizer.json or from vocab.json and merges.txt.

    Parameters
    ----------
    text_config
        Configuration of the text encoder.
    pools_at
        Where the text encoder reads the embedding of a prompt: at the configured ``end`` token, or at the ``highest``
        id, or ``nowhere``.

    Raises
    ------
    TokenizerError
        It is missing or unreadable, or its ids are not the text encoder's.
    """
    from transformers import CLIPTokenizerFast

    folder = checkpoint.folder
    complete = (folder / "tokenizer.json").is_file()
    if not complete and not all((folder / name).is_file() for name in ("vocab.json", "merges.txt")):
        raise TokenizerError(
            f"{checkpoint.name} has no tokenizer: it must hold tokenizer.json, or vocab.json and merges.txt; for a "
            "fine-tune without one, copy them from its base checkpoint"
        )
    try:
        tokenizer = CLIPTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # tokenizers raises bare Exceptions
        raise TokenizerError(f"the tokenizer of {checkpoint.name} cannot be read: {error}") from error
    _check_ids(tokenizer, checkpoint.name, text_config, pools_at)
    return tokenizer


def _check_ids(tokenizer: CLIPTokenizerFast, name: str, text_config: Any, pools_at: str) -> None:  # noqa: ANN401
    if len(tokenizer) > text_config.vocab_size:
        raise TokenizerError(
            f"the tokenizer of {name} has {len(tokenizer)} tokens, its text encoder {text_config.vocab_size}"
        )
    # The embedding is read at the end token. If none is found, every prompt silently gets the same one.
    if pools_at == "highest":
        if tokenizer.eos_token_id != max(tokenizer.get_vocab().values()):
            raise TokenizerError(
                f"{name} ends prompts with token {tokenizer.eos_token_id}, but its text encoder looks for the highest "
                f"one, {max(tokenizer.get_vocab().values())}"
            )
    elif pools_at == "end" and text_config.eos_token_id not in (_LEGACY_END, tokenizer.eos_token_id):
        raise TokenizerError(
            f"{name} ends prompts with token {tokenizer.eos_token_id}, but its text encoder looks for "
            f"{text_config.eos_token_id}: text_config.eos_token_id in config.json must be the tokenizer's"
        )


def write_tokenizer(tokenizer: CLIPTokenizerFast, longest: int, path: Path) -> dict[str, Any]:
    """Write a `tokenizer.json` that truncates and pads by itself.

    Parameters
    ----------
    longest
        Number of positions of the text encoder.
    path
        The file to write.

    Returns
    -------
    dict
        ``text`` of the manifest.
    """
    from tokenizers import Tokenizer

    length = min(longest, tokenizer.model_max_length)
    standalone = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    standalone.enable_truncation(length)
    standalone.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    standalone.save(str(path), pretty=False)
    return {
        "file": path.name,
        "max_length": length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
