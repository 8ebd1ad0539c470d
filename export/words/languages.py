"""The nouns of other languages, and emoji: the tables in `languages/`, with regular plurals."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from automask.words import grammar
from automask.words.languages import fold
from automask.words.phrases import tokenise

from .wordnet import HUMAN, VISIBLE, Noun, Synset

__all__ = ["read_languages"]

# By number of speakers who write to software of this kind: the first one is taken where two languages share a word.
_ORDER: Final = ("es", "fr", "de", "pt", "it", "zh", "ja", "hi", "emoji")
# English words that are no nouns, and therefore not in WordNet's nouns.
_ENGLISH: Final = frozenset({"ours"}) | grammar.MEASURES | grammar.DETERMINERS | grammar.CUTS | grammar.PARTICIPLES


def read_languages(
    names: Sequence[str], known: Collection[str], nouns: Mapping[str, Noun], synsets: Mapping[str, Synset]
) -> list[dict[str, Any]]:
    """Read the tables.

    Parameters
    ----------
    names
        The keys of the tables: for each label that of COCO which it is, then the names of the unions in braces. Those
        that no table has get no words.
    known
        English phrases of the vocabulary.
    nouns, synsets
        WordNet.

    Returns
    -------
    list[dict[str, Any]]
        For each language: ``name``; ``articles``, with possessives and small numbers; ``joiners``, words for "and" and
        "or"; ``words``: for each name the words, joined by commas; ``bound``: words that count only after an article,
        because English has them for another visible thing; ``doubtful``: words that count with a warning, because
        English has them for something that is not visible.
    """
    folder = Path(__file__).parent / "languages"
    tables = [(code, tomllib.loads((folder / f"{code}.toml").read_text(encoding="utf-8"))) for code in _ORDER]
    english = nouns.keys() | _ENGLISH
    concrete = {word for word in nouns if synsets[nouns[word].senses[0]].kind in VISIBLE | HUMAN} | _ENGLISH
    return [_describe(table, _PLURALS.get(code), names, english - set(known), concrete) for code, table in tables]


def _describe(
    table: Mapping[str, Any],
    plural: Callable[[str], str] | None,
    names: Sequence[str],
    english: Collection[str],
    concrete: Collection[str],
) -> dict[str, Any]:
    words = [list(dict.fromkeys(_forms(table["words"].get(name, ""), plural))) for name in names]
    shared = {word for group in words for word in group if word in english}
    bound = {word for word in shared if word in concrete}
    return {
        "name": table["name"],
        "articles": fold(table.get("articles", "")).split(),
        "joiners": table.get("joiners", "").split(),
        "words": [",".join(group) for group in words],
        "bound": sorted(bound),
        "doubtful": sorted(shared - bound),
    }


def _forms(text: str, plural: Callable[[str], str] | None) -> Iterator[str]:
    """Yield the words of one cell, as the runtime looks them up, each with its plural."""
    for phrase in filter(None, map(str.strip, text.split(","))):
        yield _key(phrase)
        if plural is not None:
            head, space, rest = phrase.casefold().partition(" ")
            yield _key(plural(head) + space + rest)


def _key(phrase: str) -> str:
    return " ".join(fold(word.key) for word in tokenise(phrase)) or phrase


def _spanish(word: str) -> str:
    plain = fold(word)
    if plain.endswith("s"):
        return plain
    if plain.endswith("z"):
        return plain[:-1] + "ces"
    return plain + ("s" if plain[-1] in "aeiou" else "es")


def _french(word: str) -> str:
    if word.endswith(("s", "x", "z")):
        return word
    if word.endswith("al"):
        return word[:-2] + "aux"
    return word + ("x" if word.endswith(("eau", "eu")) else "s")


def _portuguese(word: str) -> str:
    if word.endswith("ão"):
        return word[:-2] + "ões"
    plain = fold(word)
    if plain.endswith("m"):
        return plain[:-1] + "ns"
    if plain.endswith("l"):
        return plain[:-1] + ("s" if plain.endswith("il") else "is")
    if plain.endswith("s"):
        return plain
    return plain + ("es" if plain[-1] in "rz" else "s")


def _italian(word: str) -> str:
    endings = {"ca": "che", "ga": "ghe", "co": "chi", "go": "ghi", "io": "i", "o": "i", "a": "e", "e": "i"}
    return next((word[: -len(old)] + new for old, new in endings.items() if word.endswith(old)), word)


_PLURALS: Final[Mapping[str, Callable[[str], str]]] = {
    "es": _spanish,
    "fr": _french,
    "pt": _portuguese,
    "it": _italian,
}
