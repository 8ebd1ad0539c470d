"""Storage of large tasks and results outside the database: a folder, or an object store such as S3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from automask.errors import MissingDependencyError, ParameterError

from ...errors import StoreError, StoreUnavailableError

__all__ = ["Media"]

_RETRY_AFTER: Final = 5.0  # seconds


class Media:
    """Objects by name.

    Parameters
    ----------
    location
        A folder, or a URL that fsspec supports, such as ``s3://bucket/prefix``.

    Raises
    ------
    ParameterError
        `location` is neither.
    MissingDependencyError
        The driver for this kind of URL is not installed.
    """

    def __init__(self, location: str) -> None:
        try:
            from fsspec.core import url_to_fs
            from fsspec.implementations.local import LocalFileSystem

            self._files, self._root = url_to_fs(location)
        except ImportError as error:
            raise MissingDependencyError(f"{error}; for media in {location!r}") from error
        except ValueError as error:
            requirement = f"be a folder or a URL such as s3://bucket/prefix ({error})"
            raise ParameterError("media", requirement, location) from error
        self._location = location
        self._is_local = isinstance(self._files, LocalFileSystem)
        if self._is_local:
            with self._store_errors():
                Path(self._root).mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """Write an object. When this returns, it is on disk."""
        with self._store_errors():
            if not self._is_local:
                with self._files.open(self._path(name), "wb") as remote:
                    remote.write(data)
                return
            with open(self._path(name), "wb", opener=_open_private) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

    def read(self, name: str) -> bytes:
        """Return an object; `StoreError` if it does not exist."""
        with self._store_errors():
            try:
                data: bytes = self._files.cat_file(self._path(name))
            except FileNotFoundError as error:
                raise StoreError(f"its object {name} is gone from {self._location}: it was deleted there") from error
            return data

    def delete(self, name: str) -> None:
        """Delete an object, if it exists."""
        with self._store_errors(), suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # each kind of storage has errors of its own
            raise StoreUnavailableError(
                f"{self._location} cannot be used: {error}", retry_after=_RETRY_AFTER
            ) from error


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
