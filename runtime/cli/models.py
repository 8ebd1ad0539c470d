"""`automask models`: the installed models, their licence, size and vocabulary."""

from __future__ import annotations

import json
from typing import Any

import click

from ..bundle import Bundle
from ..loading import read_words
from ..lookup import built_in_bundles, find_bundle

__all__ = ["models"]


@click.command(short_help="Show the installed models, their licence, size and vocabulary.")
@click.argument("model", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(*, model: str | None, as_json: bool) -> None:
    """List the models that come with the package; with MODEL (name, folder or Hub id), show one in detail."""
    bundles = [find_bundle(name) for name in ([model] if model else built_in_bundles())]
    if as_json:
        click.echo(json.dumps([_describe(bundle) for bundle in bundles], indent=2))
        return
    for bundle in bundles:
        _print(bundle, whole=model is not None)
    if model is None:
        click.echo("`automask models NAME` lists the vocabulary and the sources of one.")


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
    """Return the labels of a fixed vocabulary; None if any text is understood."""
    return list(read_words(bundle).labels) or None


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
            parts = [source[key] for key in ("what", "package", "version", "file", "licence") if key in source]
            click.echo(f"  from        {', '.join(parts)}")
