"""Comparison of a local server with the hosted API."""
