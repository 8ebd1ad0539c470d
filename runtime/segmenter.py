"""A loaded model: images and prompts in, results out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Literal, Unpack, overload
from weakref import WeakMethod

from .bundle import Bundle
from .cache import CacheInfo
from .errors import AutomaskError, DeviceError
from .images import Decoder, ImageSource, decode
from .interrupt import Interrupt
from .outline import Outline, ResolvedQuery
from .parameters import Alpha, Edges, Options, Query
from .pictures import PictureReader
from .pipeline import Pipeline
from .recovery import SAMPLE, Recovery
from .result import Result
from .running import Running

__all__ = ["Segmenter"]


class Segmenter:
    """A loaded model. Make it once, with `load`; threads may share it.

    Parameters
    ----------
    bundle
        The bundle that was loaded.
    running
        Its graphs on a device.
    max_pixels
        Most pixels (width times height) of an image.
    decoder
        What decodes image files.
    reopen
        Opens the graphs again when their device is gone: on the same device if it was named, else on the next one. Not
        called more often than every few seconds. None: every call fails then.

    Attributes
    ----------
    bundle
        Name, licence, sources and graphs of the model.
    device
        The device on which it runs: a name of the table of devices, such as ``cpu``.
    vocabulary
        Labels of a model with a fixed vocabulary; empty for a model that takes any text.
    outline
        The same as one object that can be pickled.
    precision
        The precision in which its graphs were opened, such as ``int8``.
    standing
        ``proven``: it computes on this device, in this precision, what it did at export. ``not proven``: its bundle has
        nothing to compare with. ``skipped``: it was loaded with `prove=False`.
    warnings
        One sentence for each device or precision that is not used because it does not work. Every result has them, too.

    A device that fails changes `device`, `precision`, `standing` and `warnings`, if the model was loaded for ``auto``.
    """

    def __init__(
        self,
        bundle: Bundle,
        running: Running,
        max_pixels: int,
        decoder: Decoder = decode,
        *,
        reopen: Callable[[], Running] | None = None,
    ) -> None:
        self.bundle, self._max_pixels, self._decoder = bundle, max_pixels, decoder
        self._recovery = None if reopen is None else Recovery(reopen)
        self._run_on(running)

    def _run_on(self, running: Running) -> Pipeline:
        """Run from now on with these graphs, and return their pipeline."""
        bundle, family = self.bundle, running.family
        self.outline = Outline(bundle, family.device, family.words)
        self.device, self.vocabulary = family.device, family.words.labels
        self.precision, self.standing, self.warnings = running.precision, running.standing, running.warnings
        self._cache = running.cache
        # At twice the model's own size, resizing still averages pixels, as it does at full size.
        shortest = 2 * max(settings["size"] for settings in bundle.image.values())
        reader = PictureReader(running.cache, max_pixels=self._max_pixels, shortest=shortest, decoder=self._decoder)
        model = WeakMethod(self._recover)  # a model is released once nobody refers to it, without garbage collection

        def recover(failed: Pipeline, error: DeviceError) -> Pipeline:
            if (method := model()) is None:
                raise error
            return method(failed, error)

        self._pipeline = Pipeline(reader, family, bundle.name, running.warnings, recover)
        return self._pipeline

    def _recover(self, failed: Pipeline, error: DeviceError) -> Pipeline:
        if self._recovery is None:
            raise error
        sample = self.resolve(Query.build(self.outline.sample_prompt, (), {}))
        return self._recovery.recover(failed, error, sample, current=lambda: self._pipeline, use=self._run_on)

    def __repr__(self) -> str:
        return f"<Segmenter {self.bundle.name!r} on {self.device}>"

    def cache_info(self) -> CacheInfo:
        """Return hits, misses and bytes of the cache of decoded images and what the model computed from them."""
        return self._cache.info()

    def warm_up(self) -> Result:
        """Mask a photo that comes with the package, so that the next call is not the slow first one."""
        return self.mask(SAMPLE, self.outline.sample_prompt)

    @overload
    def mask(  # type: ignore[overload-overlap]  # a str is a Sequence[str], too; the first overload is meant
        self,
        image: ImageSource,
        prompt: str | None = ...,
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
        return_errors: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> list[Result]: ...

    @overload
    def mask(
        self,
        image: ImageSource,
        prompt: Sequence[str],
        *,
        exclude: str | Sequence[str] = ...,
        interrupt: Interrupt | None = ...,
        return_errors: bool,
        **options: Unpack[Options],
    ) -> list[Result | AutomaskError]: ...

    def mask(
        self,
        image: ImageSource,
        prompt: str | Sequence[str] | None = None,
        *,
        box: Sequence[float] | None = None,
        points: Sequence[tuple[float, float, int]] = (),
        keep: Sequence[int] = (),
        drop: Sequence[int] = (),
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
        edges: Edges = "fast",
        alpha: Alpha = "hard",
        feather: int = 0,
        return_errors: bool = False,
    ) -> Result | list[Result] | list[Result | AutomaskError]:
        """Mask what a prompt names, or what a box or points mark.

        Parameters
        ----------
        image
            Path, encoded bytes or open file (JPEG, PNG, WebP, AVIF, TIFF, BMP, GIF), (H, W[, 1|3|4]) uint8 array in
            RGB order, or PIL image.
        prompt
            What to mask, such as ``"sofa"``, ``"cup and spoon"`` or ``"animals except dogs"``; or several prompts,
            which share the work on the image. None where a box or points mean the object by themselves.
        box
            Left, top, right, bottom in pixels of the image, around one object. With a prompt, it replaces the box of
            the instance with which its IoU is largest; if that is below 0.3, it adds an object.
        points
            At most 64 of x, y in pixels of the image and 1 (part of the object) or 0 (not part of it). With a prompt, a
            point refines each instance in whose mask it lies, or else the one whose box is nearest. Points with label 1
            further from the nearest box than half its longer side, or where nothing was found, add one object.
        keep, drop
            Indices of the prompt's instances, 0 is the best one, as in `Result.instances` without a selection: which
            ones to keep, all by default, and which ones to drop.
        exclude
            One prompt or several. Their masks are not grown, and are subtracted from the grown mask.
        interrupt
            Stops the work when another thread sets it.
        threshold, grow_mask, invert_mask, return_mask, return_alpha, stop_on_empty_mask, seed, base64
            As in the hosted API; `Parameters` documents meanings and ranges.
        edges, alpha, feather
            How the edge of the mask is drawn; `Parameters` documents meanings and ranges.
        return_errors
            With several prompts: return the error of a prompt that is unknown or blank, or whose mask is empty with
            `stop_on_empty_mask`, in its place, instead of raising it.

        Returns
        -------
        A `Result`, or a list of them in the order of the prompts. Instances that a box or points add come last, have
        the label ``object``, and as their score the IoU that the model predicts for its mask; `threshold` does not
        apply to them.

        Raises
        ------
        ImageError
            The image cannot be read, or is too large.
        ParameterError
            A parameter is out of its range, a prompt is blank, a box or point is outside the image, there is no such
            instance, or the model cannot use box and points (it scores pixels, or its decoder is older than points).
        UnknownPromptError
            The model has a fixed vocabulary, and part of a prompt is not in it.
        EmptyMaskError
            Nothing was found for a prompt, and `stop_on_empty_mask` is set.
        CancelledError
            `interrupt` was set.

        Examples
        --------
        >>> import automask, numpy as np
        >>> segmenter = automask.load(device="cpu")
        >>> dog, cat = segmenter.mask(np.zeros((48, 64, 3), np.uint8), ["dog", "cat"], invert_mask=True)
        >>> dog.is_empty, int(dog.mask.min())
        (True, 255)
        >>> square = np.zeros((48, 64, 3), np.uint8)
        >>> square[16:32, 16:32] = 255
        >>> [one.label for one in segmenter.mask(square, box=(16, 16, 32, 32)).instances]
        ['object']
        """
        options: Options = {
            "threshold": threshold,
            "grow_mask": grow_mask,
            "invert_mask": invert_mask,
            "return_mask": return_mask,
            "return_alpha": return_alpha,
            "stop_on_empty_mask": stop_on_empty_mask,
            "seed": seed,
            "base64": base64,
            "edges": edges,
            "alpha": alpha,
            "feather": feather,
            "box": box,
            "points": points,
            "keep": keep,
            "drop": drop,
        }
        query = Query.build(prompt, exclude, options, return_errors=return_errors)
        (answer,) = self.answer(image, [query], interrupt=interrupt)
        if isinstance(answer, AutomaskError):
            raise answer
        if return_errors:
            return answer
        results = [one for one in answer if isinstance(one, Result)]  # without `return_errors` there is nothing else
        return results[0] if prompt is None or isinstance(prompt, str) else results

    def answer(
        self, image: ImageSource, queries: Sequence[Query | ResolvedQuery], *, interrupt: Interrupt | None = None
    ) -> list[list[Result | AutomaskError] | AutomaskError]:
        """Answer several independent queries on one image, in one pass of the model.

        The service uses it for requests on the same image that wait at the same time.

        Parameters
        ----------
        image
            As in `mask`.
        queries
            Each with its own prompts and parameters; no query changes the answer to another. A resolved one is not
            resolved again.
        interrupt
            Stops the work when another thread sets it.

        Returns
        -------
        For each query, one result for each of its prompts, or the error of this query alone. Errors are among the
        results only of a query with `return_errors`.

        Raises
        ------
        ImageError
            The image cannot be read, or is too large: no query can be answered.
        CancelledError
            `interrupt` was set.
        """
        resolved = [self._try_to_resolve(query) for query in queries]
        sound = [query for query in resolved if not isinstance(query, AutomaskError)]
        with nullcontext() if interrupt is None else interrupt.active():
            answered = iter(self._pipeline.run(image, sound))
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

    @overload
    def mask_many(
        self,
        images: Iterable[ImageSource],
        prompt: str | None = None,
        *,
        exclude: str | Sequence[str] = ...,
        return_errors: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Iterator[Result]: ...

    @overload
    def mask_many(
        self,
        images: Iterable[ImageSource],
        prompt: str | None = None,
        *,
        exclude: str | Sequence[str] = ...,
        return_errors: bool,
        **options: Unpack[Options],
    ) -> Iterator[Result | AutomaskError]: ...

    def mask_many(
        self,
        images: Iterable[ImageSource],
        prompt: str | None = None,
        *,
        exclude: str | Sequence[str] = (),
        return_errors: bool = False,
        **options: Unpack[Options],
    ) -> Iterator[Result | AutomaskError]:
        """Mask the same thing in many images, and decode the next ones while the model works on one.

        Memory is bounded for any number of images: besides the cache, at most four are held.

        Parameters
        ----------
        images
            Any iterable of what `mask` takes; it is read only as far as needed.
        prompt
            What to mask in each; None as in `mask`.
        exclude
            As in `mask`.
        return_errors
            Yield the error of an image instead of raising it, and go on.
        **options
            As in `mask`.

        Returns
        -------
        An iterator of one `Result` for each image, in order; with `return_errors`, of the error where one failed.

        Raises
        ------
        ParameterError, UnknownPromptError
            Raised by the call itself, before the first image is read.
        """
        query = Query.build(prompt, exclude, options)
        return self._pipeline.run_many(images, self.resolve(query), return_errors=return_errors)
