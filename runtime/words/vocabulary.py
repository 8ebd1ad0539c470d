"""A fixed vocabulary: a table from phrases to the classes of a detector.

The table is a JSON file that the export makes from hand-written synonyms and WordNet. A phrase that is in neither is
refused: a wrong mask is worse than a clear "not known".
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ..errors import BundleError, ParameterError, UnknownPromptError
from .exclusion import find_exclusion
from .grammar import ADJECTIVES, COLOURS, CUTS, DETERMINERS, JOINERS, LEADS, ORDINALS, TRAILS
from .languages import Languages
from .meaning import Meaning, Term
from .parser import LONGEST_PHRASE, REFUSED, Parser, Part
from .phrases import Word, is_negated, normalise, singulars, tokenise
from .suggestions import Suggestions
from .unions import Union

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from .exclusion import Exclusion

__all__ = ["Vocabulary"]

_MAX_SUGGESTED: Final = 12  # words of an unknown part for which similar ones are sought
_MAX_SHOWN: Final = 80  # characters of an unknown part in an error message
_SIGNS: Final = JOINERS - {"and", "or", "plus", "n"}
_CLOSED: Final = CUTS | DETERMINERS | LEADS | JOINERS


class Vocabulary:
    """The phrases that a detector with fixed classes understands.

    Parameters
    ----------
    labels
        Labels of the classes, in the detector's order.
    aliases
        Class index by phrase, written by hand.
    words
        Class index by phrase, from WordNet; `aliases` goes first.
    refused
        Phrases that look like a class and are none: "gravy boat", "sea horse".
    plurals
        Singular by irregular plural.
    unions
        Names of several classes.
    languages
        Words of other languages, as the export writes them; an index beyond the classes is a union.
    similar, real
        For `Suggestions`.

    Examples
    --------
    >>> pets = Vocabulary(("cat", "dog"), {"kitty": 0}, {"siamese": 0}, unions=(Union("pet", ("pet",), (0, 1)),))
    >>> [term.label for term in pets.resolve("the kitty and two black dogs").wanted]
    ['cat', 'dog']
    >>> meaning = pets.resolve("all pets but the dog")
    >>> [term.label for term in meaning.wanted], [term.label for term in meaning.excluded]
    (['cat'], ['dog'])
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        aliases: Mapping[str, int],
        words: Mapping[str, int],
        refused: frozenset[str] = frozenset(),
        plurals: Mapping[str, str] | None = None,
        *,
        unions: Sequence[Union] = (),
        languages: Sequence[Mapping[str, Any]] = (),
        similar: Sequence[tuple[Sequence[int], str]] = (),
        real: str = "",
    ) -> None:
        self.labels, self.unions = labels, tuple(unions)
        named = {word: index for index, union in enumerate(unions, len(labels)) for word in union.words}
        self._aliases = named | {label: index for index, label in enumerate(labels)} | dict(aliases)
        self._words = words
        self._refused = refused
        self._plurals = plurals or {}
        self._first_words = {alias.partition(" ")[0] for alias in self._aliases if " " in alias}
        self._languages = Languages(languages)
        worth = [phrase for phrase in self._aliases if not phrase.endswith(" of")]
        self._suggestions = Suggestions(worth, labels, similar, real, self._plurals)

    @classmethod
    def from_file(cls, path: Path) -> Vocabulary:
        """Read the `vocabulary.json` of a bundle.

        Raises
        ------
        BundleError
            The file cannot be read, or does not have the expected form.
        """
        try:
            content = json.loads(path.read_bytes())
            labels = tuple(content["labels"])
            found = cls(
                labels,
                dict(content["aliases"]),
                {word: index for index, group in enumerate(content["words"]) for word in group},
                frozenset(content["refused"]),
                dict(content["plurals"]),
                unions=[Union.from_json(union) for union in content.get("unions", ())],
                languages=list(content.get("languages", ())),
                similar=list(content.get("similar", ())),
                real=content.get("real", ""),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{path} must be a vocabulary written by the export, got {error!r}") from error
        if not labels or not _is_well_formed(found):
            raise BundleError(f"{path} must hold words that point to one of its labels, got another index or type")
        return found

    def resolve(self, prompt: str) -> Meaning[tuple[Term, ...]]:
        """Return what a prompt means.

        Parameters
        ----------
        prompt
            Any length: "the man in the red shirt", "cup and two spoons", "animals except dogs", "el gato".

        Returns
        -------
        Meaning
            Its terms are in the prompt's order, each class once.

        Raises
        ------
        UnknownPromptError
            A part of the prompt is not known. One part is enough: a mask of the rest would look like an answer to all
            of it.
        ParameterError
            There are no words in the prompt.
        """
        text = normalise(prompt) if isinstance(prompt, str) else ""
        words = [*self._languages.split(tokenise(text))]
        if all(word.key in _SIGNS for word in words):
            raise ParameterError("prompt", "name something to look for", prompt)
        while len(words) > 1 and words[-1].key in TRAILS:
            words.pop()
        halves = find_exclusion(words)
        if halves and not (halves.is_optional and not self._knows(halves)):
            return self._exclude(text, words, halves)
        if is_negated(words):
            raise self._unknown(text, [words])
        return self._read(text, words)

    def _knows(self, halves: Exclusion) -> bool:
        return all(part.index is not None for half in (halves.wanted, halves.excluded) for part in self._parse(half))

    def _exclude(self, text: str, words: list[Word], halves: Exclusion) -> Meaning[tuple[Term, ...]]:
        """Return the meaning of a prompt that says what to leave out."""
        if is_negated(halves.wanted) or is_negated(halves.excluded):
            raise self._unknown(text, [words])
        excluded = self._read(text, halves.excluded)
        if not halves.wanted:
            note = f"read as: everything in the picture but {_names(excluded)}"
            return replace(excluded, invert=not excluded.invert, warnings=(*excluded.warnings, note))
        wanted = self._read(text, halves.wanted)
        gone = {term.index for term in excluded.wanted}
        kept = tuple(term for term in wanted.wanted if term.index not in gone)
        if not kept or wanted.invert or wanted.pick or excluded.invert or excluded.pick:
            raise self._unknown(text, [words])
        note = f"read as: {_names(wanted)}, without what is {_names(excluded)}"
        return Meaning(kept, excluded.wanted, warnings=(*wanted.warnings, *excluded.warnings, note))

    def _read(self, text: str, words: list[Word]) -> Meaning[tuple[Term, ...]]:
        """Return the meaning of words that exclude nothing."""
        parts = self._parse(words)
        targets = [(part, self._target(part, is_alone=len(parts) == 1)) for part in parts]
        unknown = [part.words for part, target in targets if target is None]
        if unknown:
            raise self._unknown(text, unknown)
        unions = [target for _, target in targets if isinstance(target, Union)]
        terms: dict[int, Term] = {}
        for part, target in targets:
            for term in self._terms(text, part, target):
                terms.setdefault(term.index, term)
        warnings = (
            *(part.warning for part in parts if part.warning),
            *(union.describe(self.labels) for union in unions),
        )
        rule = next((union for union in unions if union.is_rule), Union("", (), ()))
        wanted = tuple(terms.values())
        return Meaning(wanted, None, rule.invert, rule.pick, tuple(dict.fromkeys(warnings)))

    def _parse(self, words: list[Word]) -> list[Part]:
        """Return the parts of a prompt; words for "and" of other languages separate only if that makes all known.

        "Una mujer y un hombre" without that would be a man with a description, because "hombre" is in WordNet.
        """
        parts = Parser(self).parse(words)
        joiners = self._languages.joiners
        is_known = all(part.index is not None for part in parts)
        if any(word.key in joiners for word in words) and (not is_known or any(part.dropped for part in parts)):
            others = Parser(self, JOINERS | joiners).parse(words)
            if all(part.index is not None and not (is_known and part.dropped) for part in others):
                return others
        return parts

    def _target(self, part: Part, *, is_alone: bool) -> int | Union | None:
        """Return the class or union that a part names; None if it is unknown, or means nothing beside other parts."""
        if part.index is None or part.index < len(self.labels):
            return part.index
        union = self.unions[part.index - len(self.labels)]
        return union if is_alone or not union.is_rule else None

    def _terms(self, text: str, part: Part, target: int | Union | None) -> Iterator[Term]:
        name, members = (target.name, target.members) if isinstance(target, Union) else ("", (target,))
        dropped = tuple(text[start:end] for start, end in sorted(part.dropped))
        typed = text[part.words[0].start : part.words[-1].end]
        for index in members:
            if index is not None:
                yield Term(typed, self.labels[index], index, dropped, name)
                dropped = ()  # reported once

    def find(self, words: Sequence[Word]) -> int | None:
        """Return the class index of a phrase, `REFUSED`, or None if it is not known."""
        if not 0 < len(words) <= LONGEST_PHRASE:
            return None
        keys = [word.key for word in words]
        found = self._look_up(" ".join(keys))
        if found is None and len(keys) == 2:
            found = self._look_up("".join(keys))  # "tooth brush"
        if found == REFUSED and keys[0] in ORDINALS:
            return None
        return self._languages.find_script(" ".join(keys)) if found is None else found

    def find_foreign(self, words: Sequence[Word]) -> tuple[int, str] | None:
        """Return the index of a noun phrase in another language, and a warning about it (may be empty)."""
        if not 0 < len(words) <= LONGEST_PHRASE:
            return None
        keys = [word.key for word in words]
        found = self._languages.find(keys)
        if found is None:
            return None
        meant = [*self.labels, *(union.name for union in self.unions)][found.index]
        warning = f"{' '.join(keys)!r} is read as {found.language} for {meant!r}; it is a word of another language, too"
        return found.index, warning if found.is_doubtful else ""

    def may_precede(self, words: Sequence[Word], index: int) -> bool:
        """Return whether words before a known noun leave its meaning alone; "cat food" is no food of the cat's kind."""
        if index < len(self.labels) or not words or words[-1].key in ADJECTIVES | COLOURS:
            return True
        return self.find(words[-1:]) in {None, REFUSED}

    def _look_up(self, phrase: str) -> int | None:
        for form in self._forms(phrase):
            if form in self._refused:
                return REFUSED
            index = self._aliases.get(form, self._words.get(form))
            if index is not None:
                return index
        return None

    def _forms(self, phrase: str) -> Sequence[str]:
        return phrase, *singulars(phrase, self._plurals)

    def fixed(self, words: Sequence[Word]) -> set[int]:
        """Return the indices of words inside hand-written phrases, which must not be split or cut."""
        indices: set[int] = set()
        for start, word in enumerate(words):
            if word.key not in self._first_words:
                continue
            for length in range(2, min(LONGEST_PHRASE, len(words) - start) + 1):
                key = " ".join(each.key for each in words[start : start + length])
                if key.endswith(" of"):
                    continue  # "glass of" is a cup, whatever is in it
                if any(form in self._aliases for form in self._forms(key)):
                    indices.update(range(start, start + length))
        return indices

    def _unknown(self, text: str, parts: Sequence[list[Word]]) -> UnknownPromptError:
        nearest = [hit for words in parts[:_MAX_SUGGESTED] for hit in self._nearest(words[:_MAX_SUGGESTED])]
        shown = [text[words[0].start : words[-1].end] for words in parts]
        shown = [part if len(part) <= _MAX_SHOWN else part[: _MAX_SHOWN - 1] + "…" for part in shown]
        return UnknownPromptError(*dict.fromkeys(shown), known=len(self.labels), nearest=tuple(dict.fromkeys(nearest)))

    def _nearest(self, words: list[Word]) -> tuple[str, ...]:
        open_words = [word.key for word in words if word.key not in _CLOSED]
        strange = [word.key for word in words if word.key in open_words and self.find([word]) is None]
        return self._suggestions.find(open_words, strange)


def _names(meaning: Meaning[tuple[Term, ...]]) -> str:
    return " and ".join(dict.fromkeys(term.union or term.label for term in meaning.wanted))


def _is_well_formed(vocabulary: Vocabulary) -> bool:
    classes, known = len(vocabulary.labels), len(vocabulary.labels) + len(vocabulary.unions)
    indices = {*vocabulary._aliases.values(), *vocabulary._words.values()}  # noqa: SLF001
    members = {index for union in vocabulary.unions for index in union.members}
    texts = [*vocabulary.labels, *vocabulary._words, *vocabulary._plurals.values()]  # noqa: SLF001
    return (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(index, int) and 0 <= index < known for index in indices)
        and all(isinstance(index, int) and 0 <= index < classes for index in members)
    )
