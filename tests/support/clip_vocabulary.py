"""A vocabulary for CLIP's tokenizer, in the files that a checkpoint has."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel

__all__ = ["END", "MERGES", "START", "write_vocabulary"]

START, END = "<|startoftext|>", "<|endoftext|>"
# Enough for words of several pieces; CLIP's own 49,408 would be most of a small checkpoint.
MERGES = [
    "t h",
    "th e</w>",
    "c u",
    "cu p</w>",
    "l e",
    "le f",
    "lef t</w>",
    "o n</w>",
    "c a",
    "ca t</w>",
    "i n",
    "in g</w>",
]


def write_vocabulary(folder: Path, merges: list[str]) -> int:
    """Write vocab.json and merges.txt in CLIP's order of ids: bytes, bytes that end a word, merges, start, end."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(n) for n in (*range(33, 127), *range(161, 173), *range(174, 256))]
    letters += sorted(set(ByteLevel.alphabet()) - set(letters))
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *(m.replace(" ", "") for m in merges), START, END]
    ids = {token: i for i, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return len(tokens)
