"""`automask models`: what is here and what it can do."""

from __future__ import annotations

import json
from typing import Any

import click

from ..bundle import Bundle
from ..lookup import built_in_bundles, find_bundle
from ..words.vocabulary import Vocabulary

__all__ = ["models"]


@click.command(short_help="Tell what models are here, their licence, size and vocabulary.")
@click.argument("model", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(*, model: str | None, as_json: bool) -> None:
    """List the models that come with the package; with MODEL (name, folder or Hub id), tell all about one."""
    bundles = [find_bundle(name) for name in ([model] if model else built_in_bundles())]
    if as_json:
        click.echo(json.dumps([_describe(bundle) for bundle in bundles], indent=2))
        return
    for bundle in bundles:
        _print(bundle, whole=model is not None)
    if model is None:
        click.echo("`automask models NAME` lists the vocabulary and the origins of one.")


def _describe(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "family": bundle.family,
        "description": bundle.description,
        "licence": bundle.licence,
        "bytes": bundle.size,
        "precisions": bundle.precisions,
        "vocabulary": _vocabulary(bundle),
        "sources": bundle.sources,
        "folder": str(bundle.folder),
    }


def _vocabulary(bundle: Bundle) -> list[str] | None:
    """Names of the kinds of object; None where any text is understood."""
    if bundle.text.get("kind") != "vocabulary":
        return None
    return list(Vocabulary.from_file(bundle.folder / bundle.text["file"]).labels)


def _print(bundle: Bundle, *, whole: bool) -> None:
    labels = _vocabulary(bundle)
    click.echo(f"{bundle.name}: {bundle.description}")
    click.echo(f"  family      {bundle.family}")
    click.echo(f"  licence     {bundle.licence}")
    click.echo(f"  size        {bundle.size / 1e6:.1f} MB")
    click.echo(f"  precisions  {', '.join(bundle.precisions)}")
    click.echo(f"  vocabulary  {'any text' if labels is None else f'{len(labels)} kinds of object'}")
    click.echo(f"  folder      {bundle.folder}")
    if whole and labels is not None:
        click.echo(f"  knows       {', '.join(labels)} (and many words for them)")
    if whole:
        for source in bundle.sources:
            said = [source[key] for key in ("what", "package", "version", "file", "licence") if key in source]
            click.echo(f"  from        {', '.join(said)}")
