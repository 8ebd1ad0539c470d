"""All settings of a server, each from the command line, the environment, or a TOML file."""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import TomlConfigSettingsSource

from automask.devices import AUTO, Device, device_names
from automask.errors import ParameterError

from .durations import parse_duration
from .locations import PostgresUrl, parse_location
from .ray import RaySettings

__all__ = ["PREFIX", "Settings", "load_settings", "state_folder"]

PREFIX = "AUTOMASK_"
_DEVICES = " or ".join(", ".join(device_names()).rsplit(", ", 1))

Duration = Annotated[float, BeforeValidator(parse_duration)]
Names = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    NoDecode,
    BeforeValidator(lambda value: tuple(map(str.strip, value.split(","))) if isinstance(value, str) else value),
]


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ParameterError("trusted_proxies", "be addresses or networks such as 10.0.0.0/8", text) from None


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ParameterError("public_url", "be a URL such as https://example.org/masks", text)
    return text.rstrip("/")


def _host_name(text: str) -> str:
    if text != "*" and not re.fullmatch(r"[\w.-]+|[0-9A-Fa-f:.]+", text):
        raise ParameterError("allowed_hosts", "be host names without port, such as masks.example.org, or *", text)
    return text.lower()


Location = Annotated[Path | InstanceOf[PostgresUrl], BeforeValidator(parse_location)]
Networks = Annotated[Names, AfterValidator(lambda names: tuple(map(_network, names)))]
HostNames = Annotated[Names, AfterValidator(lambda names: tuple(map(_host_name, names)))]
HttpUrl = Annotated[str, AfterValidator(_http_url)]

_MIN_INFLIGHT = 256_000_000  # bytes, by default
_REQUIREMENTS = {"too_short": "name at least one", "string_too_short": "not be empty", "path_type": "be a path"}


def state_folder() -> Path:
    """Return the folder for data that outlives a restart: ``$XDG_STATE_HOME/automask``."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "automask"


class _ServerToml(TomlConfigSettingsSource):
    """The TOML file, without the tables that `automask mask` and `automask cutout` read."""

    def __call__(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in super().__call__().items()
            if name not in {"mask", "cutout"} or not isinstance(value, dict)
        }


class Settings(BaseSettings):
    """Settings of a server. Priority: keyword arguments, variables ``AUTOMASK_…``, the TOML file, defaults.

    An empty variable counts as unset.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,  # lets a user unset a variable of a container image
        env_nested_delimiter="_",  # AUTOMASK_RAY_MAX_REPLICAS
        env_nested_max_split=1,
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
    )

    host: str = Field("127.0.0.1", description="Address to listen on; without --keys and TLS, loopback only.")
    port: int = Field(50051, ge=0, le=65535, description="Port for gRPC; 0 picks a free port and logs it.")
    http_port: int | None = Field(
        None, ge=0, le=65535, description="Port for HTTP, on the same address; 0 picks a free port."
    )
    public_url: HttpUrl | None = Field(None, description="URL of the server for HTTP clients, if behind a proxy.")
    trusted_proxies: Networks = Field((), description="Proxies whose X-Forwarded-* headers are trusted; repeatable.")
    http_timeout: Duration = Field(60, gt=0, description="Timeout of an HTTP call, including its upload.")
    fetch_urls: Literal["public", "off", "any"] = Field(
        "public", description="Fetch images by URL: from public addresses only (public), off, or any."
    )
    allowed_hosts: HostNames = Field(
        (),
        description="Host names in HTTP calls, besides loopback, --host and --public-url; * for any; repeatable. "
        "[default: any with --keys]",
    )
    cors_origins: Names = Field(
        (), description="Origins of web pages allowed to call over HTTP (CORS), * for all; repeatable."
    )
    uds: Path | None = Field(None, description="Unix socket to listen on as well: lowest latency on one machine.")
    model: Names = Field(
        ("default",), min_length=1, description="Name (`automask models`), bundle folder or Hub id; repeatable."
    )
    device: Device = Field(AUTO, description=f"Device for the models: {_DEVICES}.")
    prove: bool = Field(
        True, description="Compare each model with its proof, once for each device, before it is served."
    )
    workers: int | None = Field(None, ge=1, description="Tasks to run at once. [default: CPU cores, 2 on a GPU]")
    threads: int | None = Field(None, ge=1, description="CPU threads of one graph. [default: one per core]")
    cache_mb: int = Field(256, ge=0, description="Maximum size, in MB, of each model's cache of image encodings.")
    gpu_memory_mb: int | None = Field(
        None, ge=1, description="Maximum GPU memory, in MB, of each graph of a model. [default: no limit]"
    )
    cuda_graphs: bool = Field(
        default=False, description="Record graphs of fixed shapes on an NVIDIA GPU, and replay each as a whole."
    )
    gpu_cache_mb: int = Field(
        1000, ge=0, description="Maximum size, in MB, of each model's cache of image encodings in the memory of a GPU."
    )
    max_queue: int = Field(256, ge=1, description="Maximum number of waiting tasks, and of waiting requests.")
    max_image_mb: float = Field(32, gt=0, le=1024, description="Maximum size, in MB, of an image file or raw pixels.")
    decode_timeout: Duration = Field(
        5,
        gt=0,
        description="Maximum processor time to decode an image; the limit by the clock is four times as long.",
    )
    decode_processes: int = Field(
        4,
        ge=0,
        description="Maximum number of processes that decode images; 0 decodes in the server itself.",
    )
    max_inflight_mb: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Maximum size, in MB, of all bodies and messages held at once. "
        "[default: 4 of the largest, and one more per worker; at least 256]",
    )
    max_batch: int = Field(16, ge=1, description="Maximum number of tasks on one image that run as one batch.")
    batch_wait_ms: float = Field(
        0, ge=0, le=1000, description="Time, in ms, to collect a batch while workers are busy."
    )
    store: Location = Field(
        default_factory=lambda: state_folder() / "requests.sqlite3",
        description="SQLite file or postgresql:// URL of submitted requests. "
        "[default: ~/.local/state/automask/requests.sqlite3]",
    )
    media: str | None = Field(
        None,
        min_length=1,
        description="Folder or URL (fsspec, such as s3://bucket/prefix) for large media of a PostgreSQL store.",
    )
    media_from_kb: float = Field(
        256, ge=0, le=1e6, description="Minimum size, in KB, of media stored outside the database."
    )
    retention: Duration = Field(3600, gt=0, description="Time to keep a finished request, such as 1h or 30m.")
    max_store_gb: float = Field(
        4, gt=0, le=1e6, description="Maximum size, in GB, of the store; when full, new requests are rejected."
    )
    keys: Location | None = Field(
        None,
        description="SQLite file or postgresql:// URL of API keys (`automask keys`). Without keys, anyone may call.",
    )
    tls_cert: Path | None = Field(None, description="Certificate chain for TLS (PEM).")
    tls_key: Path | None = Field(None, description="Private key of the certificate (PEM).")
    client_ca: Path | None = Field(None, description="Require client certificates of this authority (PEM).")
    insecure: bool = Field(False, description="Allow other addresses than loopback without keys and TLS.")
    metrics_port: int | None = Field(
        None, ge=0, le=65535, description="Port for Prometheus, on the same address, with TLS if it is set."
    )
    metrics_auth: bool = Field(False, description="Require an API key for metrics: as a bearer token, or as x-api-key.")
    drain: Duration = Field(30, ge=0, description="Time for running tasks to finish after SIGTERM.")
    engine: Literal["local", "ray"] = Field("local", description="Where models run: local (this process) or ray.")
    ray: RaySettings = Field(RaySettings(), description="Replicas and their resources, for engine = ray.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning, error.")
    log_json: bool = Field(False, description="Log JSON, one object per line.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment and the TOML file of `load_settings`; no .env file, no secrets folder."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _ServerToml(settings_cls)

    @property
    def max_image_bytes(self) -> int:
        """Maximum size of an image, in bytes."""
        return round(self.max_image_mb * 1e6)

    @property
    def max_inflight_bytes(self) -> int:
        """Maximum size of all bodies and messages that the server holds at once, in bytes."""
        if self.max_inflight_mb is not None:
            return round(self.max_inflight_mb * 1e6)
        return max(_MIN_INFLIGHT, self.max_message_bytes * (4 + (self.workers or os.cpu_count() or 1)))

    @property
    def max_message_bytes(self) -> int:
        """Maximum size of a gRPC message, in bytes."""
        # More than an image, so that a too large image is rejected by automask, whose error says why, not by gRPC.
        return self.max_image_bytes + (16 << 20)

    def check(self) -> None:
        """Check the combination of settings.

        Raises
        ------
        ParameterError
            TLS settings are incomplete, a setting does not fit the engine, or the address is open to other machines
            without keys and TLS.
        """
        least = math.ceil(2e-6 * self.max_message_bytes)
        if self.max_inflight_bytes < least * 1e6:
            requirement = f"be at least {least} MB, twice the largest message with max_image_mb = {self.max_image_mb:g}"
            raise ParameterError("max_inflight_mb", requirement, self.max_inflight_mb)
        if self.engine == "ray":
            self._check_ray()
            return
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ParameterError("tls_cert and tls_key", "be set together", str(self.tls_cert or self.tls_key))
        if self.client_ca is not None and self.tls_cert is None:
            raise ParameterError("client_ca", "be set together with tls_cert and tls_key", str(self.client_ca))
        if self.metrics_auth and (self.keys is None or self.metrics_port is None):
            raise ParameterError("metrics_auth", "be set together with keys and metrics_port", str(self.metrics_auth))
        if not self.insecure and not _is_loopback(self.host) and not (self.keys and self.tls_cert):
            requirement = (
                "be a loopback address unless keys, tls_cert and tls_key are set (--insecure lets anyone call who "
                "reaches this machine)"
            )
            raise ParameterError("host", requirement, self.host)

    def _check_ray(self) -> None:
        for name in ("uds", "tls_cert", "tls_key", "client_ca", "metrics_port"):
            if getattr(self, name) is not None:
                requirement = "be unset with engine = ray: Ray Serve's proxies listen, behind an ingress"
                raise ParameterError(name, requirement, str(getattr(self, name)))
        if not self.insecure and self.keys is None:
            requirement = (
                "be used with keys, because Ray Serve's port is open on every address (--insecure lets anyone call)"
            )
            raise ParameterError("engine", requirement, self.engine)
        if self.metrics_auth:
            raise ParameterError("metrics_auth", "be unset with engine = ray, whose agents export metrics", "True")
        self.ray.check(device=self.device)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:  # noqa: ANN401 (checked by pydantic)
    """Load the settings.

    Parameters
    ----------
    config
        TOML file with the field names of `Settings` as its keys.
    **overrides
        Settings with priority over the environment and the file.

    Raises
    ------
    ParameterError
        A setting is unknown, invalid, or does not fit another one.
    OSError
        The file cannot be read.
    """
    if config is not None:
        config.open("rb").close()  # pydantic treats a missing file as an empty one

    class _WithFile(Settings):
        model_config = SettingsConfigDict(toml_file=config)

    try:
        settings = _WithFile(**overrides)
    except ValidationError as error:
        raise _to_parameter_error(error.errors()[0], config, overrides) from error
    except ValueError as error:  # a syntax error in the TOML file
        raise ParameterError("config", f"be a TOML file ({error})", str(config)) from error
    settings.check()
    return settings


def _to_parameter_error(
    problem: Mapping[str, Any], config: Path | None, overrides: Mapping[str, Any]
) -> ParameterError:
    path = problem["loc"][:2] if problem["loc"][0] == "ray" else problem["loc"][:1]
    name = ".".join(map(str, path))
    parameter = name + _source(name, config, overrides)
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, ParameterError):
        return ParameterError(parameter, cause.requirement, cause.value)
    if problem["type"] == "extra_forbidden":
        known = RaySettings.model_fields if name.startswith("ray.") else Settings.model_fields
        return ParameterError(parameter, f"be one of {', '.join(known)}", problem["input"])
    requirement = _REQUIREMENTS.get(problem["type"]) or problem["msg"].removeprefix("Input should ")
    return ParameterError(parameter, requirement, problem["input"])


def _source(name: str, config: Path | None, overrides: Mapping[str, Any]) -> str:
    """Return where a setting comes from, in brackets; empty for an override."""
    if name.partition(".")[0] in overrides:
        return ""
    variable = PREFIX + name.upper().replace(".", "_")
    return f" (in {variable if variable in os.environ or config is None else config})"
