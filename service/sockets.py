"""TCP sockets, TLS and addresses of a server."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path

from automask.errors import ParameterError

from .errors import UnavailableError

__all__ = ["bind", "format_address", "tls_context", "without_brackets"]


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


def tls_context(certificate: Path, key: Path, authority: Path | None) -> ssl.SSLContext:
    """Return the TLS context of a server.

    Parameters
    ----------
    certificate, key
        Certificate chain and its private key, in PEM.
    authority
        Require client certificates of this authority (PEM); None for no client certificates.

    Raises
    ------
    ParameterError
        A certificate or key is invalid, or they do not belong together.
    OSError
        A certificate or key cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        right = f"be a certificate chain and its key without a password, in PEM ({error.reason or error})"
        raise ParameterError("tls_cert and tls_key", right, f"{certificate} and {key}") from error
    if authority is not None:
        try:
            context.load_verify_locations(authority)
        except ssl.SSLError as error:
            right = f"be certificates in PEM ({error.reason or error})"
            raise ParameterError("client_ca", right, str(authority)) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context
