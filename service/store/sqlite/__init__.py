"""The request store in an SQLite file, for servers on one machine."""

__all__: list[str] = []
