"""The pages as a whole: each has its place in the site, one sentence a line; docs/grpc.md names the whole contract."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as service_pb2
from support.doc_blocks import ROOT

MKDOCS: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
TWO_SENTENCES = re.compile(r"[a-z0-9)`][.?!] [A-Z`*]")
GENERATED = re.compile(
    r"<!-- Made by benchmarks/report.py: begin -->.*?<!-- Made by benchmarks/report.py: end -->", re.DOTALL
)
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def in_nav(entry: Any) -> Iterator[str]:
    """The pages of an entry of `nav`."""
    for one in entry if isinstance(entry, list) else entry.values() if isinstance(entry, dict) else ():
        yield from in_nav(one)
    if isinstance(entry, str):
        yield entry


def test_each_page_has_one_place_in_the_site() -> None:
    docs = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(in_nav(MKDOCS["nav"])) == sorted([*docs, *MKDOCS["extra"]["pages"].values()])
    assert all((ROOT / source).is_file() for source in MKDOCS["extra"]["pages"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_one_sentence_a_line_of_at_most_120_characters(page: Path) -> None:
    text = FENCED.sub("", GENERATED.sub("", page.read_text()))
    lines = [re.sub(r"^ *(-|[0-9]+\.) ", "", line) for line in text.splitlines()]
    prose = [line for line in lines if not line.startswith(("|", "#", "<", "!"))]
    if page.name != "grpc.md":  # made from the comments of the contract
        assert [line for line in prose if TWO_SENTENCES.search(line)] == []
    assert [line for line in text.splitlines() if len(line) > 120 and line in prose and "](http" not in line] == []


def test_the_grpc_page_names_every_call_field_and_value() -> None:
    page = (ROOT / "docs" / "grpc.md").read_text()
    for file in (mask_pb2.DESCRIPTOR, service_pb2.DESCRIPTOR):
        for message in file.message_types_by_name.values():
            section = page.partition(f"\n### {message.name}\n")[2].partition("\n### ")[0]
            assert section, message.name
            assert [name for name in message.fields_by_name if f"| `{name}` |" not in section] == []
        for enum in file.enum_types_by_name.values():
            assert [name for name in enum.values_by_name if f"| `{name}` |" not in page] == []
        for service in file.services_by_name.values():
            assert [name for name in service.methods_by_name if f"| `{name}` |" not in page] == []
