"""Settings from the caller, the environment and a TOML file; refused values."""

from pathlib import Path
from typing import Any

import pytest

from automask.devices import device_names
from automask.errors import ParameterError
from automask.service.config.settings import Settings, load_settings

# For each setting: a value in the environment, the same in TOML, and the parsed value.
VALUES: dict[str, tuple[str, str, Any]] = {
    "host": ("::1", '"::1"', "::1"),
    "port": ("7001", "7001", 7001),
    "http_port": ("0", "0", 0),
    "public_url": ("https://example.org/masks/", '"https://example.org/masks"', "https://example.org/masks"),
    "trusted_proxies": ("10.0.0.1,fd00::/8", '["10.0.0.1", "fd00::/8"]', ("10.0.0.1/32", "fd00::/8")),
    "http_timeout": ("2m", "120", 120.0),
    "fetch_urls": ("off", '"off"', "off"),
    "allowed_hosts": ("Masks.example, *", '["masks.example", "*"]', ("masks.example", "*")),
    "cors_origins": ("https://example.org, *", '["https://example.org", "*"]', ("https://example.org", "*")),
    "uds": ("a.sock", '"a.sock"', Path("a.sock")),
    "model": ("default, ./clipseg", '["default", "./clipseg"]', ("default", "./clipseg")),
    "device": ("cpu", '"cpu"', "cpu"),
    "prove": ("false", "false", False),
    "workers": ("3", "3", 3),
    "threads": ("2", "2", 2),
    "cache_mb": ("0", "0", 0),
    "gpu_memory_mb": ("4000", "4000", 4000),
    "cuda_graphs": ("true", "true", True),
    "gpu_cache_mb": ("0", "0", 0),
    "max_queue": ("9", "9", 9),
    "max_image_mb": ("0.5", "0.5", 0.5),
    "max_inflight_mb": ("640", "640", 640.0),
    "decode_timeout": ("2s", '"2s"', 2.0),
    "decode_processes": ("0", "0", 0),
    "max_batch": ("1", "1", 1),
    "batch_wait_ms": ("2.5", "2.5", 2.5),
    "store": ("s.db", '"s.db"', Path("s.db")),
    "media": ("s3://bucket/prefix", '"s3://bucket/prefix"', "s3://bucket/prefix"),
    "media_from_kb": ("0.5", "0.5", 0.5),
    "retention": ("1h30m", '"1h30m"', 5400.0),
    "max_store_gb": ("0.25", "0.25", 0.25),
    "keys": ("k.db", '"k.db"', Path("k.db")),
    "tls_cert": ("c.pem", '"c.pem"', Path("c.pem")),
    "tls_key": ("k.pem", '"k.pem"', Path("k.pem")),
    "client_ca": ("ca.pem", '"ca.pem"', Path("ca.pem")),
    "insecure": ("true", "true", True),
    "metrics_port": ("0", "0", 0),
    "metrics_auth": ("true", "true", True),
    "drain": ("500ms", "0.5", 0.5),
    "engine": ("ray", '"ray"', "ray"),
    "log_level": ("debug", '"debug"', "debug"),
    "log_json": ("1", "true", True),
}
# Settings that are valid only together with others.
COMPANIONS: dict[str, dict[str, Any]] = {
    "tls_cert": {"tls_key": "k.pem"},
    "tls_key": {"tls_cert": "c.pem"},
    "engine": {"insecure": True},
    "client_ca": {"tls_cert": "c.pem", "tls_key": "k.pem"},
    "metrics_auth": {"metrics_port": 0, "keys": "k.db"},
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"AUTOMASK_{name.upper()}", raising=False)


def toml(folder: Path, text: str) -> Path:
    path = folder / "automask.toml"
    path.write_text(text)
    return path


def test_each_setting_has_a_test_value() -> None:
    assert VALUES.keys() | {"ray"} == Settings.model_fields.keys()


@pytest.mark.parametrize("name", VALUES)
def test_each_setting_comes_from_the_caller_the_environment_and_the_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_environment, in_toml, expected = VALUES[name]
    companions = COMPANIONS.get(name, {})
    file = toml(tmp_path, f"{name} = {in_toml}\n")
    default = Settings.model_fields[name].get_default(call_default_factory=True, validated_data={})
    assert default != expected, "the default would pass as well"
    assert getattr(load_settings(file, **companions), name) == expected
    assert getattr(load_settings(**{**companions, name: in_environment}), name) == expected
    assert getattr(load_settings(**{**companions, name: expected}), name) == expected
    monkeypatch.setenv(f"AUTOMASK_{name.upper()}", in_environment)
    assert getattr(load_settings(**companions), name) == expected


def test_an_empty_variable_counts_as_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = toml(tmp_path, "max_queue = 7\n")
    for name in Settings.model_fields:
        monkeypatch.setenv(f"AUTOMASK_{name.upper()}", "")
    assert load_settings(file).model_fields_set == {"max_queue"}


def test_the_ray_table_comes_from_the_environment_and_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = toml(tmp_path, 'model = ["a", "b"]\n[ray]\nmax_replicas = 4\n[ray.models.b]\nnum_gpus = 0.5\n')
    monkeypatch.setenv("AUTOMASK_RAY_MIN_REPLICAS", "2")
    table = load_settings(file).ray
    assert (table.min_replicas, table.max_replicas, table.num_gpus) == (2, 4, 0)
    assert table.scale("a").num_gpus == 0
    assert (table.scale("b").num_gpus, table.scale("b").max_replicas, table.scale("b").min_replicas) == (0.5, 4, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"insecure": False}, "engine must be used with keys, because Ray Serve's port is open on every address"),
        ({"uds": "a.sock"}, "uds must be unset with engine = ray"),
        ({"tls_cert": "a.pem"}, "tls_cert must be unset with engine = ray"),
        ({"metrics_port": 9090}, "metrics_port must be unset with engine = ray"),
        ({"metrics_auth": True}, "metrics_auth must be unset with engine = ray"),
        ({"device": "cuda"}, "ray.num_gpus must be greater than 0 for device = cuda"),
        ({"ray": {"replicas": 2}}, "ray.replicas must be one of min_replicas, "),
        ({"ray": {"min_replicas": 3}}, "ray.max_replicas must be at least ray.min_replicas, 3, got 1"),
        ({"ray": {"models": {"x": {"min_replicas": 3}}}}, "ray.models.x.max_replicas must be at least "),
        ({"ray": {"num_gpus": -1}}, "ray.num_gpus must be greater than or equal to 0, got -1"),
    ],
)
def test_settings_that_do_not_fit_ray_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        load_settings(**{"engine": "ray", "insecure": True, **changes})
    assert str(caught.value).startswith(message)


def test_overrides_come_before_the_environment_and_the_environment_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = toml(tmp_path, 'port = 1\nmodel = ["file", "too"]\nmax_queue = 1\n')
    assert load_settings().port == 50051
    assert load_settings(file).port == 1
    monkeypatch.setenv("AUTOMASK_PORT", "2")
    monkeypatch.setenv("AUTOMASK_MODEL", "environment")
    assert load_settings(file).port == 2
    assert load_settings(file).model == ("environment",)
    settings = load_settings(file, port=3, model=("caller",))
    assert (settings.port, settings.model, settings.max_queue) == (3, ("caller",), 1)


def test_an_overridden_value_is_not_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = toml(tmp_path, 'port = "what"\n')
    monkeypatch.setenv("AUTOMASK_PORT", "7")
    assert load_settings(file).port == 7
    monkeypatch.setenv("AUTOMASK_PORT", "what")
    assert load_settings(file, port=7).port == 7


BAD: list[tuple[str, str, str]] = [
    ("port", "eighty", "be a valid integer"),
    ("port", "70000", "be less than or equal to 65535"),
    ("workers", "0", "be greater than or equal to 1"),
    ("device", "tpu", f"be {', '.join(map(repr, device_names()[:-1]))} or {device_names()[-1]!r}"),
    ("log_level", "loud", "be 'debug', 'info', 'warning' or 'error'"),
    ("log_json", "perhaps", "be a valid boolean"),
    ("retention", "soon", "be a duration of at most 10000d such as 30s"),
    ("retention", "0s", "be greater than 0"),
    ("drain", "-1s", "be a duration"),
    ("max_image_mb", "0", "be greater than 0"),
    ("max_image_mb", "nan", "be less than or equal to 1024"),
    ("max_store_gb", "inf", "be less than or equal to"),
    ("http_port", "-1", "be greater than or equal to 0"),
    ("http_timeout", "0s", "be greater than 0"),
    ("fetch_urls", "some", "be 'public', 'off' or 'any'"),
    ("public_url", "example.org", "be a URL such as https://example.org/masks"),
    ("public_url", "https://example.org/?a=b", "be a URL such as https://example.org/masks"),
    ("allowed_hosts", "https://example.org", "be host names without port, such as masks.example.org, or *"),
    ("allowed_hosts", "example.org:80", "be host names without port, such as masks.example.org, or *"),
    ("trusted_proxies", "*", "be addresses or networks such as 10.0.0.0/8"),
    ("decode_timeout", "0", "be greater than 0"),
    ("decode_processes", "-1", "be greater than or equal to 0"),
    ("batch_wait_ms", "5000", "be less than or equal to 1000"),
    ("model", "", "not be empty"),
    ("model", "default,,clipseg", "not be empty"),
]


@pytest.mark.parametrize(("name", "value", "requirement"), BAD)
def test_an_invalid_value_is_named_with_its_source_and_requirement(
    name: str, value: str, requirement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = toml(tmp_path, f'{name} = "{value}"\n')
    with pytest.raises(ParameterError) as by_caller:
        load_settings(None, **{name: value})
    with pytest.raises(ParameterError) as by_file:
        load_settings(file)
    monkeypatch.setenv(variable := f"AUTOMASK_{name.upper()}", value)
    with pytest.raises(ParameterError) as by_environment:
        load_settings(file)
    assert str(by_caller.value).startswith(f"{name} must {requirement}")
    assert str(by_file.value).startswith(f"{name} (in {file}) must {requirement}")
    assert str(by_environment.value).startswith(f"{name} (in {variable}) must {requirement}")
    assert ", got " in str(by_caller.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = []", "must name at least one, got []"),
        ("model = [1]", "must be a valid string, got 1"),
        ("model = ['']", "must not be empty, got ''"),
        ("uds = 5", "must be a path, got 5"),
        ("[port]\nx = 1", "must be a valid integer, got {'x': 1}"),
    ],
)
def test_an_invalid_type_in_the_file(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError) as caught:
        load_settings(toml(tmp_path, text))
    assert str(caught.value).endswith(message)


def test_an_unknown_setting_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    file = toml(tmp_path, "prot = 50051\n")
    with pytest.raises(ParameterError) as caught:
        load_settings(file)
    assert str(caught.value).startswith(f"prot (in {file}) must be one of host, port, http_port, ")
    with pytest.raises(ParameterError, match=r"^prot must be one of host, port, "):
        load_settings(prot=1)


def test_an_invalid_and_a_missing_file(tmp_path: Path) -> None:
    file = toml(tmp_path, "port = \n")
    with pytest.raises(ParameterError) as caught:
        load_settings(file)
    assert str(caught.value).startswith("config must be a TOML file (")
    assert repr(str(file)) in str(caught.value)
    with pytest.raises(FileNotFoundError, match="missing.toml"):
        load_settings(tmp_path / "missing.toml")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_needs_nothing(host: str) -> None:
    assert load_settings(host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "[::]", "box.example", ""])  # noqa: S104 (refused)
def test_any_other_address_needs_keys_and_tls_or_insecure(host: str) -> None:
    tls: dict[str, Any] = {"tls_cert": "c.pem", "tls_key": "k.pem"}
    keys: dict[str, Any] = {"keys": "keys.sqlite3"}
    for incomplete in ({}, tls, keys):
        with pytest.raises(ParameterError, match="host must be a loopback address unless keys, tls_cert and tls_key"):
            load_settings(host=host, **incomplete)
    assert load_settings(host=host, **tls, **keys).host == host
    assert load_settings(host=host, insecure=True).host == host


def test_incomplete_tls_is_refused() -> None:
    halves: list[dict[str, Any]] = [{"tls_cert": "c.pem"}, {"tls_key": "k.pem"}]
    for half in halves:
        with pytest.raises(ParameterError, match="tls_cert and tls_key must be set together, got '[ck].pem'"):
            load_settings(**half)
    with pytest.raises(ParameterError, match="client_ca must be set together with tls_cert and tls_key, got 'ca.pem'"):
        load_settings(client_ca=Path("ca.pem"))


def test_metrics_auth_needs_keys_and_metrics() -> None:
    incomplete: list[dict[str, Any]] = [{}, {"keys": "k.db"}, {"metrics_port": 0}]
    for settings in incomplete:
        with pytest.raises(ParameterError, match="metrics_auth must be set together with keys and metrics_port"):
            load_settings(metrics_auth=True, **settings)


def test_the_default_store_is_in_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert load_settings().store == tmp_path / "automask" / "requests.sqlite3"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings().store == tmp_path / ".local" / "state" / "automask" / "requests.sqlite3"


def test_the_tables_of_other_commands_are_not_settings_of_a_server(tmp_path: Path) -> None:
    file = toml(tmp_path, "max_queue = 7\n[mask]\ngrow_mask = 3\n[cutout]\ntrim = true\n")
    assert load_settings(file).max_queue == 7
    with pytest.raises(ParameterError, match="mask"):
        load_settings(toml(tmp_path, "mask = 3\n"))
