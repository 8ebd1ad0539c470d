"""A SAM 3 of the published size with random weights, as a bundle; made in the environment of docs/sam3.md.

From the folder benchmarks/, `python -m harness.sam3_model FOLDER [OPTIONS]` writes the bundle to FOLDER, through a
checkpoint beside it that is removed again. The options are those of `automask export`, and it prints what that prints.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_SAVE = """
import sys
from pathlib import Path
import harness
from support.sam3_checkpoints import large_checkpoint
large_checkpoint(Path(sys.argv[1]))
"""


def main(bundle: Path, options: Sequence[str]) -> int:
    """Save a checkpoint and export it, each in a process of its own; return the exit status."""
    checkpoint = bundle.with_name(f"{bundle.name}-checkpoint")
    if not (checkpoint / "model.safetensors").exists():
        subprocess.run([sys.executable, "-c", _SAVE, str(checkpoint)], check=True)
    command = [sys.executable, "-m", "automask", "export", str(checkpoint), "-o", str(bundle), *options]
    status = subprocess.run(command, check=False).returncode
    if not status:
        shutil.rmtree(checkpoint)
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
