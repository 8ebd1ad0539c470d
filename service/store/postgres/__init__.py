"""The request store in a PostgreSQL database, for servers on any number of machines."""

__all__: list[str] = []
