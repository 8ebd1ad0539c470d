"""The gRPC server: servicer, call middleware, addresses."""

__all__: list[str] = []
