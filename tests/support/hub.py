"""A local server with the parts of the Hub's API that its client uses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

__all__ = ["COMMIT", "repository", "serve"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serve(respond: Any, resumed: list[str] | None = None) -> Iterator[str]:
    """Run a server; `respond` maps a path to (status, headers, content). A content may be shorter than its length.

    Paths of which a client asks for the rest only are appended to `resumed`.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, content = respond(self.path)
            if status == 200 and (rest := self.headers.get("Range")):
                start = int(rest.removeprefix("bytes=").rstrip("-"))
                headers = {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
                status, content = 206, content[start:]
                if resumed is not None:
                    resumed.append(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def repository(folder: Path, model: str, size: int | None = None) -> Any:
    """Respond as the Hub does for a public repository of one commit; `size` is what it says of each file, if given."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    siblings = [{"rfilename": name, "size": size or len(content)} for name, content in files.items()]
    info = {"id": model, "sha": COMMIT, "siblings": siblings}

    def respond(path: str) -> tuple[int, dict[str, str], bytes]:
        if path.startswith(f"/api/models/{model}"):
            return 200, {"Content-Type": "application/json"}, json.dumps(info).encode()
        name = path.partition("/resolve/")[2].partition("/")[2]
        if path.startswith(f"/{model}/resolve/") and name in files:
            return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{name}-1"'}, files[name]
        return 404, {"X-Error-Code": "EntryNotFound"}, b""

    return respond
