"""Clients of a server: one that waits, one for event loops."""

__all__: list[str] = []
