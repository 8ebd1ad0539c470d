"""An attacker: legal images that are slow to decode, files that must be refused, hostile bodies, clients that leave."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
from random import Random
from threading import Event, Thread
from types import TracebackType
from typing import Self

import grpc
import httpx

from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.hostile_bodies import random_body
from support.hostile_images import ATTACKS, LARGE

from .photos import unseen
from .service_calls import mask_task

__all__ = ["Attack"]

_SLOW = ("jpeg-progressive-444", "png", "tiff-jpeg", "gif")
_REFUSED = ("jpeg-scans-sof0-13k", "jpeg-padding-in-scan", "png-empty-blocks", "tiff-unknown-tags", "tiff-rationals")
_SLOWEST = "png-rgba16-50mp"
_STALLED = 20  # connections with half a request


class Attack:
    """Attackers at work until the block ends; a context manager.

    Parameters
    ----------
    grpc_address, http_address
        ``host:port`` of the server.
    attackers
        Number of threads; each sends its next message as soon as the last one is answered.
    only
        Name of the only image to send, one of `ATTACKS`; empty for all attacks.

    Attributes
    ----------
    answers
        Number of answers of each status.
    """

    def __init__(self, grpc_address: str, http_address: str, *, attackers: int, only: str = "") -> None:
        self.answers: Counter[str] = Counter()
        self._channel = grpc.insecure_channel(grpc_address)
        self._stub = MaskServiceStub(self._channel)
        self._http = httpx.Client(base_url=f"http://{http_address}", timeout=60)
        self._address = http_address.rpartition(":")
        slowest = ATTACKS[only or _SLOWEST]()
        files = [] if only else [LARGE[name]() for name in _SLOW] + [ATTACKS[name]() for name in _REFUSED]
        self._steps: list[Callable[[Random], None]] = [lambda _: self._generate(slowest)]
        for file in files:
            self._steps.append(lambda _, file=file: self._generate(file))  # type: ignore[misc]
        if not only:
            self._steps += [lambda _: self._submit_and_leave(slowest), self._post, self._post, self._stall]
        self._stalled: list[socket.socket] = []
        self._stopping = Event()
        self._threads = [Thread(target=self._run, args=[number]) for number in range(attackers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        for connection in self._stalled:
            connection.close()
        self._http.close()
        self._channel.close()

    def _run(self, number: int) -> None:
        random = Random(number)  # noqa: S311 (bodies, no secrets)
        for step in cycle(self._steps):
            if self._stopping.is_set():
                return
            try:
                step(random)
            except grpc.RpcError as error:
                self.answers[error.code().name] += 1
            except (httpx.HTTPError, OSError) as error:
                self.answers[type(error).__name__] += 1

    def _generate(self, file: bytes) -> None:
        self._stub.Generate(messages.GenerateRequest(task=mask_task(unseen(file), "everything")), timeout=60)
        self.answers["OK"] += 1

    def _submit_and_leave(self, file: bytes) -> None:
        task = mask_task(unseen(file), "everything")
        self._stub.Submit(messages.SubmitRequest(task=task), timeout=60)
        self._stub.Generate(messages.GenerateRequest(task=task), timeout=0.2)

    def _post(self, random: Random) -> None:
        body, content_type = random_body(random)
        with suppress(UnicodeEncodeError):  # the client's own refusal of a header
            response = self._http.post(
                "/v1/automatic-mask-generator", content=body, headers={"content-type": content_type}
            )
            self.answers[str(response.status_code)] += 1

    def _stall(self, _: Random) -> None:
        """Keep connections with half a request."""
        if len(self._stalled) >= _STALLED:
            self._stalled.pop(0).close()
        connection = socket.create_connection((self._address[0], int(self._address[2])))
        connection.sendall(
            b"POST /v1/automatic-mask-generator HTTP/1.1\r\nhost: localhost\r\ncontent-length: 30000000\r\n"
        )
        self._stalled.append(connection)
