"""The pipeline of a loaded model: decode, predict, draw, grow, subtract, invert."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from .drawing import draw, finish
from .errors import AutomaskError, EmptyMaskError, ParameterError
from .families.family import Family, Picture, Prediction, Stopwatch
from .images import ImageSource
from .outline import ResolvedQuery
from .parameters import Query
from .pictures import PictureReader
from .result import Result

__all__ = ["Pipeline"]

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
    """

    def __init__(self, reader: PictureReader, family: Family[Any], model: str) -> None:
        self._reader, self._family, self._model = reader, family, model

    def run(self, image: ImageSource, queries: Sequence[ResolvedQuery]) -> list[list[Result] | AutomaskError]:
        """Return, for each query, one result for each of its prompts, or its own error.

        Raises
        ------
        ImageError
            The image cannot be read, or is too large; also if there are no queries.
        CancelledError
            The interrupt of this thread was set.
        """
        picture, watch = self._read(image)
        return self._answer(picture, queries, watch) if queries else []

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
                    (answer,) = self._answer(picture, [query], watch)
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

    def _answer(
        self, picture: Picture, queries: Sequence[ResolvedQuery], watch: Stopwatch
    ) -> list[list[Result] | AutomaskError]:
        texts = [text for query in queries for text in _shared_texts(query)]
        thresholds = [query.query.parameters.threshold for query in queries for _ in _shared_texts(query)]
        predictions = iter(self._family.predict(picture, texts, thresholds, watch) if texts else [])
        answers: list[list[Result] | AutomaskError] = []
        for query in queries:
            shared = list(islice(predictions, len(_shared_texts(query))))
            try:
                wanted, excluded = self._split(picture, query, shared, watch)
                answers.append(self._finish(picture, query.query, wanted, excluded, watch))
            except (EmptyMaskError, ParameterError) as error:
                answers.append(error)
        return answers

    def _split(
        self, picture: Picture, query: ResolvedQuery, shared: Sequence[Prediction], watch: Stopwatch
    ) -> tuple[Sequence[Prediction], Sequence[Prediction]]:
        """Return the predictions for what a query masks, and for what it excludes.

        Raises
        ------
        ParameterError
            The selection does not fit the image or what was found in it.
        """
        selection, threshold = query.query.selection, query.query.parameters.threshold
        if not selection.names:
            return shared[: len(query.prompts)], shared[len(query.prompts) :]
        prompt = query.prompts[0] if query.prompts else None
        return [self._family.select(picture, prompt, threshold, selection, watch)], shared

    def _finish(
        self,
        picture: Picture,
        query: Query,
        predictions: Sequence[Prediction],
        excluded: Sequence[Prediction],
        watch: Stopwatch,
    ) -> list[Result]:
        parameters = query.parameters
        texts = query.prompts or ("",)
        if parameters.edges == "fine":
            predictions = [self._family.redraw(picture, prediction, watch) for prediction in predictions]
            excluded = [self._family.redraw(picture, prediction, watch) for prediction in excluded]
        with watch.stage("postprocess"):
            outlines = [draw(picture, prediction, parameters) for prediction in predictions]
            removed = [draw(picture, prediction, parameters).mask for prediction in excluded]
            empty = [not outline.mask.any() for outline in outlines]
            outlines = [finish(outline, removed, parameters) for outline in outlines]
        if parameters.stop_on_empty_mask and any(empty):
            raise EmptyMaskError(
                f"nothing in the image matches {texts[empty.index(True)] or 'the selection'!r} at threshold "
                f"{parameters.threshold}; lower the threshold, or leave stop_on_empty_mask off to get an empty mask"
            )
        timings = {**watch.stages, "total": sum(watch.stages.values())}
        return [
            Result(
                mask=outline.mask,
                opacity=outline.opacity,
                photo=picture.photo,
                instances=prediction.instances,
                score_map=prediction.score_map,
                prompt=prompt,
                labels=prediction.labels,
                dropped=prediction.dropped,
                warnings=prediction.warnings,
                is_empty=is_empty,
                parameters=parameters,
                timings=timings,
                device=self._family.device,
                model=self._model,
                decoder=self._reader.decoder,
            )
            for prompt, prediction, outline, is_empty in zip(texts, predictions, outlines, empty, strict=True)
        ]


def _shared_texts(query: ResolvedQuery) -> tuple[Any, ...]:
    """Return the texts of a query that are predicted together with those of others: without a selection, all."""
    return query.exclude if query.query.selection.names else (*query.prompts, *query.exclude)
