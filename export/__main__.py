"""`python -m automask.export`: the same as `automask export`, for environments without the command."""

from __future__ import annotations

import sys

import click

from automask.errors import AutomaskError

from .cli import export


def main() -> None:
    """Run the command; print an error of automask as one line, and exit with status 1."""
    try:
        export(prog_name="python -m automask.export")
    except AutomaskError as error:
        click.echo(f"automask: error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
