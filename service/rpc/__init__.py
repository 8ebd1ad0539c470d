"""The gRPC server: servicer, sockets, and what every call goes through."""

__all__: list[str] = []
