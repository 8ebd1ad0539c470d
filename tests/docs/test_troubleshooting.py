"""docs/troubleshooting.md quotes messages as the code writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOREIGN = "failed to connect to all addresses"  # gRPC's own


def quoted() -> Iterator[str]:
    """The fixed parts of the messages: what is in code marks in the first cells, cut at "…"."""
    for line in (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            for message in re.findall(r"`([^`]+)`", line.split(" | ")[0]):
                yield from (part.strip() for part in message.split("…") if part.strip())


@pytest.fixture(scope="module")
def source() -> str:
    """All code, with strings that are written over several lines joined, and "…" for what is filled in."""
    files = [*(path for part in ("runtime", "service", "export") for path in (ROOT / part).rglob("*.py"))]
    text = "\n".join(path.read_text(encoding="utf-8") for path in [*files, ROOT / "Makefile"])
    joined = re.sub(r'"\s*\n\s*f?"', "", text)
    return re.sub(r"\{[^{}]*\}", "…", joined).replace("`", "")


@pytest.mark.parametrize("message", sorted(set(quoted())))
def test_a_message_is_one_of_the_code(message: str, source: str) -> None:
    assert message == FOREIGN or message in source
