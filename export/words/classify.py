"""Which label a noun of WordNet belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from automask.words.phrases import singulars

from .unions import Union
from .wordnet import HUMAN, VISIBLE, Hypernyms, Noun, Synset, plain

__all__ = ["LONGEST_PHRASE", "Classifier", "tails"]

LONGEST_PHRASE = 4
"""Most words of a phrase from WordNet."""


class Classifier:
    """Assigns lemmas to labels.

    Parameters
    ----------
    nouns, synsets, hypernyms
        WordNet.
    roots
        Of each label.
    stops
        Synsets whose nouns belong to no label.
    """

    def __init__(
        self,
        nouns: Mapping[str, Noun],
        synsets: Mapping[str, Synset],
        hypernyms: Hypernyms,
        roots: Sequence[frozenset[str]],
        stops: frozenset[str],
    ) -> None:
        self._nouns, self._synsets, self._above, self._groups = nouns, synsets, hypernyms.above, roots
        # The first of two labels with the same root has it.
        self._roots = {root: index for index, group in reversed([*enumerate(roots)]) for root in group}
        self._stops = stops - self._roots.keys()
        self._seen: dict[str, int | None] = {}
        self._person = self._roots.get(nouns["person"].senses[0])

    def classify(self, lemma: str) -> int | None:
        """Return the label of a lemma if its first sense and most of its frequent ones agree, else None."""
        noun = self._nouns[lemma]
        first = self._label_of(noun.senses[0])
        if first is None or len(lemma) < 3 or lemma.count(" ") >= LONGEST_PHRASE:
            return None
        votes = Counter(self._label_of(sense) for sense in noun.frequent)
        if 2 * votes[first] < len(noun.frequent):
            return None
        return first if first != self._person or self._is_person(lemma, noun) else None

    def look_alikes(self, aliases: Mapping[str, int], words: Mapping[str, int], plurals: Mapping[str, str]) -> set[str]:
        """Return WordNet's phrases that end in a known word but mean something else, and plurals with another meaning.

        "gravy boat" is no boat: WordNet does not have it below "boat".
        """
        known, found = {**words, **aliases}, set[str]()
        for lemma in self._nouns.keys() - known.keys():
            ends = next((known[tail] for tail in tails(lemma) if tail in known), None)
            if ends is not None:
                named = lemma.startswith("the ")  # "The Street" is a stock exchange, "the street" is a street
                other = not named and lemma.count(" ") < LONGEST_PHRASE and not self._may_be(lemma, ends)
            else:
                other = self._is_visible(lemma) and any(form in words for form in singulars(lemma, plurals))
            if other:
                found.add(lemma)
        return found

    def is_other_union(self, lemma: str, joined: Mapping[str, Union]) -> bool:
        """Return whether a phrase ends in the name of a union and has none of its labels below it: "passion fruit"."""
        union = next((joined[tail] for tail in tails(lemma) if tail in joined), None)
        return union is not None and not any(self._is_above(lemma, index) for index in union.members)

    def _is_visible(self, lemma: str) -> bool:
        """Whether the first sense of a lemma is a visible thing other than a person."""
        return self._synsets[self._nouns[lemma].senses[0]].kind in VISIBLE

    def _is_above(self, lemma: str, index: int) -> bool:
        """Whether a label is among what the first sense of a lemma means: a dog is a domestic animal."""
        first = self._nouns[lemma].senses[0]
        return any(first in self._above[root] for root in self._groups[index])

    def _may_be(self, lemma: str, index: int) -> bool:
        """Whether the first sense of a phrase belongs to a label; for persons, also whether it means people at all."""
        first = self._nouns[lemma].senses[0]
        human = index == self._person and self._synsets[first].kind in HUMAN
        return human or self._label_of(first) == index

    def _is_person(self, lemma: str, noun: Noun) -> bool:
        """Whether a lemma below "person" means only people: "spinster" does, "printer" does not."""
        written = {word for sense in noun.senses for word in self._synsets[sense].words}
        common = any(plain(word) == lemma for word in written)
        if not common and not lemma.endswith(("man", "woman")):
            return False  # capitalised: a proper name or a nation ("Swede", "Pole"), but "Englishman" is unambiguous
        if any(self._synsets[sense].insult for sense in noun.senses):
            return False  # a published vocabulary must not contain them
        return all(self._synsets[sense].kind not in VISIBLE for sense in noun.senses)

    def _label_of(self, sense: str) -> int | None:
        """Return the nearest label above a sense; None if there is none, or a stop is as near."""
        if sense not in self._seen:
            self._seen[sense] = self._nearest_label(sense)
        return self._seen[sense]

    def _nearest_label(self, sense: str) -> int | None:
        found, nearest = None, 0
        for up, distance in self._above[sense].items():
            if found is not None and distance > nearest:
                break
            if up in self._stops:
                return None
            if found is None and up in self._roots:
                found, nearest = self._roots[up], distance
        return found


def tails(phrase: str) -> Iterator[str]:
    """Yield the ends of a phrase, the longest first, without the phrase itself.

    Examples
    --------
    >>> [*tails("red wine glass")]
    ['wine glass', 'glass']
    """
    while " " in phrase:
        phrase = phrase.partition(" ")[2]
        yield phrase
