"""The commands of the service: `serve`, `keys`, and those of a client."""
