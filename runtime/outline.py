"""What is known of a model without its graphs: enough to tell about it, and to refuse a query that it cannot answer."""

from __future__ import annotations

from dataclasses import dataclass

from .bundle import Bundle
from .errors import ParameterError
from .families import Words
from .parameters import Query

__all__ = ["Outline"]


@dataclass(frozen=True, slots=True)
class Outline:
    """A model as seen from outside. It can be pickled, so that one process knows what another one has loaded.

    Attributes
    ----------
    bundle
        What the model is: name, licence, sources, graphs.
    device
        Where it runs: ``cpu``, ``cuda`` or ``tensorrt``.
    words
        What it understands.
    """

    bundle: Bundle
    device: str
    words: Words

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The kinds of object that it knows; empty where it takes any text."""
        return self.words.labels

    def check(self, query: Query) -> None:
        """Raise what `Segmenter.answer` would give for this query on any image.

        Raises
        ------
        ParameterError
            There is no prompt, or an empty one.
        UnknownPromptError
            The model has a fixed vocabulary and does not know the thing named.
        """
        if not query.prompts:
            raise ParameterError("prompt", "name at least one thing", query.prompts)
        for text in (*query.prompts, *query.exclude):
            self.words.check(text)
