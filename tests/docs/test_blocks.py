"""Every code block of README and docs/ runs, or says why not. `pytest -rP` shows what was run."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import yaml

from support.doc_blocks import DATA, PROGRAMS, TEXTS, Block, all_blocks
from support.doc_sandbox import Sandbox

BLOCKS = all_blocks()
PARSERS: dict[str, Callable[[str], Any]] = {"toml": tomllib.loads, "yaml": yaml.safe_load, "json": json.loads}
COMMAND = re.compile(r"^(\$ )?(automask|pip|python3?|make|docker|helm|curl) ", re.MULTILINE)

OUTSIDE = re.compile(r"\b(sudo|docker|helm|kubectl|systemctl|git|make)\b|^pip (?!install )", re.MULTILINE)


class Pages:
    """The sandbox of the page whose blocks run now."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory, self._page, self._open = factory, "", ExitStack()

    def sandbox(self, page: str) -> Sandbox:
        """Return the sandbox of a page; that of the page before is closed."""
        if page != self._page:
            self.close()
            self._current = self._open.enter_context(Sandbox(self._factory.mktemp("page")))
            self._page = page
        return self._current

    def close(self) -> None:
        """Close the sandbox."""
        self._open.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    pages = Pages(tmp_path_factory)
    yield pages
    pages.close()


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # a program may end with open connections
@pytest.mark.parametrize("block", [block for block in BLOCKS if block.is_run], ids=str)
def test_a_block_runs(block: Block, pages: Pages) -> None:
    assert not OUTSIDE.search(block.text), "needs <!-- not run: WHY -->: it changes what is outside of its folder"
    pages.sandbox(block.page).run(block)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in DATA], ids=str)
def test_data_can_be_parsed(block: Block) -> None:
    assert PARSERS[block.language](block.text)


def test_every_block_has_a_known_language_and_text_holds_no_command() -> None:
    for block in BLOCKS:
        assert block.language in {*PROGRAMS, *DATA, *TEXTS}, f"{block}: unknown language {block.language!r}"
        if block.language in TEXTS:
            assert not COMMAND.search(block.text), f"{block}: commands need the language sh or console"
