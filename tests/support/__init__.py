"""Fixtures that start real servers, databases and clusters, and the files they work on."""
