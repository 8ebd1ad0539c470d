"""What unknown words are nearest to: known kinds by their meaning, and real words that only look like known ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from automask.words.spelling import SOUNDS, is_typo, limit

from .wordnet import VISIBLE, Hypernyms, Noun, Synset

__all__ = ["near_misses", "similar"]

_FLOOR: Final = 0.83
_BROADEST: Final = 400  # synsets below a hypernym that says something: "feline" does, "device" does not
_MOST: Final = 2


def similar(
    known: Collection[str],
    roots: Sequence[frozenset[str]],
    nouns: Mapping[str, Noun],
    synsets: Mapping[str, Synset],
    hypernyms: Hypernyms,
) -> list[tuple[list[int], str]]:
    """Return the kinds nearest in meaning to the commonest unknown nouns.

    Parameters
    ----------
    known
        Phrases that the vocabulary knows.
    roots
        WordNet roots of each kind.
    nouns, synsets, hypernyms
        WordNet.

    Returns
    -------
    list[tuple[list[int], str]]
        Indices of at most two kinds, the nearest first, and the nouns for which they are, joined by commas.

    Notes
    -----
    The measure is Wu and Palmer's (1994): twice the depth of the nearest common hypernym over the sum of the depths.
    Hypernyms with more than 400 others below them do not count. Common nouns are those with a sense in WordNet's tagged
    texts.
    """
    depths = _Depths(hypernyms, roots)
    found: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for lemma, noun in nouns.items():
        first = noun.senses[0]
        if lemma in known or not noun.tagged or lemma.count(" ") > 1 or synsets[first].kind not in VISIBLE:
            continue
        scores = depths.similarities(first)
        nearest = sorted((index for index in scores if scores[index] >= _FLOOR), key=lambda at: (-scores[at], at))
        if nearest:
            found[tuple(nearest[:_MOST])].append(lemma)
    return [(list(indices), ",".join(sorted(lemmas))) for indices, lemmas in sorted(found.items())]


class _Depths:
    """Depths of synsets, and their similarity to the kinds."""

    def __init__(self, hypernyms: Hypernyms, roots: Sequence[frozenset[str]]) -> None:
        self._above = hypernyms.above
        # For each hypernym that says something, the kinds below it and their distances from it.
        self._kinds: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for index, group in enumerate(roots):
            for up, distance in ((up, distance) for root in group for up, distance in self._above[root].items()):
                if hypernyms.below[up] <= _BROADEST:
                    self._kinds[up].append((index, distance))

    def similarities(self, offset: str) -> dict[int, float]:
        """Return the similarity of a synset to each kind to which it has any."""
        scores: dict[int, float] = defaultdict(float)
        for up, distance in self._above[offset].items():
            kinds = self._kinds.get(up, ())
            depth = 1 + max(self._above[up].values()) if kinds else 0
            for index, other in kinds:
                scores[index] = max(scores[index], 2 * depth / (2 * depth + distance + other))
        return scores


def near_misses(phrases: Collection[str], known: Collection[str], nouns: Mapping[str, Noun]) -> str:
    """Return the unknown nouns that look like a mistyped phrase, joined by commas: "rocket" for "racket".

    Those that sound like one are left out: "kat", a rare word for a plant, is a mistyped "cat" all the same.

    Parameters
    ----------
    phrases
        Phrases that are suggested.
    known
        All phrases that the vocabulary knows.
    nouns
        WordNet.
    """
    by_rest: dict[str, set[str]] = defaultdict(set)
    for phrase in phrases:
        for rest in _without_letters(phrase):
            by_rest[rest].add(phrase)
    sounds = {phrase.translate(SOUNDS) for phrase in phrases}
    return ",".join(
        lemma
        for lemma in sorted(nouns)
        if lemma not in known
        and " " not in lemma
        and len(lemma) >= 3
        and lemma.translate(SOUNDS) not in sounds
        and any(is_typo(lemma, phrase) for rest in _without_letters(lemma) for phrase in by_rest.get(rest, ()))
    )


def _without_letters(word: str) -> Iterator[str]:
    """Yield a word with as many letters left out as it may have errors, which are never in the first letter.

    Two words that are so many errors apart have one of these in common.
    """
    errors, word = limit(word), word.translate(SOUNDS)
    yield word
    for first in range(1, len(word) if errors else 0):
        rest = word[:first] + word[first + 1 :]
        yield rest
        for second in range(first, len(rest) if errors > 1 else 0):
            yield rest[:second] + rest[second + 1 :]
