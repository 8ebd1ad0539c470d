"""A loaded model, asked for masks."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from . import postprocess
from .bundle import Bundle
from .cache import Arrays, ByteCache, CacheInfo
from .errors import AutomaskError, EmptyMaskError
from .families.family import Family, Picture, Prediction, Stopwatch
from .images import ImageSource, encoded_bytes, read_image, read_reduced
from .interrupt import Interrupt
from .outline import Outline, ResolvedQuery
from .parameters import Parameters, Query, as_texts
from .result import Result

__all__ = ["Options", "Segmenter"]

_SAMPLE, _SAMPLE_PROMPT = Path(__file__).parent / "data" / "person.jpg", "person"
_AHEAD = 2  # pictures that `mask_many` decodes while the model works on another


class Options(TypedDict, total=False):
    """The parameters of the hosted API, for type checkers; `Parameters` tells what they mean."""

    threshold: float
    grow_mask: int
    invert_mask: bool
    return_mask: bool
    return_alpha: bool
    stop_on_empty_mask: bool
    seed: int
    base64: bool


class Segmenter:
    """A loaded model. Make one with `load`, keep it, and share it between threads.

    Attributes
    ----------
    bundle
        What the model is: name, licence, sources, graphs.
    device
        Where it runs: ``cpu``, ``cuda`` or ``tensorrt``.
    vocabulary
        The kinds of object that it knows; empty where it takes any text.
    outline
        All of that for another process.
    """

    def __init__(
        self,
        bundle: Bundle,
        family: Family[Any],
        cache: ByteCache[Arrays],
        max_pixels: int,
    ) -> None:
        self.outline = Outline(bundle, family.device, family.words)
        self.bundle, self.device, self.vocabulary = bundle, family.device, family.words.labels
        self._family = family
        self._cache = cache
        self._max_pixels = max_pixels
        # With twice the model's own size, resizing still averages pixels, as it does with all of them.
        self._shortest = 2 * max(settings["size"] for settings in bundle.image.values())

    def __repr__(self) -> str:
        return f"<Segmenter {self.bundle.name!r} on {self.device}>"

    def cache_info(self) -> CacheInfo:
        """How often a picture's decoding, detections or encoding could be taken from memory."""
        return self._cache.info()

    def warm_up(self) -> Result:
        """Mask a photo that comes with the package: the next call does not pay for what only the first one does."""
        return self.mask(_SAMPLE, _SAMPLE_PROMPT)

    @overload
    def mask(  # type: ignore[overload-overlap]  # a str is a Sequence[str] too; the first fit is meant
        self,
        image: ImageSource,
        prompt: str,
        *,
        exclude: str | Sequence[str] = ...,
        interrupt: Interrupt | None = ...,
        **options: Unpack[Options],
    ) -> Result: ...

    @overload
    def mask(
        self,
        image: ImageSource,
        prompt: Sequence[str],
        *,
        exclude: str | Sequence[str] = ...,
        interrupt: Interrupt | None = ...,
        **options: Unpack[Options],
    ) -> list[Result]: ...

    def mask(
        self,
        image: ImageSource,
        prompt: str | Sequence[str],
        *,
        exclude: str | Sequence[str] = (),
        interrupt: Interrupt | None = None,
        threshold: float = 0.2,
        grow_mask: int = 10,
        invert_mask: bool = False,
        return_mask: bool = True,
        return_alpha: bool = False,
        stop_on_empty_mask: bool = False,
        seed: int = -1,
        base64: bool = False,
    ) -> Result | list[Result]:
        """Mask what the prompt names.

        Parameters
        ----------
        image
            Path, encoded bytes (JPEG, PNG, WebP, AVIF, TIFF, BMP), (H, W[, 1|3|4]) uint8 array in RGB order, or PIL
            image.
        prompt
            What to mask, such as ``"sofa"`` or ``"cup and spoon"``; or several prompts, which share the work on the
            image.
        exclude
            What to leave out, one prompt or several: subtracted after growing, itself not grown.
        interrupt
            Stops the work from another thread.
        threshold, grow_mask, invert_mask, return_mask, return_alpha, stop_on_empty_mask, seed, base64
            As in the hosted API; see `Parameters` for meanings and ranges.

        Returns
        -------
        A `Result`, or a list of them in the order of the prompts.

        Raises
        ------
        ImageError
            The image cannot be read or is too large.
        ParameterError
            A parameter is out of its range, or a prompt is empty.
        UnknownPromptError
            The model has a fixed vocabulary and does not know the thing named.
        EmptyMaskError
            Nothing was found for a prompt and `stop_on_empty_mask` is set.
        CancelledError
            `interrupt` was set.
        """
        parameters = Parameters(
            threshold=threshold,
            grow_mask=grow_mask,
            invert_mask=invert_mask,
            return_mask=return_mask,
            return_alpha=return_alpha,
            stop_on_empty_mask=stop_on_empty_mask,
            seed=seed,
            base64=base64,
        )
        query = Query(as_texts("prompt", prompt), as_texts("exclude", exclude), parameters)
        (answer,) = self.answer(image, [query], interrupt=interrupt)
        if isinstance(answer, AutomaskError):
            raise answer
        return answer[0] if isinstance(prompt, str) else answer

    def answer(
        self, image: ImageSource, queries: Sequence[Query | ResolvedQuery], *, interrupt: Interrupt | None = None
    ) -> list[list[Result] | AutomaskError]:
        """Answer several independent queries on one image, in one pass of the model.

        What `mask` does for one query; services use it for requests that happen to wait at the same time.

        Parameters
        ----------
        image
            As in `mask`.
        queries
            Each with its own prompts and parameters; no query changes the answer to another. One that this model has
            resolved before is not resolved again.
        interrupt
            Stops the work from another thread.

        Returns
        -------
        For each query, a result for each of its prompts; or its own error, which leaves the others alone.

        Raises
        ------
        ImageError
            The image cannot be read or is too large: no query can be answered.
        CancelledError
            `interrupt` was set.
        """
        resolved = [self._try_to_resolve(query) for query in queries]
        sound = [query for query in resolved if not isinstance(query, AutomaskError)]
        watch = Stopwatch()
        with nullcontext() if interrupt is None else interrupt.active():
            with watch.stage("decode"):
                picture = self._read(image)
            answered = iter(self._answer(picture, sound, watch) if sound else ())
        return [query if isinstance(query, AutomaskError) else next(answered) for query in resolved]

    def _try_to_resolve(self, query: Query | ResolvedQuery) -> ResolvedQuery | AutomaskError:
        if isinstance(query, ResolvedQuery):
            return query
        try:
            return self.resolve(query)
        except AutomaskError as error:
            return error

    def resolve(self, query: Query) -> ResolvedQuery:
        """Resolve each text of a query once; raises as `Outline.resolve` does."""
        return self.outline.resolve(query)

    def check(self, query: Query) -> None:
        """Raise what `resolve` raises for this query."""
        self.resolve(query)

    @overload
    def mask_many(
        self,
        images: Iterable[ImageSource],
        prompt: str,
        *,
        exclude: str | Sequence[str] = ...,
        return_errors: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Iterator[Result]: ...

    @overload
    def mask_many(
        self,
        images: Iterable[ImageSource],
        prompt: str,
        *,
        exclude: str | Sequence[str] = ...,
        return_errors: bool,
        **options: Unpack[Options],
    ) -> Iterator[Result | AutomaskError]: ...

    def mask_many(
        self,
        images: Iterable[ImageSource],
        prompt: str,
        *,
        exclude: str | Sequence[str] = (),
        return_errors: bool = False,
        **options: Unpack[Options],
    ) -> Iterator[Result | AutomaskError]:
        """Mask the same thing in many images, decoding the next ones while the model works on one.

        Memory stays bounded however many images there are: besides the cache, four are held at most.

        Parameters
        ----------
        images
            Any iterable of what `mask` takes; read only as far as needed.
        prompt
            What to mask in each.
        exclude
            What to leave out, as in `mask`.
        return_errors
            Yield the error of an image in its place and go on, instead of raising it.
        **options
            As in `mask`.

        Returns
        -------
        An iterator over one `Result` for each image, in order; with `return_errors` it may be an `AutomaskError`.

        Raises
        ------
        ParameterError, UnknownPromptError
            At once, before the first image is read.
        """
        query = Query((prompt,), as_texts("exclude", exclude), Parameters(**options))
        return self._answer_many(images, self.resolve(query), return_errors=return_errors)

    def _answer_many(
        self,
        images: Iterable[ImageSource],
        query: ResolvedQuery,
        *,
        return_errors: bool,
    ) -> Iterator[Result | AutomaskError]:
        source = iter(images)
        with ThreadPoolExecutor(1, thread_name_prefix="automask-decode") as pool:
            waiting = deque(pool.submit(self._read_timed, image) for image in islice(source, _AHEAD))
            while waiting:
                decoded = waiting.popleft()
                waiting.extend(pool.submit(self._read_timed, image) for image in islice(source, 1))
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

    def _read_timed(self, image: ImageSource) -> tuple[Picture, Stopwatch]:
        watch = Stopwatch()
        with watch.stage("decode"):
            return self._read(image), watch

    def _read(self, image: ImageSource) -> Picture:
        """Decode, or take the pixels of the same file content from the cache."""
        encoded = encoded_bytes(image)
        if encoded is None:
            pixels = read_image(image, max_pixels=self._max_pixels)
            if isinstance(image, np.ndarray) and np.may_share_memory(pixels, image):
                pixels = pixels.copy()  # cameras write the next frame into the same buffer
            key = hashlib.sha256(pixels.data).digest() + repr(pixels.shape).encode()
            return Picture(pixels, (pixels.shape[0], pixels.shape[1]), key, pixels)
        key = hashlib.sha256(encoded).digest()
        pixels, (height, width) = self._cache.get((key, "pixels"), lambda: self._decode(image, encoded))
        whole = pixels.shape[:2] == (height, width)
        return Picture(pixels, (int(height), int(width)), key, pixels if whole else encoded)

    def _decode(self, image: ImageSource, encoded: bytes) -> Arrays:
        pixels, size = read_reduced(image, encoded, self._shortest, max_pixels=self._max_pixels)
        return pixels, np.array(size)

    def _answer(
        self, picture: Picture, queries: Sequence[ResolvedQuery], watch: Stopwatch
    ) -> list[list[Result] | AutomaskError]:
        prompts = [prompt for query in queries for prompt in (*query.prompts, *query.exclude)]
        thresholds = [query.query.parameters.threshold for query in queries for _ in (*query.prompts, *query.exclude)]
        predictions = iter(self._family.predict(picture, prompts, thresholds, watch))
        answers: list[list[Result] | AutomaskError] = []
        for query in queries:
            found = list(islice(predictions, len(query.prompts)))
            unwanted = list(islice(predictions, len(query.exclude)))
            try:
                answers.append(self._finish(picture, query.query, found, unwanted, watch))
            except EmptyMaskError as error:
                answers.append(error)
        return answers

    def _finish(
        self,
        picture: Picture,
        query: Query,
        predictions: Sequence[Prediction],
        unwanted: Sequence[Prediction],
        watch: Stopwatch,
    ) -> list[Result]:
        parameters = query.parameters
        with watch.stage("postprocess"):
            shapes = [_shape(picture, prediction, parameters.threshold) for prediction in predictions]
            cut = [_shape(picture, prediction, parameters.threshold) for prediction in unwanted]
            empty = [not shape.any() for shape in shapes]
            masks = [_finish_mask(shape, cut, parameters) for shape in shapes]
        if parameters.stop_on_empty_mask and any(empty):
            raise EmptyMaskError(
                f"nothing in the image matches {query.prompts[empty.index(True)]!r} at threshold "
                f"{parameters.threshold}; lower the threshold, or leave stop_on_empty_mask off to get an empty mask"
            )
        timings = {**watch.stages, "total": sum(watch.stages.values())}
        return [
            Result(
                mask=mask,
                photo=picture.photo,
                instances=prediction.instances,
                score_map=prediction.score_map,
                prompt=prompt,
                labels=prediction.labels,
                dropped=prediction.dropped,
                warnings=prediction.warnings,
                is_empty=nothing,
                parameters=parameters,
                timings=timings,
                device=self.device,
                model=self.bundle.name,
            )
            for prompt, prediction, mask, nothing in zip(query.prompts, predictions, masks, empty, strict=True)
        ]


def _shape(picture: Picture, prediction: Prediction, threshold: float) -> NDArray[np.uint8]:
    """Draw what was found, (H, W) uint8, before anything is done to it."""
    if prediction.score_map is not None:
        return postprocess.threshold(prediction.score_map, threshold)
    canvas = np.zeros(picture.size, np.uint8)
    for instance in prediction.instances:
        instance.paint(canvas)
    return canvas


def _finish_mask(
    shape: NDArray[np.uint8], unwanted: Sequence[NDArray[np.uint8]], parameters: Parameters
) -> NDArray[np.uint8]:
    mask = postprocess.grow(shape, parameters.grow_mask)
    for other in unwanted:
        mask = postprocess.subtract(mask, other)
    return postprocess.invert(mask) if parameters.invert_mask else mask
