"""The instructions of the Dockerfiles in deploy/."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["DEPLOY", "DOCKERFILES", "STATE", "final", "image_environment", "instructions"]

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKERFILES = ("Dockerfile.cpu", "Dockerfile.cuda")
STATE = "/var/lib/automask"


def instructions(name: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile, as (word, arguments)."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / name).read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(parts[0], parts[1]) for line in text.splitlines() if line.strip() for parts in [line.split(maxsplit=1)]]


def final(name: str) -> dict[str, str]:
    """Return the last stage, the one that runs: the last arguments of each instruction."""
    every = instructions(name)
    start = max(number for number, (word, _) in enumerate(every) if word == "FROM")
    return dict(every[start:])


def image_environment(name: str) -> dict[str, str]:
    """Return the variables that an image sets."""
    return dict(one.split("=", 1) for one in final(name)["ENV"].split())
