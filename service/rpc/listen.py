"""The addresses that the gRPC server listens on.

They are checked before gRPC binds them: gRPC writes the reason of a failure to standard error and does not return it.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from ..config.settings import Settings
from ..errors import UnavailableError
from ..sockets import bind, format_address, tls_context

__all__ = ["Keepalive", "listen", "server_options"]


@dataclass(frozen=True, slots=True)
class Keepalive:
    """When a connection is closed, in seconds.

    Attributes
    ----------
    handshake
        From its start until its first frame has come.
    quiet
        Without a byte from the client, until it gets a ping.
    answer
        Until it has answered the ping.
    idle
        Without a call.
    """

    handshake: float = 10.0
    quiet: float = 30.0
    answer: float = 20.0  # a ping waits behind what a slow client has in its own queue
    idle: float = 1800.0


def server_options(max_message_bytes: int, keepalive: Keepalive = Keepalive()) -> list[tuple[str, int]]:
    """Return the options of a gRPC server."""
    answer = round(1e3 * keepalive.answer)
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # a second server on the same port must fail, not take half of the calls
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.server_handshake_timeout_ms", round(1e3 * keepalive.handshake)),
        ("grpc.http2.settings_timeout", round(1e3 * keepalive.handshake)),
        ("grpc.keepalive_time_ms", round(1e3 * keepalive.quiet)),
        ("grpc.keepalive_timeout_ms", answer),
        ("grpc.http2.ping_timeout_ms", answer),  # which gRPC waits for, whatever the line above says
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_connection_idle_ms", round(1e3 * keepalive.idle)),
    ]


def listen(server: grpc.aio.Server, settings: Settings) -> str:
    """Make a server listen on the address and the Unix socket in its settings.

    Returns
    -------
    str
        The address for clients; with the port that was chosen, if the port in the settings is 0.

    Raises
    ------
    UnavailableError
        An address is in use, or cannot be bound.
    ParameterError
        A certificate or key is invalid, or they do not belong together.
    OSError
        A certificate or key cannot be read.
    """
    address = format_address(settings.host, settings.port)
    credentials = _credentials(settings)
    for probe in bind(settings.host, settings.port):
        probe.close()
    try:
        port = _add_port(server, address, credentials)
        if settings.uds is not None:
            address = str(settings.uds.absolute())
            _check_unix_socket(settings.uds)
            _add_unix_socket(server, address)
    except (OSError, RuntimeError) as error:
        raise UnavailableError(f"cannot listen on {address}: {getattr(error, 'strerror', None) or error}") from error
    return format_address(settings.host, port)


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    cert, key, authority = settings.tls_cert, settings.tls_key, settings.client_ca
    if cert is None or key is None:
        return None
    pair = (key.read_bytes(), cert.read_bytes())
    tls_context(cert, key, authority)  # raises an error that says what is wrong
    if authority is None:
        return grpc.ssl_server_credentials([pair])
    return grpc.ssl_server_credentials([pair], authority.read_bytes(), require_client_auth=True)


def _check_unix_socket(path: Path) -> None:
    """Raise `OSError` unless the path is free, or holds the socket of a server that was killed."""
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {path.parent}")
    if path.exists() and not path.is_socket():
        raise FileExistsError(errno.EEXIST, "the file exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe, suppress(FileNotFoundError, ConnectionRefusedError):
        probe.connect(str(path))
        raise OSError(errno.EADDRINUSE, "another server listens there")


def _add_port(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    if credentials is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, credentials)


def _add_unix_socket(server: grpc.aio.Server, path: str) -> None:
    before = os.umask(0o177)  # a chmod afterwards would leave a moment in which anyone can connect
    try:
        server.add_insecure_port(f"unix:{path}")
    finally:
        os.umask(before)
