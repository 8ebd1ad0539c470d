"""`automask models`: the models on this machine, their licence, size and vocabulary; and `automask models remove`."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from typing import Any

import click

from ..bundle import Bundle, read_bundle
from ..errors import AutomaskError, BundleNotFoundError, ParameterError
from ..folders import bundles_folder
from ..loading import read_words
from ..lookup import built_in_bundles, find_bundle, locate_bundle, user_bundles

__all__ = ["models"]

_JSON = "Print JSON."


class _Models(click.Group):
    """Takes any model in the place of a command, and shows it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*built_in_bundles(), *user_bundles(), *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        known = super().get_command(ctx, cmd_name)
        option = click.Option(["--json", "as_json"], is_flag=True, help=_JSON)
        text = "Show the vocabulary and the sources of this model."
        return known or click.Command(cmd_name, params=[option], callback=partial(_show, cmd_name), help=text)


@click.group(
    cls=_Models,
    invoke_without_command=True,
    subcommand_metavar="[MODEL | remove NAME]",
    short_help="Show the models on this machine, their licence, size and vocabulary.",
)
@click.option("--json", "as_json", is_flag=True, help=_JSON)
@click.pass_context
def models(context: click.Context, *, as_json: bool) -> None:
    """List the built-in models and your own; with MODEL (name, folder or Hub id), show one in detail.

    \b
    automask models                     all of them
    automask models default --json      one, for a script
    automask models remove NAME         delete one of your own
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    if context.invoked_subcommand is None:
        _list(as_json=as_json)


def _list(*, as_json: bool) -> None:
    described, broken = [], {}
    for name in (*built_in_bundles(), *user_bundles()):
        try:
            described.append(_describe(name, read_bundle(locate_bundle(name))))
        except (AutomaskError, OSError) as error:  # one of them must not hide the others
            broken[name] = str(error)
    if as_json:
        errors = [{"name": name, "error": reason} for name, reason in broken.items()]
        click.echo(json.dumps([*described, *errors], indent=2))
        return
    for one in described:
        _print(one)
    for name, reason in broken.items():
        click.echo(f"{name}: cannot be used: {reason}")
    click.echo("`automask models NAME` lists the vocabulary and the sources of one.")


def _show(model: str, *, as_json: bool) -> None:
    bundle = find_bundle(model)
    described = _describe(model if model in user_bundles() else bundle.name, bundle)
    parent = click.get_current_context().parent
    if as_json or (parent is not None and parent.params["as_json"]):
        click.echo(json.dumps([described], indent=2))
        return
    _print(described)
    if described["vocabulary"] is not None:
        click.echo(f"  knows       {', '.join(described['vocabulary'])} (and many words for them)")
    for source in bundle.sources:
        parts = [source[key] for key in ("what", "package", "version", "file", "licence") if key in source]
        click.echo(f"  from        {', '.join(parts)}")


@models.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(*, name: str, yes: bool) -> None:
    """Remove a model that you exported: its folder among your bundles."""
    if name in built_in_bundles():
        raise ParameterError("NAME", "be a model that you exported; this one is part of the package", name)
    if name not in user_bundles():
        known = ", ".join(user_bundles()) or "none"
        raise BundleNotFoundError(f"no model {name!r} in {bundles_folder()}, which holds: {known}")
    folder = bundles_folder() / name
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(f"to remove {folder} without a question: --yes")
        click.confirm(f"Remove {folder}?", abort=True)
    if folder.is_symlink():
        folder.unlink()  # the files are elsewhere, and not ours
    else:
        shutil.rmtree(folder)
    click.echo(f"removed {folder}")


def _describe(name: str, bundle: Bundle) -> dict[str, Any]:
    return {
        "name": name,
        "family": bundle.family,
        "description": bundle.description,
        "licence": bundle.licence,
        "bytes": bundle.size,
        "precisions": bundle.precisions,
        "vocabulary": list(read_words(bundle).labels) or None,  # None if any text is understood
        "sources": bundle.sources,
        "folder": str(bundle.folder),
    }


def _print(described: dict[str, Any]) -> None:
    labels = described["vocabulary"]
    click.echo(f"{described['name']}: {described['description']}")
    click.echo(f"  family      {described['family']}")
    click.echo(f"  licence     {described['licence']}")
    click.echo(f"  size        {described['bytes'] / 1e6:.1f} MB")
    click.echo(f"  precisions  {', '.join(described['precisions'])}")
    click.echo(f"  vocabulary  {'any text' if labels is None else f'{len(labels)} kinds of object'}")
    click.echo(f"  folder      {described['folder']}")
