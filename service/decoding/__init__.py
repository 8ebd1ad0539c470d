"""Decoding of images in processes that can be killed: what a file does to a decoder ends with its process."""

__all__: list[str] = []
