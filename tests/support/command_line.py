"""The command line in the process of the tests, which saves the start of one: imports take most of its time."""

from __future__ import annotations

import contextlib
from pathlib import Path
from subprocess import CompletedProcess

from click.testing import CliRunner

from automask.cli import main

__all__ = ["run", "run_text"]


def run(*arguments: object, stdin: bytes = b"", cwd: Path | None = None) -> CompletedProcess[bytes]:
    """Run `automask` with arguments, standard input and a working directory."""
    command = [str(argument) for argument in arguments]
    with contextlib.chdir(cwd or Path.cwd()):
        done = CliRunner().invoke(main, command, input=stdin, prog_name="automask")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return CompletedProcess(command, done.exit_code, done.stdout_bytes, done.stderr_bytes)


def run_text(*arguments: object, cwd: Path | None = None) -> CompletedProcess[str]:
    """Run it like `run`; the output is text."""
    done = run(*arguments, cwd=cwd)
    return CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
