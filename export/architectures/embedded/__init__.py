"""The embedded default bundle, rebuilt from files in package registries."""
