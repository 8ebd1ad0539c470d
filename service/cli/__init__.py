"""The commands of the service: `serve`, `keys`, and those of a client."""

__all__: list[str] = []
