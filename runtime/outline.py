"""A model without its graphs: what it is, where it runs, which prompts it understands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .bundle import Bundle
from .errors import AutomaskError
from .families import FAMILIES
from .families.family import Words
from .parameters import Query
from .words.meaning import Meaning

__all__ = ["Outline", "ResolvedQuery"]

_PERSON = "person"


@dataclass(frozen=True, slots=True)
class ResolvedQuery:
    """A query and what its texts mean to one model; made by `Outline.resolve`. Can be pickled.

    Attributes
    ----------
    query
        The query.
    prompts, exclude
        What each of its prompts, and each text of its `exclude`, means to that model; of a query with `return_errors`,
        the error of a prompt that is not understood.
    """

    query: Query
    prompts: tuple[Meaning[Any] | AutomaskError, ...]
    exclude: tuple[Meaning[Any], ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """A description of a model. Can be pickled, so that one process can describe and query a model of another.

    Attributes
    ----------
    bundle
        Name, licence, sources and graphs of the model.
    device
        Where it runs: a name of the table of devices, such as ``cpu``.
    words
        The words that it understands.
    """

    bundle: Bundle
    device: str
    words: Words[Any]

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Labels of a model with a fixed vocabulary; empty for a model that takes any text."""
        return self.words.labels

    @property
    def sample_prompt(self) -> str:
        """A prompt that the model understands: ``person``, else its first label that is a word of its own."""
        candidates = (_PERSON, *self.vocabulary)
        return next((word for word in candidates if not isinstance(self._try(word), AutomaskError)), _PERSON)

    def resolve(self, query: Query) -> ResolvedQuery:
        """Resolve each text of a query once.

        Raises
        ------
        ParameterError
            There is nothing to mask, a text is blank, or the model cannot use the selection.
        UnknownPromptError
            The model has a fixed vocabulary, and part of a text is not in it. With `return_errors`, only the texts of
            `exclude` raise.
        """
        query.check_selection()
        if query.selection.names:
            FAMILIES[self.bundle.family].check_selection(self.bundle, query.selection)
        resolve = self._try if query.return_errors else self.words.resolve
        return ResolvedQuery(query, tuple(map(resolve, query.prompts)), tuple(map(self.words.resolve, query.exclude)))

    def _try(self, prompt: str) -> Meaning[Any] | AutomaskError:
        try:
            return self.words.resolve(prompt)
        except AutomaskError as error:
            return error
