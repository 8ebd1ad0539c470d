"""Family `dense`: one score for each pixel, and no objects.

A manifest names the implementation under ``kinds``: ``{"scores": "labels"}``; a manifest without it means CLIPSeg.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..bundle import Bundle
from ..cache import Arrays, ByteCache
from ..errors import ParameterError
from ..selection import Selection
from ..session import Session
from .family import Picture, Prediction, Stopwatch, Words
from .kinds import choose
from .scorers import SCORERS, Scorer

__all__ = ["Dense"]


class Dense:
    """Any scorer; parameters and errors as for `Family`.

    Attributes
    ----------
    words
        The words that the scorer understands.
    reads_together
        False: no prompt changes the scores of another.
    """

    reads_together = False

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        self._scorer: Scorer[Any] = _scorer(bundle)(bundle, sessions, cache)
        self.words = self._scorer.words

    @property
    def device(self) -> str:
        """The device on which the graphs run."""
        return self._scorer.device

    @staticmethod
    def read_words(bundle: Bundle) -> Words[Any]:
        """Read what the scorer of a bundle understands."""
        return _scorer(bundle).read_words(bundle)

    @staticmethod
    def check_selection(bundle: Bundle, selection: Selection) -> None:
        """Raise `ParameterError`: this family scores pixels and has no objects to select."""
        name = selection.names[0]
        requirement = f"be left out for {bundle.name!r}, which scores pixels and finds no objects"
        raise ParameterError(name, requirement, getattr(selection, name))

    def predict(
        self, picture: Picture, prompts: Sequence[Any], thresholds: Sequence[float], watch: Stopwatch
    ) -> list[Prediction]:
        """Return one prediction for each prompt, in order."""
        del thresholds  # the caller applies them to the score maps
        return self._scorer.score(picture, prompts, watch)

    def select(
        self, picture: Picture, prompt: object, threshold: float, selection: Selection, watch: Stopwatch
    ) -> Prediction:
        """Never called: `check_selection` refuses every selection."""
        raise NotImplementedError

    def redraw(self, picture: Picture, prediction: Prediction, watch: Stopwatch) -> Prediction:
        """Return the prediction as it is: there is no closer view of a score map."""
        del picture, watch
        return prediction


def _scorer(bundle: Bundle) -> type[Scorer[Any]]:
    return choose(bundle, "scores", SCORERS, "clipseg")
