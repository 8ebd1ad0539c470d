"""The HTTP server: the hosted API, the playground and the API documentation. Needs the extra `http`."""

from __future__ import annotations

__all__: list[str] = []
