"""What several pages must agree on."""

from __future__ import annotations

import re
from pathlib import Path

import automask

ROOT = Path(__file__).parents[2]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_readme_is_one_screen() -> None:
    assert len(read("README.md").splitlines()) <= 150


def test_the_changelog_has_this_version() -> None:
    assert f"## {automask.__version__} (" in read("CHANGELOG.md")


def test_the_list_of_decisions_is_complete() -> None:
    listed = re.findall(r"\]\((\d+-[\w-]+\.md)\)", read("docs/decisions/README.md"))
    assert listed == sorted(path.name for path in (ROOT / "docs/decisions").glob("0*.md"))


def test_the_page_of_the_library_lists_every_error() -> None:
    errors = {name for name in automask.__all__ if name.endswith("Error")} - {"AutomaskError"}
    assert set(re.findall(r"^\| `(\w+Error)`", read("docs/library.md"), re.MULTILINE)) == errors
