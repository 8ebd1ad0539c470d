"""Settings: command line, environment and TOML file."""
