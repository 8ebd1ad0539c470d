"""Clients of a server: `Client` blocks, `AsyncClient` is for asyncio."""

__all__: list[str] = []
