"""The request store: one SQLite file, and the rules of what may become of a request."""

__all__: list[str] = []
