"""Reverse proxies in front of a server: nginx, and a small one for machines without nginx."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from .ports import free_port

__all__ = ["NGINX", "nginx", "small_proxy"]

NGINX = shutil.which("nginx")

_NGINX = """
{user} daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;
events {{}}
http {{
  access_log off; client_max_body_size 0;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{port};
    location {prefix}/ {{
      proxy_pass http://{upstream}/;
      proxy_set_header Host localhost;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Prefix {prefix};
    }}
  }}
}}
"""


@contextmanager
def nginx(upstream: str, prefix: str, folder: Path) -> Iterator[str]:
    """Run nginx in front of a server, configured as docs/hosted.md shows, and yield its URL."""
    port = free_port()  # nginx cannot choose one itself
    config = folder / "nginx.conf"
    user = "user root root;" if os.geteuid() == 0 else ""  # else its workers could not write to the folder
    config.write_text(_NGINX.format(user=user, folder=folder, port=port, prefix=prefix, upstream=upstream))
    command = [str(NGINX), "-p", str(folder), "-c", str(config), "-e", "stderr"]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        transport = httpx.HTTPTransport(retries=9)  # with a pause between them, until nginx listens
        with httpx.Client(transport=transport, timeout=60) as client:
            client.get(f"http://127.0.0.1:{port}/")
        try:
            yield f"http://127.0.0.1:{port}{prefix}"
        finally:
            process.terminate()


@contextmanager
def small_proxy(upstream: str, prefix: str, folder: Path) -> Iterator[str]:
    """Run a proxy of a few lines in front of a server, which does what the nginx configuration above does."""
    del folder
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{listener.getsockname()[1]}"

    async def forward(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        forwarded = {
            "host": "localhost",
            "x-forwarded-host": request.headers["host"],
            "x-forwarded-proto": "http",
            "x-forwarded-for": request.client.host if request.client else "",
            "x-forwarded-prefix": prefix,
        }
        url = f"http://{upstream}{request.url.path.removeprefix(prefix)}?{request.url.query}"
        async with httpx.AsyncClient(timeout=60) as client:
            response = await client.request(
                request.method, url, headers={**request.headers, **forwarded}, content=await request.body()
            )
        await Response(response.content, response.status_code, dict(response.headers))(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(forward, lifespan="off", ws="none", log_config=None, proxy_headers=False))
    thread = Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        yield f"http://{address}{prefix}"
    finally:
        server.should_exit = True
        thread.join()
