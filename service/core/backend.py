"""What operations and requests ask of whatever runs the models: threads of this process, or a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Protocol, TypeVar

from automask import Bundle, Query
from automask.v1 import mask_pb2

from ..errors import NotFoundError
from ..wire.tasks import Task

__all__ = ["Backend", "Model", "Work", "find_model"]

T = TypeVar("T")


class Model(Protocol):
    """A model that can be asked for, wherever it is loaded."""

    @property
    def bundle(self) -> Bundle:
        """What it is."""

    @property
    def device(self) -> str:
        """Where it runs."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The kinds of object that it knows; empty where it takes any text."""

    def check(self, query: Query) -> None:
        """Raise what it would answer to this query on any image."""


class Work(Protocol):
    """One task on its way."""

    @property
    def future(self) -> Future[mask_pb2.MaskResponse] | asyncio.Future[mask_pb2.MaskResponse]:
        """The answer to come."""

    def cancel(self) -> None:
        """Stop it, wherever it is."""


class Backend(Protocol):
    """Runs tasks on models."""

    @property
    def segmenters(self) -> Mapping[str, Model]:
        """The models by name, the default one first."""

    @property
    def workers(self) -> int:
        """Tasks that are worked on at once."""

    def segmenter(self, model: str) -> Model:
        """Find a model by name; an empty name means the default one."""

    def start(self, task: Task, *, retries: int = 0) -> Work:
        """Queue a task."""


def find_model(models: Mapping[str, T], name: str) -> T:
    """Find a model by name; an empty name means the first one.

    Raises
    ------
    NotFoundError
        There is no such model.
    """
    if not name:
        return next(iter(models.values()))
    if name not in models:
        known = ", ".join(map(repr, models))
        raise NotFoundError(f"no model {name!r} is loaded here; there is {known}")
    return models[name]
