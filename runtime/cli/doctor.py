"""`automask doctor`: versions, and the devices that work on this machine."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata

import click

from ..devices import CPU, DEVICES, import_onnxruntime, wheels
from ..errors import AutomaskError
from ..folders import bundles_folder, cache_folder
from ..loading import load
from .notes import notes_of_loading

__all__ = ["doctor"]

_PACKAGES = ("numpy", "opencv-python-headless", "pillow", "click")


@click.command()
def doctor() -> None:
    """Show versions, and on each device mask a photo and prove the model. Exits with 1 if the CPU does not work."""
    click.echo(f"python       {platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in ("automask", *wheels(), *_PACKAGES):
        click.echo(f"{package:<24} {_version(package)}")
    click.echo(f"CPU threads  {os.cpu_count()}")
    click.echo(f"cache folder {cache_folder()}")
    click.echo(f"your models  {bundles_folder()}")
    ort = import_onnxruntime()
    click.echo(f"ONNX Runtime lists {', '.join(ort.get_available_providers())}; what works:")
    works = {device: _try(device) for device in DEVICES}
    if not works[CPU]:
        sys.exit(1)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _try(device: str) -> bool:
    """Mask a photo twice on a device, because the first call is slow; print the times, or why it does not work."""
    try:
        with notes_of_loading():
            segmenter = load(device=device, cache_bytes=0)  # type: ignore[arg-type]  # a row of the table
        first = segmenter.warm_up().timings["total"]
        result = segmenter.warm_up()
    except AutomaskError as error:
        click.echo(f"  {device:<9} no: {error}")
        return False
    found = "and found the person" if not result.is_empty else "but did not find the person"
    provider = f"{DEVICES[device].provider} {import_onnxruntime().__version__}"
    click.echo(
        f"  {device:<9} yes: first mask {first:.0f} ms, second {result.timings['total']:.0f} ms, {found}; "
        f"{provider} in {segmenter.precision}, {segmenter.standing}"
    )
    for warning in segmenter.warnings:
        click.echo(f"  {'':<9} {warning}")
    return True
