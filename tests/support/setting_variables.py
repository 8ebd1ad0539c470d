"""The environment variables that are settings of the service."""

from __future__ import annotations

from pydantic import BaseModel

from automask.service.config.settings import PREFIX, Settings

__all__ = ["VARIABLES"]


def _names() -> list[str]:
    """Return the names of all fields, with those of nested tables: max_queue, ray_max_replicas."""
    names = ["config"]  # the path of the settings file
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        table = kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else ()
        names += [name, *(f"{name}_{inner}" for inner in table)]
    return names


VARIABLES = frozenset(f"{PREFIX}{name.upper()}" for name in _names())
