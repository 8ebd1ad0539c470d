"""Loading of a model for a server."""

from __future__ import annotations

from time import perf_counter

import structlog

from automask import Segmenter, load

from ..config.settings import Settings

__all__ = ["load_model"]

_log = structlog.get_logger(__name__)


def load_model(model: str, settings: Settings, *, threads: int | None) -> Segmenter:
    """Load a model and run it once, so that no caller waits for what only the first run does.

    Parameters
    ----------
    model
        As `load` takes it.
    settings
        Settings of the server.
    threads
        CPU threads of one graph; None for one per core.
    """
    started = perf_counter()
    segmenter = load(model, device=settings.device, threads=threads, cache_bytes=settings.cache_mb * 1_000_000)
    loaded = perf_counter()
    segmenter.warm_up()
    warmed = perf_counter()
    _log.info(
        "model",
        model=segmenter.bundle.name,
        device=segmenter.device,
        load_ms=round(1e3 * (loaded - started)),
        warm_up_ms=round(1e3 * (warmed - loaded)),
    )
    return segmenter
