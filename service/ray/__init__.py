"""The service on Ray Serve: the same servicer in one deployment, the models in others."""

__all__: list[str] = []
