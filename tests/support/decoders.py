"""The processes of a decoder pool."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from PIL import Image

from automask.service.decoding import pool as pool_module
from automask.service.decoding import process as process_module
from automask.service.decoding.pool import DecoderPool

from .hostile_images import encode

__all__ = ["SMALL", "count_none_as_slow", "start_both"]

SMALL = encode(Image.new("RGB", (8, 6), "red"), "PNG")
"""A small image."""


def start_both(pool: DecoderPool) -> list[psutil.Process]:
    """Start all processes of a pool that has two."""
    with ThreadPoolExecutor(2) as threads:
        while len(pool.pids) < 2:
            list(threads.map(pool, [SMALL] * 8))
    return [psutil.Process(pid) for pid in sorted(pool.pids)]


def count_none_as_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no image counts as slow to decode, as a small one may on a busy machine."""
    for module in (pool_module, process_module):
        monkeypatch.setattr(module, "SLOW_SECONDS", 3600.0)
