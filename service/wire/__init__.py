"""Conversion between the core and protobuf: tasks, results, and errors as `google.rpc.Status`."""

__all__: list[str] = []
