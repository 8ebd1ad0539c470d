"""Loading of models for a server, and of what decodes their images."""

from __future__ import annotations

from time import perf_counter

import structlog

from automask import Segmenter, load
from automask.devices import AUTO, DEVICES
from automask.images import Decoder, decode

from ..config.settings import Settings
from ..decoding.pool import DecoderPool

__all__ = ["load_model", "open_decoder"]

_log = structlog.get_logger(__name__)


def open_decoder(settings: Settings) -> DecoderPool | None:
    """Start the pool of decoding processes; None if images are decoded in this process."""
    if not settings.decode_processes:
        return None
    pool = DecoderPool(processes=settings.decode_processes, timeout=settings.decode_timeout)
    pool.start()
    return pool


def _log_step(line: str) -> None:
    """Log a step of loading: the engine of a graph may take minutes."""
    _log.info("loading", step=line)


def load_model(model: str, settings: Settings, *, threads: int | None, decoder: Decoder | None) -> Segmenter:
    """Load a model, prove it on this device, and run it once, so that no caller waits for what only the first run does.

    Parameters
    ----------
    model
        As `load` takes it.
    settings
        Settings of the server.
    threads
        CPU threads of one graph; None for one per core.
    decoder
        What decodes images; None for this process.
    """
    started = perf_counter()
    segmenter = load(
        model,
        device=settings.device,
        threads=threads,
        cache_bytes=settings.cache_mb * 1_000_000,
        decoder=decoder or decode,
        prove=settings.prove,
        gpu_memory_bytes=None if settings.gpu_memory_mb is None else settings.gpu_memory_mb * 1_000_000,
        cuda_graphs=settings.cuda_graphs,
        gpu_cache_bytes=settings.gpu_cache_mb * 1_000_000,
        progress=_log_step if settings.device != AUTO and DEVICES[settings.device].builds_engines else None,
    )
    loaded = perf_counter()
    segmenter.warm_up()
    warmed = perf_counter()
    _log.info(
        "model",
        model=segmenter.bundle.name,
        device=segmenter.device,
        precision=segmenter.precision,
        proof=segmenter.standing,
        load_ms=round(1e3 * (loaded - started)),
        warm_up_ms=round(1e3 * (warmed - loaded)),
    )
    return segmenter
