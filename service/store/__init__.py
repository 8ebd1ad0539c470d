"""The request store: keeps submitted requests and their results, in SQLite or PostgreSQL."""

__all__: list[str] = []
