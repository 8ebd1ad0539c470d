"""automask over HTTP: the hosted API's calls, and a page to try them on. Needs the extra `http`."""

from __future__ import annotations

__all__: list[str] = []
