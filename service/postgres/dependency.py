"""Checks that the drivers for PostgreSQL are installed, before they are imported."""

from __future__ import annotations

from automask.errors import MissingDependencyError

__all__ = ["require_postgres"]


def require_postgres() -> None:
    """Raise `MissingDependencyError` unless psycopg and its pool are installed."""
    try:
        import psycopg  # noqa: F401
        import psycopg_pool  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"{error}; for PostgreSQL: pip install 'automask[postgres]'") from error
