"""Every variable that is a setting, for the tests of what sets some."""

from __future__ import annotations

from pydantic import BaseModel

from automask.service.config.settings import PREFIX, Settings

__all__ = ["VARIABLES"]


def _names() -> list[str]:
    """The fields, a table's own among them: max_queue, ray_max_replicas."""
    names = ["config"]  # which names the file
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        table = kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else ()
        names += [name, *(f"{name}_{inner}" for inner in table)]
    return names


VARIABLES = frozenset(f"{PREFIX}{name.upper()}" for name in _names())
