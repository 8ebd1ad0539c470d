"""The request store: where what was submitted is kept, and the rules of what may become of it."""

__all__: list[str] = []
