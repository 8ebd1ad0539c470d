"""Recovery: a model whose device is gone is opened again."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .errors import AutomaskError, DeviceError
from .images import DEFAULT_MAX_PIXELS, read_image
from .outline import ResolvedQuery
from .pipeline import Pipeline
from .running import Running

__all__ = ["SAMPLE", "Recovery", "unknown_photo"]

SAMPLE: Final = Path(__file__).parent / "data" / "person.jpg"
"""A photo of a person that comes with the package."""

_PAUSE = 5.0  # seconds between attempts: opening a model takes one, and a device does not come back at once

_log = logging.getLogger(__name__)


class Recovery:
    """Opens the graphs of a model again when their device is gone. Threads may share it.

    Parameters
    ----------
    reopen
        Opens the graphs.
    """

    def __init__(self, reopen: Callable[[], Running]) -> None:
        self._reopen = reopen
        self._lock, self._earliest = Lock(), 0.0

    def recover(
        self,
        failed: Pipeline,
        error: DeviceError,
        sample: ResolvedQuery,
        *,
        current: Callable[[], Pipeline],
        use: Callable[[Running], Pipeline],
    ) -> Pipeline:
        """Return the pipeline that takes over from one whose device has failed.

        Parameters
        ----------
        failed
            The pipeline.
        error
            How it failed.
        sample
            A query that the model understands.
        current
            Returns the pipeline of the model, which another thread may have replaced by now.
        use
            Lets the model run with open graphs, and returns its new pipeline.

        Raises
        ------
        DeviceError
            The error itself: the device still computes other images, or (then `is_gone` is set) the graphs cannot be
            opened again yet.
        """
        with self._lock:
            if current() is not failed:
                return current()
            if failed.works(unknown_photo(), sample):
                raise error
            error.is_gone = True
            if monotonic() < self._earliest:
                raise error
            try:
                pipeline = use(self._open_elsewhere(failed, error))
            finally:
                self._earliest = monotonic() + _PAUSE
            # Otherwise a device that can be opened but computes nothing would be opened again and again for one call.
            if not pipeline.works(unknown_photo(), sample):
                raise error
            return pipeline

    def _open_elsewhere(self, failed: Pipeline, error: DeviceError) -> Running:
        """Open the graphs, on the same device or another one; raise the error if they cannot be opened."""
        try:
            running = self._reopen()
        except AutomaskError as problem:
            _log.warning("%s; it cannot be opened again yet: %s", error, problem)
            raise error from problem
        warning = f"{error}; running on {running.family.device} in {running.precision}"
        _log.warning("%s", warning)
        if running.family.device == failed.device:
            return running
        return replace(running, warnings=(*running.warnings, warning))


def unknown_photo() -> NDArray[np.uint8]:
    """Return a photo that no cache has, so that every graph runs."""
    photo = read_image(SAMPLE, max_pixels=DEFAULT_MAX_PIXELS).copy()
    photo[0, 0] = np.frombuffer(os.urandom(3), np.uint8)
    return photo
