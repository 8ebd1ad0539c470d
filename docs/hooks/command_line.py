"""The command line reference: help, usage and options of every command, in place of a mark in command-line.md."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from automask.cli import main

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace the mark by the reference."""
    del page, config, files
    if MARK not in markdown:
        return markdown
    context = click.Context(main, info_name="automask")
    return markdown.replace(MARK, "\n\n".join(_describe(main, context, 2)))


def _describe(
    command: click.Command, context: click.Context, level: int, shown: dict[str, str] | None = None
) -> Iterator[str]:
    """Yield the sections of a command and of those below it; `shown` has the tables of options of its siblings."""
    yield f"{'#' * level} {context.command_path}"
    yield from _paragraphs(command.help or "")
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    records = [record for one in options if (record := one.get_help_record(context))]
    rows = [f"| `{names.replace('|', chr(92) + '|')}` | {_escape(text)} |" for names, text in records]
    if len(rows) > 1:  # more than --help
        table = "\n".join(["| option | |", "|---|---|", *rows])
        first = {} if shown is None else shown
        yield f"Options: as for `{first[table]}`." if table in first else table
        first.setdefault(table, context.command_path)
    if isinstance(command, click.Group):
        tables: dict[str, str] = {}
        for name in sorted(command.list_commands(context)):
            below = command.get_command(context, name)
            if below is None or below.hidden:
                continue
            yield from _describe(below, click.Context(below, info_name=name, parent=context), level + 1, tables)


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a help text; those that click prints verbatim are code."""
    for paragraph in inspect.cleandoc(text).split("\f")[0].split("\n\n"):
        mark, _, verbatim = paragraph.partition("\b\n")
        yield f"```text\n{inspect.cleandoc(verbatim)}\n```" if verbatim and not mark.strip() else _escape(paragraph)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
