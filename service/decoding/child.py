"""The program of a decoding process: it decodes one file after another, until the server closes the socket.

It limits itself, because the kernel then does what no code can be kept from: an alarm that nobody handles ends the
process, also inside a decoder, and also where the server was killed meanwhile.
"""

from __future__ import annotations

import mmap
import os
import resource
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import AvifImagePlugin

from automask.errors import ImageError
from automask.images import decode

from .messages import (
    LEAST_SHARED,
    MOST_SHARED,
    NO_SHORTEST,
    PIXELS,
    READY,
    REFUSED,
    REQUEST,
    RESPONSE,
    UNEXPECTED,
    WALL_FACTOR,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["main"]

_AVIF_THREADS = 4  # each takes address space for its stack and its heap


class _SharedPixels:
    """Memory without a name, which the server maps by its descriptor; the kernel frees it with the last user.

    It is used again for the next image, since filling pages that exist is several times as fast; unless it is large.
    """

    def __init__(self) -> None:
        self._map: mmap.mmap | None = None
        self._unsent = -1

    def allocate(self, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        size = shape[0] * shape[1] * shape[2]
        if self._map is None or len(self._map) < size:
            self.forget()
            self._unsent = self._create(max(size, LEAST_SHARED))
            self._map = mmap.mmap(self._unsent, 0)
        return np.frombuffer(self._map, np.uint8, size).reshape(shape)

    def _create(self, size: int) -> int:
        try:
            descriptor = os.memfd_create("automask-pixels")
        except (AttributeError, OSError):  # not on this system, or forbidden
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, size)
        return descriptor

    def send(self, server: socket.socket, header: bytes) -> None:
        """Send a header, with the descriptor if the server does not have it."""
        if self._unsent < 0:
            server.sendall(header)
            return
        socket.send_fds(server, [header], [self._unsent])
        self._close_descriptor()
        if self._map is not None and len(self._map) > MOST_SHARED:
            self.forget()

    def forget(self) -> None:
        self._map = None
        self._close_descriptor()

    def _close_descriptor(self) -> None:
        if self._unsent >= 0:
            os.close(self._unsent)
        self._unsent = -1


def main() -> None:
    """Serve; the arguments are a socket's descriptor, and for one file seconds of processor time and bytes."""
    descriptor, timeout, memory = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    AvifImagePlugin.DEFAULT_MAX_THREADS = min(_AVIF_THREADS, os.cpu_count() or 1)
    _limit_memory(memory)
    # libtiff and dav1d write there about every damaged file.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    with socket.socket(fileno=descriptor) as server, server.makefile("rb") as requests:
        server.sendall(RESPONSE.pack(READY, 0, 0, 0, 0, 0))
        shared = _SharedPixels()
        while header := requests.read(REQUEST.size):
            length, shortest, max_pixels = REQUEST.unpack(header)
            file = requests.read(length)
            signal.setitimer(signal.ITIMER_PROF, timeout)
            signal.setitimer(signal.ITIMER_REAL, WALL_FACTOR * timeout)
            _answer(server, shared, file, None if shortest == NO_SHORTEST else shortest, max_pixels)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_memory(more: int) -> None:
    """Limit the address space to its present size and a number of bytes more, where the system reports it."""
    with suppress(OSError):  # where memory is short all the same, the server should not be what the kernel ends
        Path("/proc/self/oom_score_adj").write_text("1000")
    statm = Path("/proc/self/statm")
    if statm.exists():
        limit = int(statm.read_text().split()[0]) * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _answer(server: socket.socket, shared: _SharedPixels, file: bytes, shortest: int | None, max_pixels: int) -> None:
    try:
        pixels, size = decode(file, shortest=shortest, max_pixels=max_pixels, allocate=shared.allocate)
    except Exception as error:  # noqa: BLE001 (the server raises it)
        kind = REFUSED if isinstance(error, ImageError) else UNEXPECTED
        text = (str(error) if kind == REFUSED else repr(error)).encode(errors="replace")
        server.sendall(RESPONSE.pack(kind, 0, 0, 0, 0, len(text)) + text)
    else:
        shared.send(server, RESPONSE.pack(PIXELS, *pixels.shape[:2], *size, 0))


if __name__ == "__main__":
    main()
