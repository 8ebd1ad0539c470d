"""A small vocabulary for BERT, with the special tokens at the ids that Grounding DINO expects."""

from __future__ import annotations

from pathlib import Path
from string import ascii_lowercase
from typing import Any

from transformers import BertTokenizerFast

__all__ = ["VOCABULARY", "bert_tokenizer", "text_settings"]

_SPECIAL = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
_WORDS = ["a", "the", "red", "cup", "cat", "dog", "on", "left", *"!,'-0123456789", "猫"]

VOCABULARY = [_SPECIAL.get(index, f"[unused{index}]") for index in range(1100)]
VOCABULARY += [*dict.fromkeys([*_WORDS, *ascii_lowercase]), *(f"##{letter}" for letter in ascii_lowercase)]


def bert_tokenizer(folder: Path) -> BertTokenizerFast:
    """Write `vocab.txt` into a folder, and read it."""
    path = folder / "vocab.txt"
    path.write_text("\n".join([*VOCABULARY, ""]), encoding="utf-8")
    return BertTokenizerFast(vocab_file=str(path), do_lower_case=True)


def text_settings() -> dict[str, Any]:
    """Return ``text`` of a manifest."""
    return {
        "file": "tokenizer.json",
        "max_length": 256,
        "cls_token_id": 101,
        "sep_token_id": 102,
        "dot_token_id": 1012,
        "unk_token_id": 100,
        "separator_ids": [101, 102, 1012, 1029],
    }
