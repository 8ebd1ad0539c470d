"""The PostgreSQL database that requests, keys and rate limits share: connections, schema, notifications."""

__all__: list[str] = []
