"""Licences that must be accepted before a model is exported: asked for once, and remembered for this user."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from automask.errors import AutomaskError
from automask.folders import data_folder
from automask.publish import write_json

__all__ = ["LicenceError", "Terms", "accept"]

_FILE = "accepted_licences.json"


class LicenceError(AutomaskError, PermissionError):
    """The licence of the weights was not accepted."""


@dataclass(frozen=True, slots=True)
class Terms:
    """A licence with conditions.

    Attributes
    ----------
    name
        Its name and date.
    url
        Where its text is.
    conditions
        What it asks for and what it forbids, each in a few words.
    """

    name: str
    url: str
    conditions: Sequence[str]

    def __str__(self) -> str:
        """Return name and conditions in one line, as the manifest has them."""
        return f"{self.name}: {'; '.join(self.conditions)}"


def accept(terms: Terms, *, accepted: bool = False) -> None:
    """Return if the user accepts a licence, now or before; on a terminal, ask.

    Parameters
    ----------
    accepted
        Whether the user says so on the command line.

    Raises
    ------
    LicenceError
        The licence is not accepted.
    """
    path = data_folder() / _FILE
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if terms.name in known:
        return
    if not accepted and sys.stdin.isatty():
        conditions = "\n".join(f"  - {one}" for one in terms.conditions)
        click.echo(f"The weights are under the {terms.name}, {terms.url}\n{conditions}")
        accepted = click.confirm("Do you accept this licence?")
    if not accepted:
        raise LicenceError(
            f"the licence of the weights is not accepted ({terms}; {terms.url}); to accept it: --accept-licence"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**known, terms.name: datetime.now(UTC).date().isoformat()}, indent=1)
