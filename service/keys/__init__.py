"""API keys, their credits and rate limits; stored in SQLite or PostgreSQL."""

__all__: list[str] = []
