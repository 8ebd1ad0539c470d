"""`automask completion`: the script with which a shell completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]

_VARIABLE = "_AUTOMASK_COMPLETE"  # click answers to it, and derives its name from that of the program


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Print the script that completes commands and options in a shell.

    \b
    bash   echo 'eval "$(automask completion bash)"' >> ~/.bashrc
    zsh    echo 'eval "$(automask completion zsh)"' >> ~/.zshrc
    fish   automask completion fish > ~/.config/fish/completions/automask.fish
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    kind = get_completion_class(shell)
    assert kind is not None, "click has all three"  # noqa: S101
    click.echo(kind(context.find_root().command, {}, "automask", _VARIABLE).source())
