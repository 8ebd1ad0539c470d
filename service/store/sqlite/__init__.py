"""The request store in an SQLite file: for the servers of one machine."""

__all__: list[str] = []
