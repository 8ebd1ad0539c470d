"""The processes of a decoder pool."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psutil
from PIL import Image

from automask.service.decoding.pool import DecoderPool

from .hostile_images import encode

__all__ = ["SMALL", "start_both"]

SMALL = encode(Image.new("RGB", (8, 6), "red"), "PNG")
"""A small image."""


def start_both(pool: DecoderPool) -> list[psutil.Process]:
    """Start all processes of a pool that has two."""
    with ThreadPoolExecutor(2) as threads:
        while len(pool.pids) < 2:
            list(threads.map(pool, [SMALL] * 8))
    return [psutil.Process(pid) for pid in sorted(pool.pids)]
