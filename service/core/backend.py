"""The interface of what runs the models: threads of this process, or a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Protocol, TypeVar

from automask import Bundle, ParameterError, Query
from automask.outline import ResolvedQuery

from ..errors import NotFoundError
from ..telemetry.timings import Timings
from .task import Task

__all__ = ["Backend", "Model", "Response", "ResponseT", "Work", "add_model", "find_model"]

T = TypeVar("T")


class Response(Protocol):
    """The results of a task, encoded for its caller. Only the writer that encodes them and the servers know more."""

    @property
    def timings(self) -> Timings:
        """Where the time went."""


ResponseT = TypeVar("ResponseT", bound=Response)


class Model(Protocol):
    """A model of the server, in this process or in another one."""

    @property
    def bundle(self) -> Bundle:
        """Its name, licence, sources and graphs."""

    @property
    def device(self) -> str:
        """The device it runs on."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The labels that it knows; empty if it takes any text."""

    def resolve(self, query: Query) -> ResolvedQuery:
        """Resolve the texts of a query; raises as `Outline.resolve` does."""


class Work(Protocol[ResponseT]):
    """One task that was started."""

    @property
    def future(self) -> Future[ResponseT] | asyncio.Future[ResponseT]:
        """Its response."""

    @property
    def is_large(self) -> bool:
        """Whether its image is known to be large, or slow to decode."""

    def cancel(self) -> None:
        """Keep it from starting, or stop it where it runs."""


class Backend(Protocol[ResponseT]):
    """Runs tasks on models."""

    @property
    def segmenters(self) -> Mapping[str, Model]:
        """The models by name, the default model first."""

    @property
    def workers(self) -> int:
        """Number of tasks that run at once."""

    def segmenter(self, model: str) -> Model:
        """Find a model by name; an empty name means the default model."""

    def start(
        self,
        task: Task,
        query: Query | ResolvedQuery,
        *,
        retries: int = 0,
        is_large: bool = False,
        may_give_way: bool = False,
    ) -> Work[ResponseT]:
        """Queue a task and its query.

        Parameters
        ----------
        task, query
            The task and its query.
        retries
            Number of attempts before this one.
        is_large
            The image is known to be large, or slow to decode; otherwise the backend finds out.
        may_give_way
            The work may end with `GiveWayError` if it turns out to be slow to decode. Then start it again as large.
        """


def find_model(models: Mapping[str, T], name: str) -> T:
    """Find a model by name; an empty name means the first one.

    Raises
    ------
    NotFoundError
        There is no model of this name.
    """
    if not name:
        return next(iter(models.values()))
    if name not in models:
        known = ", ".join(map(repr, models))
        raise NotFoundError(f"no model {name!r} is loaded here; there is {known}")
    return models[name]


def add_model(models: dict[str, T], name: str, model: T, setting: object) -> None:
    """Add a model under its name.

    Parameters
    ----------
    models
        The models so far.
    name, model
        The name of its bundle, and the model.
    setting
        The setting that names the models, for the error.

    Raises
    ------
    ParameterError
        Another model has this name.
    """
    if name in models:
        raise ParameterError("model", f"name different models; two of these have the name {name!r}", setting)
    models[name] = model
