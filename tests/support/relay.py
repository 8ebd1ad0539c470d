"""A TCP relay in front of a server, whose connections a test can break."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread

__all__ = ["Relay", "relay"]


class Relay:
    """Relays connections to a server.

    Parameters
    ----------
    target
        ``host:port`` of the server.
    refuse
        Number of connections to close at once, before the first one that is relayed.
    """

    def __init__(self, target: str, refuse: int) -> None:
        host, _, port = target.rpartition(":")
        self._target, self.refuse = (host, int(port)), refuse
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = Lock()
        self._open: list[socket.socket] = []
        self._threads = [Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was shut down
            while True:
                near, _ = self._listener.accept()
                if self.refuse:
                    self.refuse -= 1
                    near.close()
                    continue
                far = socket.create_connection(self._target)
                with self._lock:
                    self._open += near, far
                for source, sink in ((near, far), (far, near)):
                    self._threads.append(Thread(target=self._copy, args=(source, sink)))
                    self._threads[-1].start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Break all connections; new ones are relayed."""
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Break all connections, and listen no longer."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self.cut()
        for thread in self._threads:
            thread.join()
        for one in (self._listener, *self._open):
            one.close()


@contextmanager
def relay(target: str, *, refuse: int = 0) -> Iterator[Relay]:
    """Run a relay until the block ends."""
    one = Relay(target, refuse)
    try:
        yield one
    finally:
        one.close()
