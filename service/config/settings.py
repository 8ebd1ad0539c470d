"""Everything that can be said about a server: on the command line, in the environment, or in a TOML file."""

from __future__ import annotations

import ipaddress
import os
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


Location = Annotated[Path | InstanceOf[PostgresUrl], BeforeValidator(parse_location)]
Networks = Annotated[Names, AfterValidator(lambda names: tuple(map(_network, names)))]
HttpUrl = Annotated[str, AfterValidator(_http_url)]

_REQUIREMENTS = {"too_short": "name at least one", "string_too_short": "not be empty", "path_type": "be a path"}


def state_folder() -> Path:
    """Folder for what must outlive a restart: ``$XDG_STATE_HOME/automask``."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "automask"


class Settings(BaseSettings):
    """What a server is told. What stands first wins: the caller, ``AUTOMASK_…``, the TOML file, the default.

    A variable that is empty says nothing.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,  # takes back what an image says, where nothing can take back a variable
        env_nested_delimiter="_",  # AUTOMASK_RAY_MAX_REPLICAS
        env_nested_max_split=1,
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
    )

    host: str = Field("127.0.0.1", description="Address to listen on; any but a loopback one needs --keys and TLS.")
    port: int = Field(50051, ge=0, le=65535, description="Port to listen on; 0 takes a free one and says which.")
    http_port: int | None = Field(None, ge=0, le=65535, description="Port for HTTP, on the same address; 0 as above.")
    public_url: HttpUrl | None = Field(None, description="URL at which HTTP clients find the server behind a proxy.")
    trusted_proxies: Networks = Field((), description="Addresses or networks whose X-Forwarded-* count; repeatable.")
    http_timeout: Duration = Field(60, gt=0, description="How long a call over HTTP may take, its upload included.")
    fetch_urls: Literal["public", "off", "any"] = Field("public", description="Photos by URL: public, off or any.")
    cors_origins: Names = Field((), description="Origins whose pages may call over HTTP, * for all; repeatable.")
    uds: Path | None = Field(None, description="Unix socket to listen on as well: the fastest way on one machine.")
    model: Names = Field(("default",), min_length=1, description="Built-in name, bundle folder or Hub id; repeatable.")
    device: Device = Field(AUTO, description=f"Where to run: {_DEVICES}.")
    workers: int | None = Field(None, ge=1, description="Tasks worked on at once. [default: CPU cores, 2 on a GPU]")
    threads: int | None = Field(None, ge=1, description="CPU threads of one graph. [default: one per core]")
    cache_mb: int = Field(256, ge=0, description="Megabytes of photos' encodings that each model keeps.")
    max_queue: int = Field(256, ge=1, description="Tasks that may wait, and as many submitted requests.")
    max_image_mb: float = Field(32, gt=0, le=1024, description="Largest image in megabytes, as a file or bare pixels.")
    max_batch: int = Field(16, ge=1, description="Most tasks on one photo that become one pass of a model.")
    batch_wait_ms: float = Field(0, ge=0, le=1000, description="Wait this long for such tasks while others are busy.")
    store: Location = Field(
        default_factory=lambda: state_folder() / "requests.sqlite3",
        description="File or postgresql:// URL for submitted requests. "
        "[default: ~/.local/state/automask/requests.sqlite3]",
    )
    media: str | None = Field(None, min_length=1, description="Folder or URL for large media of a PostgreSQL store.")
    media_from_kb: float = Field(256, ge=0, le=1e6, description="Kilobytes from which on they are large.")
    retention: Duration = Field(3600, gt=0, description="How long an ended request is kept, such as 1h or 30m.")
    max_store_gb: float = Field(4, gt=0, le=1e6, description="Gigabytes of the store; beyond, requests are refused.")
    keys: Location | None = Field(
        None, description="File or postgresql:// URL of API keys, made by `automask keys add`; without, all may."
    )
    tls_cert: Path | None = Field(None, description="Certificate chain (PEM).")
    tls_key: Path | None = Field(None, description="Its private key (PEM).")
    client_ca: Path | None = Field(None, description="Clients must have a certificate of this authority (PEM).")
    insecure: bool = Field(False, description="Allow another address than loopback without keys and TLS.")
    metrics_port: int | None = Field(None, ge=0, le=65535, description="Port for Prometheus, on the same address.")
    drain: Duration = Field(30, ge=0, description="On SIGTERM, how long running work may take to end.")
    engine: Literal["local", "ray"] = Field("local", description="What runs the models: local (this process), or ray.")
    ray: RaySettings = Field(RaySettings(), description="How many replicas, and on what; for --engine ray.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning, error.")
    log_json: bool = Field(False, description="Log one JSON object a line.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the TOML file that `load_settings` names, and nothing else that pydantic could."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def max_image_bytes(self) -> int:
        """Most bytes of an image."""
        return round(self.max_image_mb * 1e6)

    def check(self) -> None:
        """Refuse what does not go together.

        Raises
        ------
        ParameterError
            TLS is half said, or the address is open to others without keys and TLS.
        """
        if self.engine == "ray":
            self._check_ray()
            return
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ParameterError("tls_cert and tls_key", "be given together", str(self.tls_cert or self.tls_key))
        if self.client_ca is not None and self.tls_cert is None:
            raise ParameterError("client_ca", "come with tls_cert and tls_key", str(self.client_ca))
        if not self.insecure and not _is_loopback(self.host) and not (self.keys and self.tls_cert):
            raise ParameterError(
                "host",
                "be a loopback address unless keys, tls_cert and tls_key are set, or --insecure says that all who "
                "reach this machine may use it",
                self.host,
            )

    def _check_ray(self) -> None:
        for name in ("uds", "tls_cert", "tls_key", "client_ca", "metrics_port"):
            if getattr(self, name) is not None:
                right = "be left out with engine = ray: what listens are Ray Serve's proxies, behind an ingress"
                raise ParameterError(name, right, str(getattr(self, name)))
        if not self.insecure and self.keys is None:
            right = "come with keys: Ray Serve's port is open on every address; or --insecure says that all may come"
            raise ParameterError("engine", right, self.engine)
        self.ray.check(device=self.device)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings(config: Path | None = None, **given: Any) -> Settings:  # noqa: ANN401 (checked by pydantic)
    """Put the settings together.

    Parameters
    ----------
    config
        TOML file with the names of `Settings` as its keys.
    **given
        What wins over the environment and the file.

    Raises
    ------
    ParameterError
        One is unknown or out of its range, or they do not go together.
    OSError
        The file cannot be read.
    """
    if config is not None:
        config.open("rb").close()  # pydantic takes a file that is missing for an empty one

    class _WithFile(Settings):
        model_config = SettingsConfigDict(toml_file=config)

    try:
        settings = _WithFile(**given)
    except ValidationError as error:
        raise _explain(error.errors()[0], config, given) from error
    except ValueError as error:  # the TOML itself
        raise ParameterError("config", f"be a TOML file ({error})", str(config)) from error
    settings.check()
    return settings


def _explain(problem: Mapping[str, Any], config: Path | None, given: Mapping[str, Any]) -> ParameterError:
    place = problem["loc"][:2] if problem["loc"][0] == "ray" else problem["loc"][:1]
    name = ".".join(map(str, place))
    variable = PREFIX + name.upper().replace(".", "_")
    is_given = str(place[0]) in given
    where = "" if is_given else f" (in {variable})" if variable in os.environ or not config else f" (in {config})"
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, ParameterError):
        return ParameterError(name + where, cause.requirement, cause.value)
    if problem["type"] == "extra_forbidden":
        known = RaySettings.model_fields if name.startswith("ray.") else Settings.model_fields
        return ParameterError(name + where, f"be one of {', '.join(known)}", problem["input"])
    requirement = _REQUIREMENTS.get(problem["type"]) or problem["msg"].removeprefix("Input should ")
    return ParameterError(name + where, requirement, problem["input"])
