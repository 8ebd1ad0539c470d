"""TCP sockets and addresses of a server."""

from __future__ import annotations

import errno
import socket

from .errors import UnavailableError

__all__ = ["bind", "format_address", "without_brackets"]


def without_brackets(host: str) -> str:
    """Return a host without the brackets of an IPv6 address."""
    return host.removeprefix("[").removesuffix("]")


def format_address(host: str, port: int) -> str:
    """Return an address as clients take it: ``127.0.0.1:50051``, ``[::1]:50051``."""
    host = without_brackets(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind(host: str, port: int, *, use: str = "") -> list[socket.socket]:
    """Bind a socket to each address of a host, all with the same port. An address that this machine lacks is skipped.

    Parameters
    ----------
    host, port
        What to bind; port 0 means any free port.
    use
        What the sockets are for, such as ``"HTTP"``: for the error.

    Raises
    ------
    UnavailableError
        One of the addresses is in use, or none can be bound.
    """
    try:
        return _bind(without_brackets(host), port)
    except OSError as error:
        address = format_address(host, port) + f" for {use}" * bool(use)
        raise UnavailableError(f"cannot listen on {address}: {error.strerror or error}") from error


def _bind(host: str, port: int) -> list[socket.socket]:
    problems, sockets = [], []
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in found:
        one = socket.socket(family, kind, protocol)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((address[0], port, *address[2:]))
        except OSError as error:
            one.close()
            problems.append(error)
        else:
            sockets.append(one)
            port = one.getsockname()[1]
    if not sockets or any(problem.errno == errno.EADDRINUSE for problem in problems):
        for one in sockets:
            one.close()
        raise problems[0]
    return sockets
