"""Slots of workers: a worker that waits for a slow decoder lets another one work meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["STEP_ASIDE", "stepping_aside"]

STEP_ASIDE: ContextVar[Callable[[], Callable[[], None]] | None] = ContextVar("step_aside", default=None)
"""Gives the slot of the current thread to another worker, and returns what takes a slot again."""


@contextmanager
def stepping_aside() -> Iterator[Callable[[], None]]:
    """Return a function that steps aside once it is called; the slot is taken again at the end."""
    resumes: list[Callable[[], None]] = []

    def step_aside() -> None:
        step = STEP_ASIDE.get()
        if step is not None and not resumes:
            resumes.append(step())

    try:
        yield step_aside
    finally:
        for resume in resumes:
            resume()
