"""The command line: `automask mask`, `models`, `doctor`, `export`."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import click

from ..errors import AutomaskError
from .doctor import doctor
from .mask import mask
from .models import models

__all__ = ["main"]


class _Automask(click.Group):
    """Finds `export` only when it is asked for, and turns errors into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), "export"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "export":
            from automask.export.cli import export

            return export
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 (click's own signature)
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except Exception as error:  # noqa: BLE001 (the last catcher there is)
            if ctx.params["debug"]:
                traceback.print_exc()
            click.echo(f"automask: error: {_one_line(error)}", err=True)
            sys.exit(1)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, (AutomaskError, OSError)):
        return text
    return f"{type(error).__name__}: {text} (this is a bug; `automask --debug …` shows where)"


@click.group(cls=_Automask, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="automask")
def main(*, debug: bool) -> None:
    """Give it an image and a few words, get back a mask: here, on this machine.

    \b
    automask mask room.jpg "sofa"                     room.mask.png beside it
    automask mask room.jpg "sofa" --return-alpha      the sofa cut out
    automask mask photos/ "dog" -o masks/             a whole folder
    automask mask - "cup" < in.jpg > mask.png         in a pipe

    Exit status: 0 done, 1 failed on some, 2 wrong usage, 3 nothing found (with --stop-on-empty-mask).
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    del debug  # read from the context, where errors are caught


main.add_command(mask)
main.add_command(models)
main.add_command(doctor)
