"""A loaded model, asked for masks."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Literal, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from . import postprocess
from .bundle import Bundle
from .cache import Arrays, ByteCache, CacheInfo
from .errors import AutomaskError, EmptyMaskError, ParameterError
from .families import Family, Picture, Prediction, Stopwatch
from .images import ImageSource, encoded_bytes, read_image
from .parameters import Parameters
from .result import Result

__all__ = ["Options", "Segmenter"]

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
    """

    def __init__(
        self,
        bundle: Bundle,
        family: Family,
        cache: ByteCache[Arrays],
        max_pixels: int,
    ) -> None:
        self.bundle = bundle
        self.device = family.device
        self._family = family
        self._cache = cache
        self._max_pixels = max_pixels

    def __repr__(self) -> str:
        return f"<Segmenter {self.bundle.name!r} on {self.device}>"

    def cache_info(self) -> CacheInfo:
        """How often a picture's decoding, detections or encoding could be taken from memory."""
        return self._cache.info()

    @overload
    def mask(  # type: ignore[overload-overlap]  # a str is a Sequence[str] too; the first fit is meant
        self,
        image: ImageSource,
        prompt: str,
        *,
        exclude: str | Sequence[str] = ...,
        **options: Unpack[Options],
    ) -> Result: ...

    @overload
    def mask(
        self,
        image: ImageSource,
        prompt: Sequence[str],
        *,
        exclude: str | Sequence[str] = ...,
        **options: Unpack[Options],
    ) -> list[Result]: ...

    def mask(
        self,
        image: ImageSource,
        prompt: str | Sequence[str],
        *,
        exclude: str | Sequence[str] = (),
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
        prompts, excluded = _as_list("prompt", prompt), _as_list("exclude", exclude)
        if not prompts:
            raise ParameterError("prompt", "name at least one thing", prompt)
        watch = Stopwatch()
        with watch.stage("decode"):
            picture = self._read(image)
        results = self._answer(picture, prompts, excluded, parameters, watch)
        return results[0] if isinstance(prompt, str) else results

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
        parameters = Parameters(**options)
        excluded = _as_list("exclude", exclude)
        for text in (prompt, *excluded):
            self._family.check_prompt(text)
        return self._answer_many(images, prompt, excluded, parameters, return_errors=return_errors)

    def _answer_many(
        self,
        images: Iterable[ImageSource],
        prompt: str,
        excluded: Sequence[str],
        parameters: Parameters,
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
                    yield self._answer(picture, [prompt], excluded, parameters, watch)[0]
                except AutomaskError as error:
                    if not return_errors:
                        raise
                    yield error

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
            return Picture(pixels, hashlib.sha256(pixels.data).digest() + repr(pixels.shape).encode())
        key = hashlib.sha256(encoded).digest()
        decoded = self._cache.get(
            (key, "pixels"), lambda: (read_image(image, encoded=encoded, max_pixels=self._max_pixels),)
        )
        return Picture(decoded[0], key)

    def _answer(
        self,
        picture: Picture,
        prompts: Sequence[str],
        excluded: Sequence[str],
        parameters: Parameters,
        watch: Stopwatch,
    ) -> list[Result]:
        predictions = self._family.predict(picture, [*prompts, *excluded], parameters.threshold, watch)
        with watch.stage("postprocess"):
            shapes = [_shape(picture, prediction, parameters.threshold) for prediction in predictions]
            unwanted = shapes[len(prompts) :]
            masks = [_finish(shape, unwanted, parameters) for shape in shapes[: len(prompts)]]
        timings = {**watch.stages, "total": sum(watch.stages.values())}
        results = []
        for prompt, prediction, shape, mask in zip(prompts, predictions, shapes, masks, strict=False):
            empty = not shape.any()
            if empty and parameters.stop_on_empty_mask:
                raise EmptyMaskError(
                    f"nothing in the image matches {prompt!r} at threshold {parameters.threshold}; "
                    "lower the threshold, or leave stop_on_empty_mask off to get an empty mask"
                )
            results.append(
                Result(
                    mask=mask,
                    image=picture.pixels,
                    instances=prediction.instances,
                    score_map=prediction.score_map,
                    prompt=prompt,
                    labels=prediction.labels,
                    dropped=prediction.dropped,
                    warnings=prediction.warnings,
                    is_empty=empty,
                    parameters=parameters,
                    timings=timings,
                    device=self.device,
                    model=self.bundle.name,
                )
            )
        return results


def _shape(picture: Picture, prediction: Prediction, threshold: float) -> NDArray[np.uint8]:
    """Draw what was found, (H, W) uint8, before anything is done to it."""
    if prediction.score_map is not None:
        return postprocess.threshold(prediction.score_map, threshold)
    canvas = np.zeros(picture.size, np.uint8)
    for instance in prediction.instances:
        instance.paint(canvas)
    return canvas


def _finish(
    shape: NDArray[np.uint8], unwanted: Sequence[NDArray[np.uint8]], parameters: Parameters
) -> NDArray[np.uint8]:
    mask = postprocess.grow(shape, parameters.grow_mask)
    for other in unwanted:
        mask = postprocess.subtract(mask, other)
    return postprocess.invert(mask) if parameters.invert_mask else mask


def _as_list(name: str, prompts: str | Sequence[str]) -> list[str]:
    listed: list[object] = [prompts] if isinstance(prompts, str) or not isinstance(prompts, Iterable) else [*prompts]
    for prompt in listed:
        if not isinstance(prompt, str):
            raise ParameterError(name, "be text or a sequence of texts", prompt)
    return [str(prompt) for prompt in listed]
