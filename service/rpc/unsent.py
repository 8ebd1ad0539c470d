"""Answers that clients have not taken yet: their bytes, and the connections that are closed because nothing moves."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from time import monotonic
from typing import Final
from urllib.parse import unquote

import structlog
from google.protobuf.message import Message

from ..core.inflight import InFlight

__all__ = ["UnsentAnswers"]

_LOOK_SECONDS: Final = 30.0
_LEAST_RATE: Final = 1000  # bytes per second; a client that takes less, while answers wait, is closed
_BYTES_ACKED: Final = 120  # offset in Linux's tcp_info, from Linux 4.1 on
_DESCRIPTORS: Final = Path("/proc/self/fd")

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Connection:
    """A connection with answers that wait.

    Attributes
    ----------
    waiting
        When each of them was ready, oldest first; the keys only distinguish them.
    looked, taken
        When it was looked at last, and how many bytes its client had taken by then.
    """

    waiting: dict[object, float] = field(default_factory=dict)
    looked: float = 0.0
    taken: int = 0


class UnsentAnswers:
    """Counts answers until gRPC has sent them, and closes connections whose clients do not read while memory is short.

    A client can answer pings and make no room for its answers; gRPC then keeps them, and can cancel neither a sent
    answer nor one connection. So the socket itself is shut down: that needs Linux, and a TCP connection.

    Parameters
    ----------
    in_flight
        Limits the bytes.
    seconds
        How often connections are looked at on which answers wait.
    """

    def __init__(self, in_flight: InFlight, seconds: float = _LOOK_SECONDS) -> None:
        self._in_flight, self._seconds = in_flight, seconds
        self._connections: dict[str, _Connection] = {}

    @contextmanager
    def sending(self, message: Message, peer: str) -> Iterator[bytes]:
        """Yield the bytes of an answer, which count until the block ends.

        Parameters
        ----------
        message
            The answer.
        peer
            The connection, as `ServicerContext.peer` returns it.

        Raises
        ------
        QueueFullError
            Too many bytes are in flight.
        """
        with self._in_flight.call() as held:
            held.add(message.ByteSize())
            data = message.SerializeToString()
            del message
            waiting = self._open(peer).waiting
            waiting[held] = monotonic()
            try:
                yield data
            finally:
                del waiting[held]

    def send_until_done(self, message: Message, peer: str) -> bytes:
        """Return the bytes of an answer, which count until the current task ends; raises as `sending` does."""
        with ExitStack() as stack:
            data = stack.enter_context(self.sending(message, peer))
            task = asyncio.current_task()
            if task is not None:
                end = stack.pop_all().close
                task.add_done_callback(lambda _: end())
        return data

    def _open(self, peer: str) -> _Connection:
        connection = self._connections.get(peer)
        if connection is None:
            connection = self._connections[peer] = _Connection()
            self._look_later(peer)
        return connection

    def _look_later(self, peer: str) -> None:
        asyncio.get_running_loop().call_later(self._seconds, self._look, peer)

    def _look(self, peer: str) -> None:
        """Close a connection on which the oldest answer has waited since the last look, and nothing has moved.

        A client may pause while there is room: it may be a program in a debugger.
        """
        connection, now = self._connections[peer], monotonic()
        if not connection.waiting:
            del self._connections[peer]
            return
        has_waited = next(iter(connection.waiting.values())) <= connection.looked
        is_short = self._in_flight.used > self._in_flight.limit / 2
        with suppress(OSError), _find_socket(peer) as found:
            taken = _bytes_taken(found)
            if is_short and has_waited and taken - connection.taken < _LEAST_RATE * (now - connection.looked):
                _log.warning("connection closed: its client reads no answers", answers=len(connection.waiting))
                found.shutdown(socket.SHUT_RDWR)
            connection.looked, connection.taken = now, taken
        self._look_later(peer)


def _find_socket(peer: str) -> socket.socket:
    """Return a duplicate of this process's socket of a connection; raise `OSError` if it is not found."""
    kind, _, rest = peer.partition(":")
    host, _, port = unquote(rest).rpartition(":")
    for descriptor in _DESCRIPTORS.iterdir() if kind in {"ipv4", "ipv6"} else ():
        copy = _duplicate(int(descriptor.name))
        if copy is not None and _is_peer(copy, host, int(port)):
            return copy
        if copy is not None:
            copy.close()
    raise FileNotFoundError(peer)


def _duplicate(descriptor: int) -> socket.socket | None:
    with suppress(OSError):  # closed meanwhile
        copy = os.dup(descriptor)
        try:
            return socket.socket(fileno=copy)
        except OSError:  # no socket
            os.close(copy)
    return None


def _is_peer(connection: socket.socket, host: str, port: int) -> bool:
    if connection.family not in {socket.AF_INET, socket.AF_INET6} or connection.type != socket.SOCK_STREAM:
        return False
    with suppress(OSError):  # it listens, or was closed
        there = connection.getpeername()
        return (_address(there[0]), there[1]) == (_address(host), port)
    return False


def _address(host: str) -> IPv4Address | IPv6Address:
    address = ip_address(host.strip("[]").partition("%")[0])
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _bytes_taken(connection: socket.socket) -> int:
    """Return how many bytes the other side has acknowledged; 0 if the system does not say."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return struct.unpack_from("Q", info, _BYTES_ACKED)[0] if len(info) >= _BYTES_ACKED + 8 else 0
