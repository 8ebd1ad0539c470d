"""Reading images in a process of its own, to measure what each costs, and to survive what it does.

As a program, this file is that process, where warnings are errors: it reads files from standard input, each after its
length in eight bytes, and answers each with one line of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from types import TracebackType
from typing import Self

__all__ = ["Cost", "MeasuredReader"]

_KILO = 1024 if sys.platform != "darwin" else 1  # unit of `ru_maxrss`


@dataclass(frozen=True, slots=True)
class Cost:
    """What reading one file took.

    Attributes
    ----------
    error
        Text of the `ImageError` that refused it; empty where it was decoded.
    seconds
        Of processor time.
    megabytes
        The most memory that the process ever took, over what it takes without any image.
    """

    error: str
    seconds: float
    megabytes: float


class MeasuredReader:
    """Reads images in another process; a context manager.

    Parameters
    ----------
    timeout
        Seconds, by the clock on the wall, after which a file counts as never read.
    """

    def __init__(self, timeout: float = 240.0) -> None:
        self._timeout = timeout
        # The import path of this process, so that whichever way the package was made importable works there too.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._selector = DefaultSelector()
        assert self._process.stdout is not None
        self._selector.register(self._process.stdout, EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._selector.close()

    def read(self, file: bytes) -> Cost:
        """Read one image.

        Raises
        ------
        AssertionError
            Another exception than `ImageError` escaped, the process died, or it did not answer in time.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(len(file).to_bytes(8, "little") + file)
        self._process.stdin.flush()
        assert self._selector.select(self._timeout), f"no answer in {self._timeout} s"
        line = self._process.stdout.readline()
        assert line, f"the process died: {self._process.wait()}"
        fields = json.loads(line)
        assert fields["escaped"] is None, fields["escaped"]
        return Cost(fields["error"], fields["seconds"], fields["megabytes"])


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KILO / 1e6


def _main() -> None:
    from automask.errors import ImageError
    from automask.images import read_image

    person = Path(sys.modules["automask"].__path__[0]) / "data" / "person.jpg"
    read_image(person)
    base = _peak()
    while header := sys.stdin.buffer.read(8):
        file = sys.stdin.buffer.read(int.from_bytes(header, "little"))
        error, escaped, started = "", None, time.process_time()
        try:
            read_image(file)
        except ImageError as refused:
            error = str(refused)
        except BaseException as other:  # noqa: BLE001 (the caller's to judge)
            escaped = repr(other)
        seconds = time.process_time() - started
        megabytes = _peak() - base - len(file) / 1e6
        print(json.dumps({"error": error, "escaped": escaped, "seconds": seconds, "megabytes": megabytes}), flush=True)


if __name__ == "__main__":
    _main()
