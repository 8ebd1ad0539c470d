"""Settings of a server: command line, environment and TOML file."""

__all__: list[str] = []
