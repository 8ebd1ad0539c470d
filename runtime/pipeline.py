"""The pipeline of a loaded model: decode, predict, draw, grow, subtract, invert."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from .drawing import Outline, cut, draw, finish
from .errors import AutomaskError, DeviceError, EmptyMaskError, ParameterError
from .families.family import Family, Picture, Prediction, Stopwatch
from .findings import Finding, find, select
from .images import ImageSource
from .outline import ResolvedQuery
from .parameters import Parameters, Query
from .pictures import PictureReader
from .result import Result
from .words.meaning import Meaning

__all__ = ["Pipeline"]

Answers: TypeAlias = list[list[Result | AutomaskError] | AutomaskError]
FindingT = TypeVar("FindingT", Finding, Finding | AutomaskError)

_AHEAD = 2  # images that `run_many` decodes while the model works on another one


class Pipeline:
    """Runs resolved queries on images. Threads may share it.

    Parameters
    ----------
    reader
        Decodes images.
    family
        Runs the graphs.
    model
        Name of the bundle, for the results.
    warnings
        Warnings of every result.
    recover
        Called with this pipeline and the error when its device fails. Returns the pipeline that takes over, or raises
        an error. None: the error is raised.
    """

    def __init__(
        self,
        reader: PictureReader,
        family: Family[Any],
        model: str,
        warnings: tuple[str, ...] = (),
        recover: Callable[[Pipeline, DeviceError], Pipeline] | None = None,
    ) -> None:
        self._reader, self._family, self._model, self._warnings = reader, family, model, warnings
        self._recover = recover
        self._successor: Pipeline | None = None

    @property
    def device(self) -> str:
        """The device of the graphs."""
        return self._family.device

    def works(self, image: NDArray[np.uint8], query: ResolvedQuery) -> bool:
        """Return whether the device computes something for an image, which must be one that the cache has not."""
        try:
            self._answer_here(*self._read(image), [query])
        except DeviceError:
            return False
        return True

    def run(self, image: ImageSource, queries: Sequence[ResolvedQuery]) -> Answers:
        """Return, for each query, one result for each of its prompts, or its own error.

        A query with `return_errors` has the errors of its prompts among its results.

        Raises
        ------
        ImageError
            The image cannot be read, or is too large; also if there are no queries.
        CancelledError
            The interrupt of this thread was set.
        """
        picture, watch = self._read(image)
        return self.answer(picture, watch, queries) if queries else []

    def run_many(
        self, images: Iterable[ImageSource], query: ResolvedQuery, *, return_errors: bool
    ) -> Iterator[Result | AutomaskError]:
        """Yield the result of a query of one prompt for each image, in order, and decode the next ones meanwhile.

        Parameters
        ----------
        images
            Read only as far as needed.
        query
            A query with one prompt.
        return_errors
            Yield the error of an image instead of raising it, and go on.
        """
        source = iter(images)
        with ThreadPoolExecutor(1, thread_name_prefix="automask-decode") as pool:
            waiting = deque(pool.submit(self._read, image) for image in islice(source, _AHEAD))
            while waiting:
                decoded = waiting.popleft()
                waiting.extend(pool.submit(self._read, image) for image in islice(source, 1))
                try:
                    picture, watch = decoded.result()
                    (answer,) = self.answer(picture, watch, [query])
                except AutomaskError as error:
                    answer = error
                if not isinstance(answer, AutomaskError):
                    yield answer[0]
                elif return_errors:
                    yield answer
                else:
                    raise answer

    def _read(self, image: ImageSource) -> tuple[Picture, Stopwatch]:
        watch = Stopwatch()
        with watch.stage("decode"):
            return self._reader.read(image), watch

    def answer(self, picture: Picture, watch: Stopwatch, queries: Sequence[ResolvedQuery]) -> Answers:
        """Answer queries on a decoded image as `run` does: here or, once the device has failed, by the successor."""
        if self._successor is not None:
            return self._successor.answer(picture, watch, queries)
        try:
            return self._answer_here(picture, watch, queries)
        except DeviceError as error:
            if self._recover is None:
                raise
            self._successor = self._recover(self, error)
            return self._successor.answer(picture, watch, queries)

    def _answer_here(self, picture: Picture, watch: Stopwatch, queries: Sequence[ResolvedQuery]) -> Answers:
        # No query may change the answer to another.
        passes = [[query] for query in queries] if self._family.reads_together else [queries]
        found = iter([one for together in passes for one in self._find(picture, together, watch)])
        answers: Answers = []
        for query in queries:
            findings = list(islice(found, len(_shared(query))))
            try:
                wanted, excluded = self._split(picture, query, findings, watch)
                answers.append(self._finish(picture, query.query, wanted, excluded, watch))
            except (EmptyMaskError, ParameterError) as error:
                answers.append(error)
        return answers

    def _find(self, picture: Picture, queries: Sequence[ResolvedQuery], watch: Stopwatch) -> list[Finding]:
        """Return what is found for all prompts of some queries, in one pass of the model."""
        shared = [(meaning, query.query.parameters.threshold) for query in queries for meaning in _shared(query)]
        meanings, thresholds = [meaning for meaning, _ in shared], [threshold for _, threshold in shared]
        return find(self._family, picture, meanings, thresholds, watch)

    def _split(
        self, picture: Picture, query: ResolvedQuery, findings: Sequence[Finding], watch: Stopwatch
    ) -> tuple[Sequence[Finding | AutomaskError], Sequence[Finding]]:
        """Return the findings for what a query masks, errors in their place, and for what it excludes.

        Raises
        ------
        ParameterError
            The selection does not fit the image or what was found in it.
        """
        if query.query.selection.names:
            meaning = next((prompt for prompt in query.prompts if isinstance(prompt, Meaning)), None)
            if meaning is None and query.prompts:
                return [prompt for prompt in query.prompts if isinstance(prompt, AutomaskError)], findings
            return [select(self._family, picture, meaning, query.query, watch)], findings
        rest = iter(findings)
        wanted = [prompt if isinstance(prompt, AutomaskError) else next(rest) for prompt in query.prompts]
        return wanted, list(rest)

    def _finish(
        self,
        picture: Picture,
        query: Query,
        findings: Sequence[Finding | AutomaskError],
        excluded: Sequence[Finding],
        watch: Stopwatch,
    ) -> list[Result | AutomaskError]:
        parameters = query.parameters
        texts = query.prompts or ("",)
        if parameters.edges == "fine":
            findings = [self._redraw(picture, finding, watch) for finding in findings]
            excluded = [self._redraw(picture, finding, watch) for finding in excluded]
        with watch.stage("postprocess"):
            removed = [_draw_excluded(picture, finding, parameters) for finding in excluded]
            drawn = [
                finding if isinstance(finding, AutomaskError) else _draw(picture, prompt, finding, removed, query)
                for prompt, finding in zip(texts, findings, strict=True)
            ]
        timings = {**watch.stages, "total": sum(watch.stages.values())}
        return [
            one
            if isinstance(one, AutomaskError)
            else Result(
                mask=one.outline.mask,
                opacity=one.outline.opacity,
                photo=picture.photo,
                instances=one.prediction.instances,
                score_map=one.prediction.score_map,
                prompt=prompt,
                labels=one.prediction.labels,
                dropped=one.prediction.dropped,
                warnings=(*self._warnings, *one.prediction.warnings),
                is_empty=one.is_empty,
                parameters=parameters,
                timings=timings,
                device=self._family.device,
                model=self._model,
                decoder=self._reader.decoder,
            )
            for prompt, one in zip(texts, drawn, strict=True)
        ]

    def _redraw(self, picture: Picture, finding: FindingT, watch: Stopwatch) -> FindingT:
        if not isinstance(finding, Finding):
            return finding
        excluded = None if finding.excluded is None else self._family.redraw(picture, finding.excluded, watch)
        return replace(finding, prediction=self._family.redraw(picture, finding.prediction, watch), excluded=excluded)


def _shared(query: ResolvedQuery) -> tuple[Meaning[Any], ...]:
    """Return what is predicted of a query together with others: without a selection, all."""
    if query.query.selection.names:
        return query.exclude
    return (*(prompt for prompt in query.prompts if isinstance(prompt, Meaning)), *query.exclude)


class _Drawn(NamedTuple):
    outline: Outline
    is_empty: bool
    prediction: Prediction


def _draw(
    picture: Picture, prompt: str, finding: Finding, removed: Sequence[NDArray[np.uint8]], query: Query
) -> _Drawn | EmptyMaskError:
    """Return the finished mask of one prompt; raise the error of an empty one, or return it with `return_errors`."""
    parameters = query.parameters
    outline = draw(picture, finding.prediction, parameters)
    is_empty = not outline.mask.any()
    if is_empty and parameters.stop_on_empty_mask:
        error = EmptyMaskError(
            f"nothing in the image matches {prompt or 'the selection'!r} at threshold "
            f"{parameters.threshold}; lower the threshold, or leave stop_on_empty_mask off to get an empty mask"
        )
        if query.return_errors:
            return error
        raise error
    outline = _cut_own(picture, finish(outline, parameters), finding, parameters)
    return _Drawn(cut(outline, removed, invert=parameters.invert_mask), is_empty, finding.prediction)


def _draw_excluded(picture: Picture, finding: Finding, parameters: Parameters) -> NDArray[np.uint8]:
    """Return the mask of a text of `exclude`: not grown."""
    return _cut_own(picture, draw(picture, finding.prediction, parameters), finding, parameters).mask


def _cut_own(picture: Picture, outline: Outline, finding: Finding, parameters: Parameters) -> Outline:
    """Apply what the prompt itself says: subtract what it excludes, and invert."""
    excluded = [] if finding.excluded is None else [draw(picture, finding.excluded, parameters).mask]
    return cut(outline, excluded, invert=finding.invert)
