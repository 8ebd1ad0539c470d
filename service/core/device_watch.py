"""Device watch: which models have lost their device, and when they answer again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import structlog

from automask import DeviceError, Segmenter
from automask.recovery import unknown_photo

from ..telemetry.logs import log_bug
from .back_off import BackOff

__all__ = ["DeviceWatch"]

_log = structlog.get_logger(__name__)


class DeviceWatch:
    """Tries the models after a failure of their device, until all of them answer again.

    Without it, a server that gets no calls because its device is lost would never find that the device is back.

    Parameters
    ----------
    segmenters
        Models by name.
    on_change
        Called with the names of the models that have lost their device, whenever these change.
    """

    def __init__(
        self, segmenters: Mapping[str, Segmenter], on_change: Callable[[frozenset[str]], Awaitable[None]]
    ) -> None:
        self._segmenters, self._on_change = segmenters, on_change
        self._loop = asyncio.get_running_loop()
        self._failed = asyncio.Event()
        self._lost: frozenset[str] = frozenset()
        self._job = asyncio.create_task(self._watch())

    def report_failure(self) -> None:
        """Report that a device is gone; any thread may call it."""
        self._loop.call_soon_threadsafe(self._failed.set)

    async def stop(self) -> None:
        """End the watch; the states of the models stay as they are."""
        self._job.cancel()
        with suppress(asyncio.CancelledError):
            await self._job

    async def _watch(self) -> None:
        pause = BackOff()
        while True:
            await self._failed.wait()
            self._failed.clear()
            await self._update(await asyncio.to_thread(self._find_lost))
            if self._lost:
                pause.fail()
                await asyncio.sleep(pause.left)
                self._failed.set()  # try again
            else:
                pause.succeed()

    async def _update(self, lost: frozenset[str]) -> None:
        if lost == self._lost:
            return
        for model in sorted(lost - self._lost):
            _log.warning("a model cannot answer, its device is gone", model=model)
        for model in sorted(self._lost - lost):
            _log.info("a model answers again", model=model)
        self._lost = lost
        await self._on_change(lost)

    def _find_lost(self) -> frozenset[str]:
        return frozenset(name for name, segmenter in self._segmenters.items() if _is_lost(segmenter))


def _is_lost(segmenter: Segmenter) -> bool:
    """Return whether the device of a model is gone; opens the model again if it is back."""
    try:
        segmenter.mask(unknown_photo(), segmenter.outline.sample_prompt)
    except DeviceError as error:
        return error.is_gone
    except Exception as error:  # noqa: BLE001 (the watch goes on)
        log_bug(error)
    return False
