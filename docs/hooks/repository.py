"""Files of the repository outside docs/: some are pages of the site, and links to the others lead to copies of them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(?P<text>!?\[(?:[^\[\]]|\[[^\[\]]*\])*\])\((?P<target>[^()\s]+)\)")
_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand outside docs/, and copies of the files to which pages link."""
    pages: Mapping[str, str] = config.extra["pages"]
    for source, target in pages.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_text(encoding="utf-8")))
    for page in files.documentation_pages():
        for path in _outside(_source(page.src_uri, pages), page.content_string):
            copy = f"source/{path}"
            if path not in pages and files.get_file_from_path(copy) is None:
                files.append(File.generated(config, copy, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between files of the site."""
    pages: Mapping[str, str] = config.extra["pages"]
    source = _source(page.file.src_uri, pages)

    def link(match: re.Match[str]) -> str:
        path, mark, anchor = match["target"].partition("#")
        found = _resolve(source, path)
        if found is None:
            return match[0]
        if (ROOT / found).is_dir():  # a site has no page that lists a folder
            return match["text"].strip("[]")
        inside = found.removeprefix("docs/") if found.startswith("docs/") else pages.get(found, f"source/{found}")
        start = posixpath.dirname(page.file.src_uri)
        return f"{_text(match, files.get_file_from_path(inside))}({posixpath.relpath(inside, start)}{mark}{anchor})"

    return _outside_of_fences(markdown, link)


def _text(match: re.Match[str], target: File | None) -> str:
    """Return the text of a link; the title of the page in place of its file name."""
    path = match["target"].partition("#")[0]
    is_name = match["text"].strip("[]") in {path, path.lstrip("./"), posixpath.basename(path)}
    return f"[{target.page.title}]" if is_name and target and target.page and target.page.title else match["text"]


def _outside_of_fences(markdown: str, link: Callable[[re.Match[str]], str]) -> str:
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(link, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(link, markdown[end:])])


def _source(uri: str, pages: Mapping[str, str]) -> str:
    """Return the path in the repository of a page of the site."""
    return next((source for source, target in pages.items() if target == uri), f"docs/{uri}")


def _outside(source: str, markdown: str) -> Iterator[str]:
    """Yield the files outside docs/ to which a page links, as paths in the repository."""
    for match in _LINK.finditer(_FENCE.sub("", markdown)):
        path = _resolve(source, match["target"].partition("#")[0])
        if path and not path.startswith("docs/") and (ROOT / path).is_file():
            yield path


def _resolve(source: str, target: str) -> str | None:
    """Return the path in the repository to which a link leads; None if it leads elsewhere."""
    if not target or ":" in target:
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    return path if (ROOT / path).exists() else None
