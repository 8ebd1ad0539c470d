"""Logs, metrics and traces."""

__all__: list[str] = []
