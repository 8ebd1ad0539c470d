"""API keys: what they may do, and the places they are kept in."""

__all__: list[str] = []
