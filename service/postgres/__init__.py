"""What requests and keys share where they are kept in a PostgreSQL database."""

__all__: list[str] = []
