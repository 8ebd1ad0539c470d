"""One folder for each architecture, with only what is special to it.

The `__init__.py` of a folder holds `ARCHITECTURE`, an `automask.export.architecture.Architecture`, and imports nothing
heavy, because the help of the command line reads it. Nothing else lists the folders: the name of a folder is the name
of its command, with ``-`` for ``_``, and packaging includes all Python and TOML files.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from ..architecture import Architecture

__all__ = ["architecture_names", "find_architecture"]


def architecture_names() -> list[str]:
    """Return the command names of all architectures, sorted."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__) if module.ispkg)


def find_architecture(name: str) -> Architecture | None:
    """Return the architecture with this command name, or None."""
    if name not in architecture_names():
        return None
    architecture: Architecture = import_module(f"{__name__}.{name.replace('-', '_')}").ARCHITECTURE
    return architecture
