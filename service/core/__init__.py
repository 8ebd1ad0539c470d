"""What a server does, over any wire format: tasks, the queue, submitted requests, authorization."""

__all__: list[str] = []
