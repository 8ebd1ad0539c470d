"""A folder in which the code blocks of one page run, with the photos that they name and a server if they need one."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Self

import pytest
from PIL import Image
from skimage import data

from support import command_line
from support.doc_blocks import ROOT, Block
from support.server_process import ServerProcess

__all__ = ["Sandbox"]

_PHOTOS = ("room.jpg", "photo.jpg", "beach.jpg", "photos/a.jpg", "photos/summer/b.jpg")
_NEEDS_SERVER = re.compile(r"127\.0\.0\.1:(50051|8080)|automask (submit|status|watch|result|cancel)|\bClient\(")
_INSTALLS = re.compile(r"^(python -m )?pip install ")
_EXTRAS = re.compile(r"(?:automask|\.)\[([a-z0-9,-]+)\]")
_SERVES = re.compile(r"^(?P<command>automask serve\b[^&#]*)&? *(#.*)?$")
_SHELL = re.compile(r"[<>|&$;]")


class Sandbox:
    """A folder, environment variables, and names of Python, shared by the blocks of one page.

    Parameters
    ----------
    folder
        An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._server: ServerProcess | None = None
        self._patch = pytest.MonkeyPatch()
        self._patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        self._patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        shutil.copytree(ROOT / "examples", folder / "examples")
        (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
        coffee = Image.open(ROOT / "examples" / "coffee.jpg").resize((900, 600))
        for name in _PHOTOS:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            coffee.save(folder / name)
        shutil.copy(ROOT / "examples" / "astronaut.jpg", folder / "group.jpg")
        Image.fromarray(data.chelsea()).save(folder / "cat.jpg")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._server is not None:
                self._stop_server()
        finally:
            self._patch.undo()

    def run(self, block: Block) -> None:
        """Run a block; an error, or an exit status but 0, fails."""
        if _NEEDS_SERVER.search(block.text) and self._server is None and "automask serve" not in block.text:
            self._start_server([])
        with contextlib.chdir(self._folder):
            if block.language == "python":
                exec(compile(self._with_addresses(block.text), str(block), "exec"), self._names)  # noqa: S102 (ours)
            elif block.language == "console":
                self._compare(block.text)
            else:
                self._run_lines(block.text)

    def _run_lines(self, text: str) -> None:
        rest: list[str] = []
        for line in text.replace("\\\n", " ").splitlines():
            if _INSTALLS.match(line):
                _check_extras(line)
            elif serves := _SERVES.match(line):
                self._run_shell(rest)
                rest = []
                self._start_server(shlex.split(serves["command"])[2:])
            else:
                rest.append(line)
        self._run_shell(rest)

    def _run_shell(self, lines: list[str]) -> None:
        """Run lines of a shell: in this process where each is a command of automask, which saves its imports."""
        lines = [self._with_addresses(line) for line in lines if line.strip()]
        commands = [shlex.split(line, comments=True) for line in lines]
        if not any(_SHELL.search(line) for line in lines) and all(words[0] == "automask" for words in commands):
            for words in commands:
                done = command_line.run(*words[1:])
                print(f"$ {shlex.join(words)}\n{done.stdout.decode(errors='replace')}{done.stderr.decode()}")
                assert done.returncode == 0, done.stderr.decode()
        elif lines:
            script = "\n".join(lines)
            shell = ["bash", "-euo", "pipefail", "-c", script]
            finished = subprocess.run(shell, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            output = finished.stdout.decode(errors="replace")
            print(f"$ {script}\n{output}")
            assert finished.returncode == 0, output

    def _compare(self, text: str) -> None:
        """Run each line after `$ ` and compare what it prints with what follows it; `…` stands for anything."""
        for part in text.split("$ ")[1:]:
            command, _, expected = part.partition("\n")
            done = command_line.run_text(*shlex.split(self._with_addresses(command))[1:])
            printed = (done.stdout + done.stderr).strip()
            print(f"$ {command}\n{printed}")
            pattern = ".*".join(map(re.escape, expected.strip().split("…")))
            assert re.fullmatch(pattern, printed, re.DOTALL), printed

    def _with_addresses(self, text: str) -> str:
        if self._server is None:
            return text
        http = str(self._server.http_address)
        return text.replace("127.0.0.1:50051", self._server.address).replace("127.0.0.1:8080", http)

    def _start_server(self, options: list[str]) -> None:
        """Start a server with the options of a page, on free ports."""
        if self._server is not None:
            self._stop_server()
        with contextlib.chdir(self._folder):
            self._server = ServerProcess(*options, "--port", 0, "--http-port", 0)
        self._patch.setenv("AUTOMASK_SERVER", self._server.address)
        print(f"$ {shlex.join(['automask', 'serve', *options])}\nserving at {self._server.address}")

    def _stop_server(self) -> None:
        assert self._server is not None
        status, self._server = self._server.end(signal.SIGTERM), None
        assert status == 0


def _check_extras(line: str) -> None:
    """Check that the extras in a line with `pip install` exist. Tests install nothing."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {extra for extras in _EXTRAS.findall(line) for extra in extras.split(",")}
    assert named <= known.keys(), line
    print(f"$ {line}\nnot run: its extras exist")
