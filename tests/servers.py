"""Real servers for the tests: one in a thread of this process, or one in a process of its own that can be killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

from automask.service.server import Server
from automask.service.settings import load_settings


@contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[Server]:
    """Serve from a thread until the block ends, then drain."""
    settings = {"port": 0, "store": folder / "requests.sqlite3", "device": "cpu", **settings}
    loop = asyncio.new_event_loop()
    ready, stopping = Event(), asyncio.Event()
    made: list[Server] = []
    problems: list[BaseException] = []

    async def serve() -> None:
        try:
            server = Server(load_settings(**settings))
            await server.start()
            await server.load()
            made.append(server)
        except BaseException as error:  # noqa: BLE001 (is raised in the test)
            problems.append(error)
            return
        finally:
            ready.set()
        await stopping.wait()
        await server.stop()

    thread = Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait()
    try:
        if problems:
            raise problems[0]
        yield made[0]
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()


class ServerProcess:
    """`automask serve` with JSON logs, started and SERVING once the constructor returns."""

    def __init__(self, *options: object, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "automask", "serve", "--log-json", "--device", "cpu", *map(str, options)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        self.lines: list[str] = []
        self._serving = Event()
        self.address = ""
        # Somebody must read on, or the server would wait for room in the pipe.
        self._reader = Thread(target=self._read)
        self._reader.start()
        self._serving.wait()
        if not self.address:
            raise RuntimeError(f"the server did not start: {''.join(self.lines)}")

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line)
            said = json.loads(line) if line.startswith("{") else {}
            if said.get("event") == "serving":
                self.address = said["address"]
                self._serving.set()
        self._serving.set()

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it logged."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit status."""
        self._process.send_signal(number)
        status = self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.end(signal.SIGKILL)
        elif self._process.stderr is not None and not self._process.stderr.closed:
            self._reader.join()
            self._process.stderr.close()
