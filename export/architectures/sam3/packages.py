"""The packages that SAM 3 needs, which do not go together with those of the other architectures."""

from __future__ import annotations

from importlib import metadata

from automask.errors import MissingDependencyError

__all__ = ["EXTRA", "check_packages"]

EXTRA = "export-sam3"

_LEAST = (5, 17)  # transformers 5.0 has SAM 3 as well; its classes are as they are used here since 5.17


def check_packages() -> None:
    """Check the version of transformers.

    Raises
    ------
    MissingDependencyError
        It is not installed, or too old.
    """
    try:
        found = metadata.version("transformers")
    except metadata.PackageNotFoundError:
        found = "none"
    if found == "none" or tuple(int(part) for part in found.split(".")[:2]) < _LEAST:
        raise MissingDependencyError(
            f"SAM 3 needs transformers {'.'.join(map(str, _LEAST))} or newer, found {found}. optimum, which the other "
            "models are exported with, needs an older one; so SAM 3 is exported in an environment of its own: "
            f"`python3 -m venv sam3-export && sam3-export/bin/pip install 'automask[cpu,{EXTRA}]'`, then "
            "`sam3-export/bin/automask export`; the bundle runs anywhere"
        )
