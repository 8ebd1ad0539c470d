"""`automask pull`, run in this process or in another one, which has no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from automask.cli import main

__all__ = ["names", "pull", "run"]

WITHOUT_TORCH = """
import sys
sys.modules.update(dict.fromkeys(["torch", "transformers", "optimum", "onnx", "automask.export"]))
from automask.cli import main
main(prog_name="automask")
"""


def names(bundles: Path) -> list[str]:
    """Everything in a bundle folder, temporary folders too."""
    return sorted(path.name for path in bundles.glob("*"))


def pull(*arguments: object) -> tuple[int, str]:
    """Run the command in this process; return its exit status and its output."""
    ran = CliRunner().invoke(main, ["pull", *map(str, arguments)])
    return ran.exit_code, ran.output


def run(
    tmp_path: Path, endpoint: str, *arguments: object, offline: str = "0", stdin: int = subprocess.DEVNULL
) -> tuple[int, str]:
    """Run the command in another process, with a Hub and its cache, and without torch.

    Parameters
    ----------
    stdin
        File descriptor of its input: by default, it has no terminal.
    """
    environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": offline}
    command = [sys.executable, "-c", WITHOUT_TORCH, "pull", *map(str, arguments)]
    ran = subprocess.run(
        command, stdin=stdin, capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    assert "Traceback" not in ran.stderr
    return ran.returncode, ran.stdout + ran.stderr
