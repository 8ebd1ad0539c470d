"""Captions: several phrases as one sequence of BERT's tokens, in which each phrase sees only itself.

Source: arXiv:2303.05499 (Grounding DINO), section 3.4, "sub-sentence level text feature".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tokenizer import Tokenizer

__all__ = ["Caption", "CaptionWriter", "Phrase", "attention"]

_MAX_SHOWN = 40  # characters of a phrase in a warning


@dataclass(frozen=True, slots=True)
class Phrase:
    """One phrase, tokenized.

    Attributes
    ----------
    ids
        Token ids, without the tokens that begin, end or separate; empty if the model can read nothing of it.
    dropped
        The end of the phrase that is over the model's limit, if any.
    warnings
        A sentence for each way in which the phrase is not read as it was typed.
    """

    ids: tuple[int, ...]
    dropped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Caption:
    """One sequence of tokens.

    Attributes
    ----------
    ids
        Token ids.
    spans
        First token, and the one behind the last, of each phrase.
    """

    ids: tuple[int, ...]
    spans: Mapping[tuple[int, ...], tuple[int, int]]


class CaptionWriter:
    """Tokenizes phrases and joins them as transformers' processor does: lower case, a dot behind each.

    Parameters
    ----------
    folder
        Folder of the bundle.
    settings
        ``text`` of the manifest: `file`, `max_length` (most tokens of a caption), and the ids of the tokens that begin
        (`cls_token_id`), end (`sep_token_id`) and close a phrase (`dot_token_id`), of all that separate phrases
        (`separator_ids`), and of the one for anything unknown (`unk_token_id`).

    Raises
    ------
    KeyError
        A setting is missing.
    MissingDependencyError, BundleError
        As `Tokenizer`.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._begin: int = settings["cls_token_id"]
        self._end: int = settings["sep_token_id"]
        self._dot: int = settings["dot_token_id"]
        self._unknown: int = settings["unk_token_id"]
        self.separators = frozenset(settings["separator_ids"])
        self._longest: int = settings["max_length"]
        self._tokenizer = Tokenizer(folder / settings["file"], self._longest - 1)  # a dot comes on top

    def read(self, phrase: str) -> Phrase:
        """Tokenize one phrase.

        Dots and question marks inside it are left out: the model would take them for the end of the phrase.
        """
        tokens = self._tokenizer.encode(phrase)
        ids = tuple(token for token in tokens.ids if token not in self.separators)
        shown = phrase if len(phrase) <= _MAX_SHOWN else phrase[: _MAX_SHOWN - 1] + "…"
        warnings = []
        if tokens.dropped:
            warnings.append(f"{shown!r} was cut after {len(ids)} tokens, the most that this model takes")
        if not ids or self._unknown in ids:
            warnings.append(f"this model cannot read {'' if not ids else 'all of '}{shown!r}")
        return Phrase(ids, tokens.dropped, tuple(warnings))

    def write(self, phrases: Iterable[tuple[int, ...]]) -> list[Caption]:
        """Join phrases, each once, into as few captions as hold them in their order; empty ones are left out."""
        captions: list[Caption] = []
        waiting: dict[tuple[int, ...], None] = dict.fromkeys(phrase for phrase in phrases if phrase)
        while waiting:
            ids, spans = [self._begin], {}
            for phrase in list(waiting):
                if len(ids) + len(phrase) + 2 > self._longest:
                    break
                spans[phrase] = (len(ids), len(ids) + len(phrase))
                ids += [*phrase, self._dot]
                del waiting[phrase]
            captions.append(Caption((*ids, self._end), spans))
        return captions


def attention(ids: Sequence[int], separators: Iterable[int]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return what each token attends to, and its position in its phrase.

    The same as transformers' `generate_masks_with_special_tokens_and_transfer_map`, whose arrays have one more axis in
    front: a phrase reaches from one separator to the next, which belongs to it. The first and the last token, and words
    that no separator closes before the last token, attend to themselves alone.

    Parameters
    ----------
    ids
        Token ids.
    separators
        Ids of the tokens that separate phrases.

    Returns
    -------
    mask
        (length, length).
    positions
        (length,).

    Examples
    --------
    >>> mask, positions = attention([101, 7, 8, 1012, 9, 1012, 102], {101, 102, 1012, 1029})
    >>> mask.sum(axis=1).tolist(), positions.tolist()
    ([1, 3, 3, 3, 2, 2, 1], [0, 0, 1, 2, 0, 1, 0])
    """
    length = len(ids)
    mask, positions = np.eye(length, dtype=bool), np.zeros(length, np.int64)
    start = 1
    for at in np.flatnonzero(np.isin(ids, list(separators))).tolist():
        if 0 < at < length - 1:
            mask[start : at + 1, start : at + 1] = True
            positions[start : at + 1] = np.arange(at + 1 - start)
        start = at + 1
    return mask, positions
