"""The words of a model that understands any text."""

from __future__ import annotations

from ..errors import ParameterError
from .meaning import Meaning

__all__ = ["AnyText"]


class AnyText:
    """An open vocabulary: any text but a blank one.

    Attributes
    ----------
    labels
        Empty: there are no fixed ones.
    """

    labels: tuple[str, ...] = ()

    def resolve(self, prompt: str) -> Meaning[str]:
        """Return the prompt as it is.

        Raises
        ------
        ParameterError
            The prompt is blank.

        Examples
        --------
        >>> AnyText().resolve("the cushion on the left").wanted
        'the cushion on the left'
        """
        if not prompt.strip():
            raise ParameterError("prompt", "name something to mask", prompt)
        return Meaning(prompt)
