"""`automask export`: one command for each architecture."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from .architecture import Architecture
from .architectures import architecture_names, find_architecture
from .figures import Report

__all__ = ["export"]


class _Architectures(click.Group):
    """Its commands are the folders of `architectures/`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return architecture_names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        architecture = find_architecture(cmd_name)
        if architecture is None:
            return None
        run = partial(_run, architecture)
        return click.Command(cmd_name, params=list(architecture.options), callback=run, help=architecture.help)


@click.group(cls=_Architectures)
def export() -> None:
    """Export a model: convert a checkpoint to a bundle of ONNX graphs."""


def _run(architecture: Architecture, output: Path, **options: Any) -> None:  # noqa: ANN401 (options differ)
    output = output.resolve()
    report = architecture.build(output, progress=click.echo, **options)
    _print_files(output)
    _print_report(report)


def _print_files(output: Path) -> None:
    files = [(path.name, path.stat().st_size) for path in sorted(output.iterdir())]
    click.echo(f"\n{output}")
    for name, size in [*files, ("total", sum(size for _, size in files))]:
        click.echo(f"  {name:48} {size / 1e6:9.3f} MB")


def _print_report(report: Report) -> None:
    click.echo("\nparity")
    for figure in report.figures:
        click.echo(f"  {figure.name:52} {figure.value:9.4g}  {figure.limit_text}")
    for precision, criterion in report.criteria.items():
        click.echo(f"  {precision} is judged by {criterion}")
