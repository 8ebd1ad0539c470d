"""Large tasks and results, outside the database: in a folder, or in an object store such as S3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from automask.errors import MissingDependencyError, ParameterError

from ...errors import StoreError
from ...postgres.database import StoreUnavailableError

__all__ = ["Media"]

_AGAIN: Final = 5.0  # seconds after which a client may try again


class Media:
    """Objects by name.

    Parameters
    ----------
    place
        A folder, or a URL that fsspec knows, such as ``s3://bucket/prefix``.

    Raises
    ------
    ParameterError
        It is neither.
    MissingDependencyError
        What speaks to it is not installed.
    """

    def __init__(self, place: str) -> None:
        try:
            from fsspec.core import url_to_fs
            from fsspec.implementations.local import LocalFileSystem

            self._files, self._root = url_to_fs(place)
        except ImportError as error:
            raise MissingDependencyError(f"{error}; for media in {place!r}") from error
        except ValueError as error:
            right = f"be a folder or a URL such as s3://bucket/prefix ({error})"
            raise ParameterError("media", right, place) from error
        self._place = place
        self._is_local = isinstance(self._files, LocalFileSystem)
        if self._is_local:
            with self._explained():
                self._files.makedirs(self._root, exist_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """Keep an object; it is on disk when this returns."""
        with self._explained(), self._files.open(self._path(name), "wb") as file:
            file.write(data)
            if self._is_local:
                file.flush()
                os.fsync(file.fileno())

    def read(self, name: str) -> bytes:
        """Give an object; `StoreError` where it is gone."""
        with self._explained():
            try:
                data: bytes = self._files.cat_file(self._path(name))
            except FileNotFoundError as error:
                raise StoreError(f"its object {name} is gone from {self._place}: somebody deleted it there") from error
            return data

    def delete(self, name: str) -> None:
        """Drop an object, if it is there."""
        with self._explained(), suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # each kind of store has errors of its own
            raise StoreUnavailableError(f"{self._place} cannot be used: {error}", retry_after=_AGAIN) from error
