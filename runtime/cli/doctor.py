"""`automask doctor`: versions, and the devices that work on this machine."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata

import click

from ..devices import AUTO, CPU, DEVICES, find_problem, import_onnxruntime, library_versions, wheels
from ..errors import AutomaskError
from ..folders import bundles_folder, cache_folder
from ..loading import load
from ..segmenter import Segmenter
from .notes import notes_of_loading

__all__ = ["doctor"]

_PACKAGES = ("numpy", "opencv-python-headless", "pillow", "click")


@dataclass(frozen=True, slots=True)
class _Row:
    """What was found about a device.

    Attributes
    ----------
    device
        A name of the table of devices.
    works
        Whether it masked a photo.
    reason, install
        Why it does not work, and what to type; empty if it works.
    provider, versions
        Its execution provider, and the versions of the libraries that compute.
    precision, proof
        The precision in which the model was opened, and whether it was proven.
    first_ms, next_ms
        Milliseconds of the first mask and of the second one.
    finds_person
        Whether the mask is of the person in the photo.
    warnings
        As `Segmenter.warnings`.
    """

    device: str
    works: bool
    reason: str = ""
    install: str = ""
    provider: str = ""
    versions: Mapping[str, str] | None = None
    precision: str = ""
    proof: str = ""
    first_ms: float = 0.0
    next_ms: float = 0.0
    finds_person: bool = False
    warnings: Sequence[str] = ()


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(*, as_json: bool) -> None:
    """Show versions, and on each device mask a photo and prove the model. Exits with 1 if the CPU does not work.

    A device that does not work has the reason, and what to type if a package is missing.
    """
    packages = {name: _version(name) for name in ("automask", *wheels(), *_plugins(), *_PACKAGES)}
    ort = import_onnxruntime()
    rows = [_try(device) for device in DEVICES]
    automatic = _pick_automatic()
    if as_json:
        click.echo(
            json.dumps(
                {
                    "python": platform.python_version(),
                    "system": f"{platform.system()} {platform.machine()}",
                    "packages": packages,
                    "cpu_threads": os.cpu_count(),
                    "cache_folder": str(cache_folder()),
                    "models_folder": str(bundles_folder()),
                    "providers": ort.get_available_providers(),
                    "devices": [asdict(row) for row in rows],
                    "auto": automatic,
                }
            )
        )
    else:
        click.echo(f"python       {platform.python_version()} on {platform.system()} {platform.machine()}")
        for package, version in packages.items():
            click.echo(f"{package:<31} {version or 'not installed'}")
        click.echo(f"CPU threads  {os.cpu_count()}")
        click.echo(f"cache folder {cache_folder()}")
        click.echo(f"your models  {bundles_folder()}")
        click.echo(f"ONNX Runtime lists {', '.join(ort.get_available_providers())}; what works:\n")
        _print_table(rows)
        click.echo(f"\n--device auto takes {automatic or 'none of them'}")
    if not next(row.works for row in rows if row.device == CPU):
        sys.exit(1)


def _plugins() -> list[str]:
    return list(dict.fromkeys(row.plugin.distribution for row in DEVICES.values() if row.plugin is not None))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _try(device: str) -> _Row:
    """Mask a photo twice on a device, because the first call is slow."""
    problem = find_problem(device)
    if problem is not None:
        return _Row(device, works=False, reason=problem.reason, install=problem.install)
    try:
        with notes_of_loading():
            segmenter = load(device=device, cache_bytes=0)  # type: ignore[arg-type]  # a row of the table
        return _measure(device, segmenter)
    except AutomaskError as error:
        return _Row(device, works=False, reason=str(error))


def _measure(device: str, segmenter: Segmenter) -> _Row:
    first = segmenter.warm_up().timings["total"]
    result = segmenter.warm_up()
    return _Row(
        device,
        works=True,
        provider=DEVICES[device].provider,
        versions=library_versions(device),
        precision=segmenter.precision,
        proof=segmenter.standing,
        first_ms=round(first, 1),
        next_ms=round(result.timings["total"], 1),
        finds_person=not result.is_empty,
        warnings=segmenter.warnings,
    )


def _pick_automatic() -> str:
    try:
        with notes_of_loading():
            return load(device=AUTO, cache_bytes=0).device
    except AutomaskError:
        return ""


def _print_table(rows: Sequence[_Row]) -> None:
    width = max(len(row.device) for row in rows)
    click.echo(f"{'device':<{width}}  works  precision  proof       first ms  next ms  provider")
    for row in rows:
        if row.works:
            versions = ", ".join(f"{name} {version}" for name, version in (row.versions or {}).items())
            click.echo(
                f"{row.device:<{width}}  yes    {row.precision:<9}  {row.proof:<10}  {row.first_ms:>8.0f}  "
                f"{row.next_ms:>7.0f}  {row.provider} ({versions})"
            )
            found = "" if row.finds_person else "it did not find the person in the photo"
            notes = [found, *row.warnings]
        else:
            click.echo(f"{row.device:<{width}}  no     {row.reason}")
            notes = [row.install]
        for note in filter(None, notes):
            click.echo(f"{'':<{width}}         {note}")
