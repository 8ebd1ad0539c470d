"""Says what to install for PostgreSQL, before anything of it is imported."""

from __future__ import annotations

from automask.errors import MissingDependencyError

__all__ = ["require_postgres"]


def require_postgres() -> None:
    """Raise `MissingDependencyError` unless PostgreSQL can be spoken to."""
    try:
        import psycopg  # noqa: F401
        import psycopg_pool  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"{error}; for PostgreSQL: pip install 'automask[postgres]'") from error
