"""What is compared, known to the measurements and to the tables."""

from __future__ import annotations

SERVERS, CLIENTS = 3, 12
PHOTOS, CACHE_MB = 60, 80
"""Photos that clients send when cache hits are counted, and the cache of each replica then."""
STAND_IN_SECONDS = 0.05
CALLS = ("`Generate`", "`Submit`, then `GetResult`")
