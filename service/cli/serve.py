"""`automask serve`, with one option for each setting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from automask.errors import MissingDependencyError, ParameterError

from ..config.durations import format_duration
from ..config.settings import PREFIX, Settings, load_settings
from ..server import run
from ..telemetry.logs import configure_logs
from ..telemetry.tracing import configure_tracing

__all__ = ["serve"]

_DURATIONS = ("http_timeout", "retention", "drain")
_METAVARS = {
    "host": "ADDRESS",
    "public_url": "URL",
    "trusted_proxies": "ADDRESS",
    "fetch_urls": "POLICY",
    "allowed_hosts": "HOST",
    "cors_origins": "ORIGIN",
    "model": "MODEL",
    "device": "DEVICE",
    "engine": "ENGINE",
    "store": "FILE|URL",
    "media": "FOLDER|URL",
    "keys": "FILE|URL",
    "log_level": "LEVEL",
    **dict.fromkeys(_DURATIONS, "DURATION"),
}

_SINGULARS = {
    "allowed_hosts": ("--allowed-host",),
    "cors_origins": ("--cors-origin",),
    "trusted_proxies": ("--trusted-proxy",),
}


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, field in reversed(Settings.model_fields.items()):
        if name != "ray":  # a table, only in the file and the environment
            command = _option(name, field)(command)
    return command


def _option(name: str, field: FieldInfo) -> Callable[..., Any]:
    text = f"{field.description}{'' if '[default:' in str(field.description) else _default(name, field)}"
    flag = f"--{name.replace('_', '-')}"
    if field.annotation is bool and field.default:
        return click.option(f"{flag}/--no-{flag.removeprefix('--')}", default=None, help=text)
    if field.annotation is bool:
        return click.option(flag, is_flag=True, default=None, help=text)
    metavar = _METAVARS.get(name, "FILE" if "Path" in str(field.annotation) else "N")
    if isinstance(field.default, tuple):
        return click.option(*_SINGULARS.get(name, ()), flag, name, multiple=True, metavar=metavar, help=text)
    return click.option(flag, metavar=metavar, help=text)


def _default(name: str, field: FieldInfo) -> str:
    if field.annotation is bool or field.default in {None, (), PydanticUndefined}:
        return ""
    shown = ", ".join(field.default) if isinstance(field.default, tuple) else field.default
    if name in _DURATIONS:
        shown = format_duration(field.default)
    return f" [default: {shown}]"


@click.command(context_settings={"show_default": False, "max_content_width": 120})
@click.option("--config", type=click.Path(path_type=Path), envvar=f"{PREFIX}CONFIG", help="TOML file with settings.")
@_options
def serve(*, config: Path | None, **options: Any) -> None:  # noqa: ANN401 (checked by pydantic)
    """Serve masks over gRPC, and with --http-port over HTTP. SIGTERM or Ctrl-C let running tasks finish first.

    Every setting is also an environment variable (AUTOMASK_PORT=50051) and a key of the TOML file (port = 50051,
    model = ["default", "clipseg"]). The command line has priority over the environment, the environment over the file.

    \b
    automask serve
    automask serve --model default --model ./clipseg --uds /run/automask/automask.sock
    automask keys add camera --rate 30/s
    automask serve --engine ray --insecure --config ray.toml
    automask serve --host 0.0.0.0 --keys keys.sqlite3 --tls-cert server.pem --tls-key server.key --metrics-port 9090

    Then, from this or another machine:

    \b
    automask mask room.jpg "sofa" --server 127.0.0.1:50051

    Exit status: 0 after draining, 1 if the server cannot start, 2 wrong usage.
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)
    overrides = {name: value for name, value in options.items() if value not in {None, ()}}
    try:
        settings = load_settings(config, **overrides)
    except ParameterError as error:
        raise click.UsageError(str(error)) from error
    configure_logs(as_json=settings.log_json, level=settings.log_level)
    configure_tracing()
    if settings.engine == "ray":
        _run_on_ray(settings)
    else:
        asyncio.run(run(settings))


def _run_on_ray(settings: Settings) -> None:
    try:
        from ..ray import cluster
    except ImportError as error:
        raise MissingDependencyError(f"{error}; for --engine ray: pip install 'automask[ray]'") from error
    cluster.run(settings)
