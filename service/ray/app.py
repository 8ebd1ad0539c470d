"""The application for Ray Serve: ``serve run automask.service.ray.app:app``, or in a config for ``serve deploy``.

The settings come from ``AUTOMASK_…`` and the TOML file that ``AUTOMASK_CONFIG`` names, where this module is imported;
`build` takes more of them as the ``args`` of Serve's config.
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
    """Make the application.

    Parameters
    ----------
    args
        Settings that win over the environment and the file.

    Raises
    ------
    ParameterError
        A setting is unknown or out of its range, or they do not go together.
    """
    config = os.environ.get(f"{PREFIX}CONFIG")
    # Whoever starts Serve's proxies decides who reaches them.
    settings = load_settings(Path(config) if config else None, **{"engine": "ray", "insecure": True, **args})
    return deploy(settings)


app = build({})
