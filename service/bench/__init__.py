"""Comparison of a local server with the hosted API."""

__all__: list[str] = []
