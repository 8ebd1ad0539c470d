"""Ports for programs that cannot choose a free one themselves, or that need the same one again after a restart."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path

__all__ = ["free_port"]

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LEAST = 20_000  # Ray's workers take those from 10,002 on


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1 that the kernel gives to no other program.

    It is below those from which the kernel chooses for connections and for servers without a port of their own: one of
    those could be in use again before the program listens, or while it restarts.
    """
    end = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768
    ports = random.sample(range(_LEAST, end), min(100, end - _LEAST)) if end > _LEAST else []
    for port in (*ports, 0):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)) as probe:
            return int(probe.getsockname()[1])
    raise RuntimeError("no port of 127.0.0.1 is free")
