"""Where a server listens. What stands against it is found first: gRPC tells the reason to standard error only."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import grpc
import grpc.aio

from automask.errors import ParameterError

from ..config.settings import Settings
from ..errors import UnavailableError

__all__ = ["bare", "bind", "join", "listen"]


def bare(host: str) -> str:
    """Take the brackets off an IPv6 address."""
    return host.removeprefix("[").removesuffix("]")


def join(host: str, port: int) -> str:
    """Write an address as clients take it: ``127.0.0.1:50051``, ``[::1]:50051``."""
    host = bare(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen(server: grpc.aio.Server, settings: Settings) -> str:
    """Have a server listen where the settings say.

    Returns
    -------
    str
        Where clients connect to, with the port that was taken where none was said.

    Raises
    ------
    UnavailableError
        Nothing can listen there, or something does already.
    ParameterError
        What should be a certificate or a key is none, or they do not go together.
    OSError
        A certificate or a key cannot be read.
    """
    address = join(settings.host, settings.port)
    credentials = _credentials(settings)
    try:
        _check_address(bare(settings.host), settings.port)
        port = _add_port(server, address, credentials)
        if settings.uds is not None:
            address = str(settings.uds.absolute())
            _check_socket(settings.uds)
            _add_socket(server, address)
    except (OSError, RuntimeError) as error:
        raise UnavailableError(f"cannot listen on {address}: {getattr(error, 'strerror', None) or error}") from error
    return join(settings.host, port)


def bind(settings: Settings, port: int) -> list[socket.socket]:
    """Take a port beside the one for gRPC, on the same address.

    Raises
    ------
    UnavailableError
        Something listens there already, or nothing can.
    """
    try:
        return _bind(bare(settings.host), port)
    except OSError as error:
        raise UnavailableError(f"cannot listen on {join(settings.host, port)} for HTTP: {error.strerror}") from error


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    cert, key, authority = settings.tls_cert, settings.tls_key, settings.client_ca
    if cert is None or key is None:
        return None
    pair = (key.read_bytes(), cert.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        right = f"be a certificate chain and its key without a password, in PEM ({error.reason or error})"
        raise ParameterError("tls_cert and tls_key", right, f"{cert} and {key}") from error
    if authority is None:
        return grpc.ssl_server_credentials([pair])
    try:
        context.load_verify_locations(authority)
    except ssl.SSLError as error:
        right = f"be certificates in PEM ({error.reason or error})"
        raise ParameterError("client_ca", right, str(authority)) from error
    return grpc.ssl_server_credentials([pair], authority.read_bytes(), require_client_auth=True)


def _check_address(host: str, port: int) -> None:
    """Bind what gRPC will bind."""
    for probe in _bind(host, port):
        probe.close()


def _bind(host: str, port: int) -> list[socket.socket]:
    """Bind each address that a name stands for, of which one may be missing on this machine."""
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
            port = one.getsockname()[1]  # where any was good, all take the same
    if not sockets or any(problem.errno == errno.EADDRINUSE for problem in problems):
        for one in sockets:
            one.close()
        raise problems[0]
    return sockets


def _check_socket(path: Path) -> None:
    """Let a socket that a killed server left be replaced, and nothing else."""
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {path.parent}")
    if path.exists() and not path.is_socket():
        raise FileExistsError(errno.EEXIST, "it is there already, and no socket")
    with socket.socket(socket.AF_UNIX) as probe, suppress(FileNotFoundError, ConnectionRefusedError):
        probe.connect(str(path))
        raise OSError(errno.EADDRINUSE, "a server does already")


def _add_port(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    if credentials is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, credentials)


def _add_socket(server: grpc.aio.Server, path: str) -> None:
    before = os.umask(0o177)  # a chmod afterwards would leave a moment in which anyone connects
    try:
        server.add_insecure_port(f"unix:{path}")
    finally:
        os.umask(before)
