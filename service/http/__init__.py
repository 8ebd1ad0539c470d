"""The HTTP front: the hosted API, and a page to try it on."""

__all__: list[str] = []
