"""What a server does, whatever the wire: tasks, the queue, submitted requests, and authorization."""

__all__: list[str] = []
