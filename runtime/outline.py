"""A model without its graphs: what it is, where it runs, which prompts it understands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .bundle import Bundle
from .families import FAMILIES
from .families.family import Words
from .parameters import Query

__all__ = ["Outline", "ResolvedQuery"]


@dataclass(frozen=True, slots=True)
class ResolvedQuery:
    """A query and what its texts mean to one model; made by `Outline.resolve`. Can be pickled.

    Attributes
    ----------
    query
        The query.
    prompts, exclude
        What each of its prompts, and each text of its `exclude`, resolved to: what `Words.resolve` of that model
        returned for it.
    """

    query: Query
    prompts: tuple[Any, ...]
    exclude: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """A description of a model. Can be pickled, so that one process can describe and query a model of another.

    Attributes
    ----------
    bundle
        Name, licence, sources and graphs of the model.
    device
        Where it runs: ``cpu``, ``cuda`` or ``tensorrt``.
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

    def resolve(self, query: Query) -> ResolvedQuery:
        """Resolve each text of a query once.

        Raises
        ------
        ParameterError
            There is nothing to mask, a text is blank, or the model cannot use the selection.
        UnknownPromptError
            The model has a fixed vocabulary, and part of a text is not in it.
        """
        query.check_selection()
        if query.selection.names:
            FAMILIES[self.bundle.family].check_selection(self.bundle, query.selection)
        prompts, exclude = (tuple(map(self.words.resolve, texts)) for texts in (query.prompts, query.exclude))
        return ResolvedQuery(query, prompts, exclude)
