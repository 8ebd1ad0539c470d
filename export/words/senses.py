"""WordNet senses of labels that no table places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from automask.words.phrases import singulars

from .wordnet import HUMAN, VISIBLE, Noun, Synset, plain

__all__ = ["place"]


def place(
    names: Sequence[str], nouns: Mapping[str, Noun], synsets: Mapping[str, Synset], plurals: Mapping[str, str]
) -> frozenset[str]:
    """Return the sense of a label: of what can be seen, the one that has most of its names, else the commonest.

    Parameters
    ----------
    names
        The names in the label.
    nouns, synsets
        WordNet.
    plurals
        Singular by irregular plural.

    Returns
    -------
    frozenset[str]
        One sense; none if WordNet has none of the names.
    """
    forms = [form for name in names for form in (name, *singulars(name, plurals))]
    senses = [
        (-_shared(sense, forms, synsets), rank, sense)
        for form in forms
        if form in nouns
        for rank, sense in enumerate(nouns[form].senses)
        if synsets[sense].kind in VISIBLE | HUMAN and not _is_name(sense, form, synsets)
    ]
    return frozenset([min(senses)[2]]) if senses else frozenset()


def _shared(sense: str, forms: Sequence[str], synsets: Mapping[str, Synset]) -> int:
    return len({plain(word.casefold()) for word in synsets[sense].words} & set(forms))


def _is_name(sense: str, form: str, synsets: Mapping[str, Synset]) -> bool:
    """Return whether a word is capitalised in a sense: "Ottoman", the dynasty, and "Earth", the planet."""
    written = [word for word in synsets[sense].words if plain(word.casefold()) == form]
    return bool(written) and all(word[0].isupper() for word in written)
