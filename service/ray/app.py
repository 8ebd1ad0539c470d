"""The application for Ray Serve: ``serve run automask.service.ray.app:app``, or in a config for ``serve deploy``.

The settings come from ``AUTOMASK_…`` and from the TOML file at ``AUTOMASK_CONFIG``, in the process that imports this
module. `build` takes more settings as the ``args`` of Serve's config.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from automask.errors import MissingDependencyError

from ..config.settings import PREFIX, load_settings

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

try:
    from ray.serve.deployment import Application

    from .api import deploy
except ImportError as error:
    raise MissingDependencyError(f"{error}; for Ray Serve: pip install 'automask[ray]'") from error

__all__ = ["app", "build"]


def build(args: dict[str, Any]) -> Application:
    """Return the application.

    Parameters
    ----------
    args
        Settings that override the environment and the file.

    Raises
    ------
    ParameterError
        A setting is unknown or out of its range, or the settings conflict.
    """
    config = os.environ.get(f"{PREFIX}CONFIG")
    # Who can reach Serve's proxies is decided where they are started.
    settings = load_settings(Path(config) if config else None, **{"engine": "ray", "insecure": True, **args})
    return deploy(settings)


app = build({})
