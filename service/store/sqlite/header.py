"""The header of an SQLite file, read without SQLite: neither the file nor its log is changed or created."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["Header", "read_header"]

_MAGIC: Final = b"SQLite format 3\0"
_BYTES: Final = 100
_LOG_MAGICS: Final = {0x377F0682, 0x377F0683}
_LOG_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class Header:
    """The first 100 bytes of an SQLite file.

    Attributes
    ----------
    content
        The bytes; fewer if the file is shorter.
    """

    content: bytes

    @property
    def is_sqlite(self) -> bool:
        """Whether the file begins as SQLite files do."""
        return len(self.content) == _BYTES and self.content.startswith(_MAGIC)

    @property
    def application_id(self) -> int:
        """The program that the file belongs to; 0 if none has been set."""
        return int.from_bytes(self.content[68:72])

    @property
    def user_version(self) -> int:
        """Version of the tables."""
        return int.from_bytes(self.content[60:64], signed=True)

    @property
    def formats(self) -> tuple[int, ...]:
        """Versions of the file format for writing and for reading: 1 with a journal, 2 with a log."""
        return tuple(self.content[18:20])


def read_header(path: Path) -> Header:
    """Return the header of a file, as of the last transaction in its log.

    The log's checksums are not verified: if the machine lost power during the first transaction of a newer version,
    the header is that of the newer version.

    Parameters
    ----------
    path
        The file.
    """
    with path.open("rb") as file:
        content = file.read(_BYTES)
    log = path.with_name(f"{path.name}-wal")
    if not log.exists():
        return Header(content)
    with log.open("rb") as file:
        return Header(_last_in_log(file) or content)


def _last_in_log(log: BinaryIO) -> bytes | None:
    """Return the header in the last committed copy of page 1; None if the log holds none."""
    start = log.read(_LOG_HEADER_BYTES)
    page_size, salts = int.from_bytes(start[8:12]), start[16:24]
    if len(start) < _LOG_HEADER_BYTES or int.from_bytes(start[:4]) not in _LOG_MAGICS or page_size < _BYTES:
        return None
    committed = pending = None
    while frame := _read_frame(log, page_size, salts):
        number, commits, content = frame
        if number == 1:
            pending = content
        if commits:
            committed = pending
    return committed


def _read_frame(log: BinaryIO, page_size: int, salts: bytes) -> tuple[int, bool, bytes] | None:
    """Return page number, whether the frame ends a transaction, and the page's first bytes; None after the last one."""
    frame = log.read(_FRAME_HEADER_BYTES)
    content = log.read(_BYTES)
    log.seek(page_size - len(content), 1)
    if len(content) < _BYTES or frame[8:16] != salts:  # other salts: left over from before the log began anew
        return None
    return int.from_bytes(frame[:4]), frame[4:8] != bytes(4), content
