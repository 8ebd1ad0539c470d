"""`automask serve` as a process of its own, which can be killed. The benchmarks use it too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Condition, Thread
from typing import IO, Any, Self, cast

from .gates import gated_command

_PATIENCE = 240.0  # seconds until an event, or the end of the process, counts as never


class ServerProcess:
    """`automask serve` with JSON logs. The constructor returns when the server is SERVING.

    Parameters
    ----------
    options
        Options of the command.
    env
        Additional environment variables.
    gate
        A file: as long as it exists, no graph of the server starts.

    Raises
    ------
    RuntimeError
        The server did not start; the message holds its output.
    """

    def __init__(self, *options: object, env: dict[str, str] | None = None, gate: Path | None = None) -> None:
        program = [sys.executable, "-m", "automask"] if gate is None else gated_command(gate)
        command = [*program, "serve", "--log-json", "--device", "cpu", *map(str, options)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        self._stderr = cast("IO[str]", self._process.stderr)
        self.lines: list[str] = []
        self._logged, self._is_logging = Condition(), True
        # The output is read until its end: a full pipe would block the server.
        self._reader = Thread(target=self._read)
        self._reader.start()
        try:
            serving = self.wait_for("serving")
        except RuntimeError:
            self.end(signal.SIGKILL)
            raise
        self.address, self.http_address = serving["address"], serving["http"]

    def _read(self) -> None:
        for line in self._stderr:
            with self._logged:
                self.lines.append(line)
                self._logged.notify_all()
        with self._logged:
            self._is_logging = False
            self._logged.notify_all()

    def wait_for(self, name: str) -> dict[str, Any]:
        """Wait until the server has logged an event of this name, and return the first one.

        Raises
        ------
        RuntimeError
            The server ended without it, or has not logged it after four minutes; the message holds its output.
        """

        def found() -> list[dict[str, Any]]:
            return [event for event in self.events if event["event"] == name]

        with self._logged:
            has_ended = self._logged.wait_for(lambda: found() or not self._is_logging, _PATIENCE)
        if not found():
            when = "ended" if has_ended else f"has run for {_PATIENCE:g} s"
            raise RuntimeError(f"the server {when} without the event {name!r}: {''.join(self.lines)}")
        return found()[0]

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that the server logged so far."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the process to end, and return its exit status.

        Raises
        ------
        subprocess.TimeoutExpired
            It still runs after four minutes.
        """
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the process to end by itself, and return its exit status; raise as `end` does."""
        status = self._process.wait(_PATIENCE)
        self._reader.join()
        self._stderr.close()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.end(signal.SIGKILL)
        else:
            self._reader.join()
            self._stderr.close()
