"""The command line without the start of a process for each call, of which imports take most of the time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO

from click.testing import CliRunner

from automask.cli import main

__all__ = ["CommandProcess", "command_process", "run", "run_text"]

# Runs command lines, one a line of JSON. What libraries print to the descriptor of standard output is no answer.
_SERVE = """\
import contextlib, json, os, sys, traceback
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))
from click.testing import CliRunner
from automask.cli import main
for line in sys.stdin:
    arguments, folder = json.loads(line)
    with contextlib.chdir(folder):
        done = CliRunner().invoke(main, arguments, prog_name="automask")
    bug = [] if done.exc_info[0] is SystemExit else traceback.format_exception(*done.exc_info)
    print(json.dumps([done.exit_code, done.stdout, done.stderr + "".join(bug)]), file=answers, flush=True)
"""


def run(*arguments: object, stdin: bytes = b"", cwd: Path | None = None) -> CompletedProcess[bytes]:
    """Run `automask` in this process, with arguments, standard input and a working directory."""
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


class CommandProcess:
    """Runs `automask` in another process, which is the same for all calls."""

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self._requests, self._answers = requests, answers

    def __call__(self, *arguments: object, cwd: Path | None = None) -> CompletedProcess[str]:
        """Run a command line in a working directory; a traceback is at the end of its standard error."""
        command = [str(argument) for argument in arguments]
        print(json.dumps([command, str(cwd or Path.cwd())]), file=self._requests, flush=True)
        return CompletedProcess(command, *json.loads(self._answers.readline()))


@contextlib.contextmanager
def command_process(
    *, without: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
) -> Iterator[CommandProcess]:
    """Start such a process: without some packages, or with environment variables that libraries read only once."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE, json.dumps(without)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    ) as process:
        assert process.stdin
        assert process.stdout
        yield CommandProcess(process.stdin, process.stdout)
        process.stdin.close()
