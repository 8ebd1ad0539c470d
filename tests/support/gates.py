"""Graphs that wait: what runs on them has begun, and does not end until the test says so.

As a program, this file is `automask` whose graphs wait as long as a file exists.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import sleep
from typing import Any

from automask.session import Session

__all__ = ["closed_gate", "gated_command"]


@contextmanager
def closed_gate() -> Iterator[Event]:
    """In this process, let no graph start until the event is set, or the block ends."""
    gate, run = Event(), Session.run
    _run_after(gate.wait)
    try:
        yield gate
    finally:
        Session.run = run  # type: ignore[method-assign]
        gate.set()


def gated_command(gate: Path) -> list[str]:
    """Return the command of an `automask` in which no graph starts as long as a file exists."""
    return [sys.executable, "-P", __file__, str(gate)]


def _run_after(wait: Callable[[], object]) -> None:
    run = Session.run

    def waiting(self: Session, **inputs: Any) -> Any:
        wait()
        return run(self, **inputs)

    Session.run = waiting  # type: ignore[method-assign]


def _main() -> None:
    from automask.cli import main

    gate = Path(sys.argv.pop(1))

    def wait() -> None:
        while gate.exists():
            sleep(0.01)

    _run_after(wait)
    main(prog_name="automask")


if __name__ == "__main__":
    _main()
