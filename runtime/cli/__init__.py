"""The command line: `automask mask`, `cutout`, `models`, `pull`, `prove`, `warm`, `doctor`; service and export."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from typing import Any

import click

from ..errors import AutomaskError, MissingDependencyError, ParameterError, UnknownPromptError
from .completion import completion
from .cutout import cutout
from .doctor import doctor
from .mask import mask
from .models import models
from .prove import prove
from .pull import pull
from .warm import warm

__all__ = ["main"]

_REQUESTS = "automask.service.cli.requests"
# Imported when called: `mask`, `cutout`, `models`, `pull`, `prove`, `warm` and `doctor` need none of them.
_LATER = {
    "serve": "automask.service.cli.serve",
    **dict.fromkeys(("submit", "status", "watch", "result", "cancel"), _REQUESTS),
    "keys": "automask.service.cli.keys",
    "bench": "automask.service.cli.bench",
    "export": "automask.export.cli",
}


_MASKING = {"mask", "cutout", "submit"}  # their prompts and parameters are usage, as their options are


class _Automask(click.Group):
    """Imports the commands of service and export when called, and prints errors as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_LATER]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _LATER:
            return super().get_command(ctx, cmd_name)
        try:
            command: click.Command = getattr(import_module(_LATER[cmd_name]), cmd_name)
        except ImportError as error:
            return _Missing(cmd_name, error)
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 (click's own signature)
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except KeyboardInterrupt:
            click.echo("automask: interrupted", err=True)
            sys.exit(130)
        except Exception as error:  # noqa: BLE001 (the outermost handler)
            if ctx.params["debug"]:
                traceback.print_exc()
            click.echo(f"automask: error: {_one_line(error)}", err=True)
            is_usage = isinstance(error, (ParameterError, UnknownPromptError)) and ctx.invoked_subcommand in _MASKING
            sys.exit(2 if is_usage else 1)


class _Missing(click.Command):
    """Stands for a command whose packages are not installed, so that the help still lists it."""

    def __init__(self, name: str, error: ImportError) -> None:
        super().__init__(name, help="Needs: pip install 'automask[service]'", add_help_option=False)
        self._error = error

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        del ctx, args  # none are parsed
        raise MissingDependencyError(
            f"`automask {self.name}` needs {self._error.name}: pip install 'automask[service]'"
        ) from self._error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, (AutomaskError, OSError)):
        return text
    return f"{type(error).__name__}: {text} (this is a bug; `automask --debug …` shows where)"


@click.group(cls=_Automask, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="automask")
def main(*, debug: bool) -> None:
    """Mask what a few words name in an image, on this machine.

    \b
    automask mask room.jpg "sofa"                     writes room.mask.png beside it
    automask cutout room.jpg "sofa"                   the sofa cut out, with a soft edge
    automask mask photos/ "dog" -o masks/             a whole folder
    automask mask - "cup" < in.jpg > mask.png         in a pipe

    Exit status: 0 done, 1 an image failed, 2 wrong usage or unknown prompt, 3 nothing found (with
    --stop-on-empty-mask), 130 interrupted.
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    del debug  # read from the context, where errors are caught


for _command in (mask, cutout, models, pull, prove, warm, doctor, completion):
    main.add_command(_command)
