"""The code blocks of README and docs/. `python tests/support/doc_blocks.py` lists which ones the tests run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["DATA", "PROGRAMS", "ROOT", "TEXTS", "Block", "all_blocks"]

ROOT = Path(__file__).parents[2]
PROGRAMS = ("python", "sh", "console")
"""Languages of blocks that are run."""
DATA = ("toml", "yaml", "json")
"""Languages of blocks that are parsed."""
TEXTS = ("text", "nginx")
"""Languages of blocks that are only read."""

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- not run: (?P<reason>[^\n]+?) -->\n+ *\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes
    ----------
    page
        Path of the page in the repository.
    line
        Number of the line with the opening fence.
    language
        What follows the fence; empty for none.
    text
        Content without the indent of the fence.
    reason
        Why it is not run, as `<!-- not run: REASON -->` before it says; empty for a block that is run.
    """

    page: str
    line: int
    language: str
    text: str = field(repr=False)
    reason: str

    @property
    def is_run(self) -> bool:
        """Whether the tests run it."""
        return self.language in PROGRAMS and not self.reason

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def all_blocks() -> list[Block]:
    """Return the blocks of every page that people read."""
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        ROOT / "deploy/README.md",
    ]
    return [block for page in pages for block in _parse(page)]


def _parse(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for fence in _FENCE.finditer(text):
        before = text[: fence.start()]
        mark = _MARK.search(before)
        lines = [line.removeprefix(fence["indent"]) for line in fence["text"].splitlines(keepends=True)]
        yield Block(
            page=page.relative_to(ROOT).as_posix(),
            line=before.count("\n") + 1,
            language=fence["language"],
            text="".join(lines),
            reason=mark["reason"] if mark else "",
        )


def main() -> None:
    """Print a line for each block with code."""
    for block in all_blocks():
        if block.language in PROGRAMS:
            print(f"{block}: {block.language}: {'run' if block.is_run else f'not run: {block.reason}'}")


if __name__ == "__main__":
    main()
