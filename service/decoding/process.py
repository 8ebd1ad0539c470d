"""One decoding process, as the server sees it."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from automask.errors import ImageError

from ..errors import InternalError
from .messages import MOST_SHARED, NO_SHORTEST, PIXELS, READY, REFUSED, REQUEST, RESPONSE, WALL_FACTOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["SLOW_SECONDS", "DecodingProcess"]

SLOW_SECONDS = 0.25  # in which an ordinary photo is decoded several times over

_START_SECONDS = 60.0
_SLACK_SECONDS = 5.0  # after which the server ends a process that should have ended itself
# Threads and heaps of their own would take address space, and one file at a time needs none.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


class DecodingProcess:
    """Starts a process; a call from several threads at once is not allowed.

    Parameters
    ----------
    timeout
        Seconds of processor time for one file; it may take `WALL_FACTOR` times as long by the clock.
    memory
        Bytes of address space for one file.
    """

    def __init__(self, timeout: float, memory: int) -> None:
        self._timeout, self._memory = timeout, memory
        self._is_ready = False
        self._shared = mmap.mmap(-1, 1)
        self._socket, theirs = socket.socketpair()
        with theirs:
            arguments = [str(theirs.fileno()), str(timeout), str(memory)]
            # The import path of this process, so that whatever made the package importable here works there, too.
            environment = os.environ | _ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-m", "automask.service.decoding.child", *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a Ctrl-C in the terminal is for the server, which drains
            )

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process can decode another file."""
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Wait until the process has started.

        Raises
        ------
        InternalError
            It cannot start; its standard error, which is the server's, says why.
        """
        if not self._is_ready:
            self._socket.settimeout(_START_SECONDS)
            kind = self._receive()[0]
            if kind != READY:
                raise InternalError(f"a decoding process cannot start: {self._end()}")
            self._is_ready = True

    def decode(
        self,
        encoded: bytes,
        shortest: int | None,
        max_pixels: int,
        on_slow: Callable[[], None],
        on_long: Callable[[], None] | None,
    ) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """Decode a file; result and other parameters are those of `automask.images.decode`.

        Parameters
        ----------
        encoded, shortest, max_pixels
            As for `automask.images.decode`.
        on_slow
            Called once it takes longer than `SLOW_SECONDS`.
        on_long
            Called once it takes twice as long. If it raises, the process still decodes and must be killed.

        Raises
        ------
        ImageError
            The file is refused, or the process died of it: it took too long or crashed.
        InternalError
            Another exception escaped the decoder.
        """
        self.wait_ready()
        self._socket.settimeout(WALL_FACTOR * self._timeout + _SLACK_SECONDS)
        with suppress(OSError):  # a process that died is found out by its answer
            header = REQUEST.pack(len(encoded), NO_SHORTEST if shortest is None else shortest, max_pixels)
            self._socket.sendall(header)
            self._socket.sendall(encoded)
            for call in (on_slow, on_long):
                self._socket.settimeout(SLOW_SECONDS)
                try:
                    self._socket.recv(1, socket.MSG_PEEK)
                    break
                except TimeoutError:
                    if call is not None:
                        call()
            self._socket.settimeout(WALL_FACTOR * self._timeout + _SLACK_SECONDS)
        kind, fields, descriptors = self._receive()
        if kind is None:
            raise ImageError(self._end())
        height, width, full_height, full_width, length = fields
        if kind == PIXELS:
            return self._pixels(descriptors, (height, width, 3)), (full_height, full_width)
        text = self._read(length).decode()
        if kind == REFUSED:
            raise ImageError(text)
        raise InternalError(f"a decoding process failed: {text}")

    def _pixels(self, descriptors: list[int], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        for descriptor in descriptors:
            self._shared = mmap.mmap(descriptor, 0)
            os.close(descriptor)
        pixels = np.frombuffer(self._shared, np.uint8, shape[0] * shape[1] * shape[2]).reshape(shape)
        if len(self._shared) <= MOST_SHARED:
            return pixels.copy()  # the process writes the next image there
        self._shared = mmap.mmap(-1, 1)
        return pixels

    def _receive(self) -> tuple[int | None, list[int], list[int]]:
        """Return kind and other fields of a response, and its descriptors; no kind if the process died."""
        try:
            header, descriptors, _, _ = socket.recv_fds(self._socket, RESPONSE.size, 1)
            header += self._read(RESPONSE.size - len(header)) if header else b""
        except OSError:
            header, descriptors = b"", []
        if len(header) < RESPONSE.size:
            return None, [], []
        kind, *fields = RESPONSE.unpack(header)
        return kind, fields, descriptors

    def _read(self, length: int) -> bytes:
        parts = []
        while length > 0 and (part := self._socket.recv(length)):
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _end(self) -> str:
        """End the process, and return what it died of."""
        self.close()
        code = self._process.returncode
        if code == -signal.SIGPROF:
            return f"decoding it takes more than {self._timeout:g} s of processor time (decode_timeout)"
        if code == -signal.SIGALRM:
            wall = WALL_FACTOR * self._timeout
            return f"decoding it takes more than {wall:g} s ({WALL_FACTOR} times decode_timeout)"
        name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return f"decoding it ended the decoder ({name}; it has {self._memory / 1e6:g} MB)"

    def kill(self) -> None:
        """Kill the process; a thread that waits for it goes on at once."""
        self._process.kill()

    def close(self) -> None:
        """Let the process end by itself, which takes no longer than a moment, else kill it."""
        self._socket.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
