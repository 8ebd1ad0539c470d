"""Names in labels as data sets write them: "road, route", "sky-other-merged", "Cabinet/shelf", "bow_(weapon)"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

__all__ = ["is_nothing", "key", "names_of", "shown"]

# Labels of pixels and numbers that stand for no kind of thing.
_NOTHING: Final = frozenset(
    "n/a na none null background bg _background_ __background__ unlabeled unlabelled void ignore ignored ignored_region"
    " unknown misc other others nothing".split()
)
_ENDINGS: Final = (" other merged", " merged", " other", " stuff")
_BRACKETS: Final = re.compile(r"\s*\([^)]*\)?")


def is_nothing(label: str) -> bool:
    """Return whether a label stands for no kind of thing: "N/A", "background", a number.

    Examples
    --------
    >>> [label for label in ("N/A", "7", "_background_", "sky") if not is_nothing(label)]
    ['sky']
    """
    text = label.strip().casefold()
    return text in _NOTHING or not any(letter.isalpha() for letter in text)


def shown(label: str) -> str:
    """Return a label as results show it: its first synonym.

    Examples
    --------
    >>> shown("road, route"), shown("bed "), shown("sky-other-merged")
    ('road', 'bed', 'sky-other-merged')
    """
    return next((part.strip() for part in label.split(",") if not is_nothing(part)), label)


def key(label: str) -> str:
    """Return what two spellings of a label have in common.

    Examples
    --------
    >>> key("Potted Plant") == key("pottedplant") == key("potted_plant")
    True
    """
    return "".join(letter for letter in shown(label).casefold() if letter.isalnum())


def names_of(labels: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the phrases in each label: lower case, words separated by spaces.

    A shortened form, without an ending, "other" or what is in brackets, is a name only if no other label has it.

    Examples
    --------
    >>> names_of(["sky-other-merged", "Cabinet/shelf", "bow_(weapon)", "bow_(ribbon)", "bat_(animal)", "N/A"])[:2]
    [('sky other merged', 'sky'), ('cabinet', 'shelf')]
    >>> names_of(["bow_(weapon)", "bow_(ribbon)", "bat_(animal)"])
    [('bow weapon',), ('bow ribbon',), ('bat animal', 'bat')]
    """
    written = [[] if is_nothing(label) else _written(label) for label in labels]
    shortened = [list(dict.fromkeys(map(_shorten, names))) for names in written]
    whole = [[_phrase(name) for name in names] for names in written]
    taken = [name for names in whole for name in names]
    every = taken + [short for names, shorts in zip(whole, shortened, strict=True) for short in set(shorts) - {*names}]
    return [
        tuple(dict.fromkeys(filter(None, (*names, *(short for short in shorts if every.count(short) == 1)))))
        for names, shorts in zip(whole, shortened, strict=True)
    ]


def _written(label: str) -> list[str]:
    return [name for name in re.split("[,/;]", label) if not is_nothing(name)]


def _phrase(name: str) -> str:
    plain = re.sub(r"[-_()]+", " ", name.casefold()).replace(".", "").replace("'s ", " ")
    return " ".join(plain.split())


def _shorten(name: str) -> str:
    phrase = _phrase(_BRACKETS.sub("", name.replace("_(", "("))).removeprefix("other ")
    return next((phrase.removesuffix(ending) for ending in _ENDINGS if phrase.endswith(ending)), phrase)
