"""deploy/ and docs/edge.md against the service itself, without Docker and systemd."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click
import httpx
import numpy as np
import pytest
import trustme
from PIL import Image

import automask
from automask.service import Client
from automask.service.cli.serve import serve
from automask.service.config.durations import parse_duration
from automask.service.config.settings import PREFIX, Settings, load_settings
from automask.service.keys.sqlite import SqliteKeyStore
from support.dockerfiles import DEPLOY, DOCKERFILES, STATE, final, image_environment, instructions
from support.setting_variables import VARIABLES
from support.threaded_server import serving

ROOT = Path(__file__).parents[2]
TOML = DEPLOY / "automask.toml"
FILES = (ROOT / "docs" / "edge.md", *sorted(path for path in DEPLOY.rglob("*") if path.is_file()))
TEXTS = {path.name: path.read_text() for path in FILES}


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{PREFIX}{name.upper()}", raising=False)


def unit(name: str) -> dict[str, list[str]]:
    """All values of each directive, of all sections."""
    found = defaultdict(list)
    for line in TEXTS[name].splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found[key].append(value)
    return found


def environment(of_unit: dict[str, list[str]]) -> dict[str, str]:
    return dict(one.split("=", 1) for line in of_unit["Environment"] for one in shlex.split(line))


def test_every_named_option_of_serve_exists() -> None:
    known = {flag for option in serve.params for flag in option.opts}
    named = [
        option
        for text in TEXTS.values()
        for command in re.findall(r"\bserve ((?:(?!serve|`|#).)*)", text)
        for option in re.findall(r"--[a-z][a-z-]*", command)
    ]
    assert {"--config", "--insecure"} <= set(named) <= {"--help", *known}


def test_every_named_variable_is_a_setting() -> None:
    named = {name for text in TEXTS.values() for name in re.findall(rf"\b{PREFIX}[A-Z_]+", text)}
    assert {f"{PREFIX}STORE", f"{PREFIX}UDS"} <= named <= VARIABLES


def test_every_named_file_exists() -> None:
    named = [ROOT / name for name in re.findall(r"(?<![\w/])deploy/(?!secrets)[\w./-]*\w", "\n".join(TEXTS.values()))]
    pages = [page for page in FILES if page.suffix == ".md"]
    links = [page.parent / link for page in pages for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text())]
    assert TOML in named
    assert links
    assert [path for path in (*named, *links) if not path.exists()] == []


def test_the_unit_starts_with_the_shipped_file() -> None:
    program, subcommand, *options = shlex.split(unit("automask.service")["ExecStart"][0])
    assert (Path(program).name, subcommand) == ("automask", "serve")
    given = {name: value for name, value in serve.make_context("serve", options).params.items() if value}
    assert given.pop("config") == Path(re.search(r"^# (\S+automask\.toml):", TEXTS[TOML.name])[1])  # type: ignore[index]
    assert load_settings(TOML, **given).drain == 30


def test_the_commented_settings_are_valid_together(tmp_path: Path) -> None:
    everything = tmp_path / "automask.toml"
    everything.write_text(re.sub(r"^# (?=\w+ = )", "", TEXTS[TOML.name], flags=re.MULTILINE))
    values = tomllib.loads(everything.read_text())
    assert len(values) > len(tomllib.loads(TEXTS[TOML.name]))
    assert load_settings(everything).model_fields_set == values.keys()


def test_the_unit_creates_every_folder_of_the_settings() -> None:
    directives, settings = unit("automask.service"), load_settings(TOML)
    assert settings.uds is not None
    assert isinstance(settings.store, Path)
    assert settings.store.parent == Path("/var/lib") / directives["StateDirectory"][0]
    assert settings.uds.parent == Path("/run") / directives["RuntimeDirectory"][0]
    assert environment(directives)["HOME"] == str(settings.store.parent)


def test_the_unit_drains_and_restarts_only_after_failures() -> None:
    directives = unit("automask.service")
    assert parse_duration(directives["TimeoutStopSec"][0]) > load_settings(TOML).drain + 1
    assert directives["Restart"] == ["on-failure"]
    assert directives["RestartPreventExitStatus"] == [str(click.UsageError.exit_code)]


def test_the_gpu_has_a_writable_cache() -> None:
    directives = unit("gpu.conf")
    cache = Path("/var/cache") / directives["CacheDirectory"][0]
    assert Path(environment(directives)["XDG_CACHE_HOME"]) / "automask" == cache
    assert Path(environment(directives)["CUDA_CACHE_PATH"]).parent == cache


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_runs_without_root_and_writes_only_to_its_volume(name: str) -> None:
    last, variables = final(name), image_environment(name)
    assert last["USER"].isdigit()
    assert last["USER"] != "0"
    assert last["VOLUME"] == last["WORKDIR"] == variables["HOME"] == STATE
    for variable in ("AUTOMASK_UDS", "AUTOMASK_STORE", "XDG_CACHE_HOME", "CUDA_CACHE_PATH"):
        assert variables.get(variable, STATE).startswith(STATE)
    assert json.loads(last["ENTRYPOINT"]) == ["automask"], "a shell in between would keep SIGTERM to itself"
    assert json.loads(last["CMD"]) == ["serve"]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_files_of_an_image_exist(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    arguments = dict(value.split("=", 1) for word, value in instructions(name) if word == "ARG")
    assert set(arguments["EXTRAS"].split(",")) <= project["project"]["optional-dependencies"].keys()
    assert re.search(r":\d+\.\d+\.\d+-", arguments["PYTHON_IMAGE"]), "a pinned version"
    copied = {
        source for word, value in instructions(name) if word == "COPY" and "--from" not in value
        for source in value.split()[:-1]
    }  # fmt: skip
    assert all((ROOT / source).exists() for source in copied)
    sources = {folder.split("/")[0] for folder in project["tool"]["setuptools"]["package-dir"].values()}
    assert sources <= copied


def test_the_extras_of_an_image_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    every = [extras for text in TEXTS.values() for extras in re.findall(r"EXTRAS[=:] ?\"?([\w,]+)", text)]
    named = {one for extras in every for one in extras.split(",")}
    assert {"service", "postgres", "ray"} <= named <= project["project"]["optional-dependencies"].keys()


def test_the_images_differ_only_in_the_gpu() -> None:
    cpu, cuda = (final(name) for name in DOCKERFILES)
    assert {word for word in cpu if cpu[word] != cuda[word]} == {"ENV"}
    assert image_environment("Dockerfile.cpu").items() <= image_environment("Dockerfile.cuda").items()


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_listens_on_the_network_only_with_insecure(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in image_environment(name).items():
        if variable.startswith(PREFIX):
            monkeypatch.setenv(variable, value)
    with pytest.raises(automask.ParameterError, match=r"unless keys, tls_cert and tls_key are set \(--insecure"):
        load_settings()
    store = load_settings(insecure=True).store
    assert isinstance(store, Path)
    assert store.parent == Path(STATE)


def healthy(socket: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEPLOY / "healthy.py"],
        env={**os.environ, "AUTOMASK_UDS": str(socket)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_missing_server_is_not_healthy(tmp_path: Path) -> None:
    done = healthy(tmp_path / "none.sock")
    assert (done.returncode, done.stderr) == (1, "no response: UNAVAILABLE\n")


def test_health_of_a_server_with_keys_and_tls_over_its_socket(tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("masks.example")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    certificate.private_key_pem.write_to_path(tmp_path / "key")
    with closing(SqliteKeyStore(tmp_path / "keys.sqlite3", create=True)):
        options = {"keys": tmp_path / "keys.sqlite3", "tls_cert": tmp_path / "cert", "tls_key": tmp_path / "key"}
        with serving(tmp_path, host="0.0.0.0", uds=tmp_path / "automask.sock", **options):  # noqa: S104
            done = healthy(tmp_path / "automask.sock")
    assert done.returncode == 0, done.stderr


# Remounts everything read-only except the first argument, then executes the rest.
READ_ONLY = """
set -e
mount --bind "$1" "$1"
while read -r _ at _; do
    case "$at" in "$1" | /proc* | /sys* | /dev | /dev/pts) ;; *) mount -o remount,bind,ro "$at" ;; esac
done </proc/self/mounts
if touch "$1/../probe" 2>/dev/null; then echo "$1/.. can be written to" >&2; exit 1; fi
shift
exec "$@"
"""


@contextmanager
def read_only(folder: Path, *options: str) -> Iterator[dict[str, Any]]:
    """Run a server with the variables of the CPU image, everything but its volume read-only; yield its log event."""
    variables = {key: value.replace(STATE, str(folder)) for key, value in image_environment("Dockerfile.cpu").items()}
    kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
    namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-c", READ_ONLY, "sh", str(folder)]
    command = [*namespace, sys.executable, "-m", "automask", "serve", "--log-json", *options]
    with subprocess.Popen(command, env={**variables, **kept}, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if '"event": "serving"' in line:
                break
        else:
            raise RuntimeError("".join(lines))
        try:
            yield json.loads(lines[-1])
            process.send_signal(signal.SIGTERM)
            rest = process.communicate()[1]
            assert process.returncode == 0, rest
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount")
def test_it_serves_on_a_read_only_file_system(tmp_path: Path, segmenter: automask.Segmenter, coffee_file: Path) -> None:
    folder = tmp_path.resolve() / "volume"
    folder.mkdir()
    expected = segmenter.mask(coffee_file, "cup").mask
    noise = np.random.default_rng(0).integers(0, 256, (1000, 800, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    assert file.tell() > 1 << 20, "smaller uploads would stay in memory anyway"
    with read_only(folder, "--host", "127.0.0.1", "--port", "0", "--http-port", "0") as logged:
        assert healthy(folder / "automask.sock").returncode == 0
        with Client(f"unix:{folder / 'automask.sock'}") as client:
            np.testing.assert_array_equal(client.mask(coffee_file, "cup").mask, expected)
            np.testing.assert_array_equal(client.submit(coffee_file, "cup").result(timeout=60).mask, expected)
        response = httpx.post(
            f"http://{logged['http']}/v1/automatic-mask-generator",
            files={"image": ("noise.png", file.getvalue())},
            data={"prompt": "cup"},
            timeout=60,
        )
        assert response.status_code == 200, response.text
    # The kept verdict on the model, and no files of ONNX Runtime's telemetry.
    (verdict,) = (folder / ".cache" / "automask" / "proofs").iterdir()
    written = {path for path in folder.rglob("*") if not path.is_dir()} - {verdict}
    assert {path.name for path in written} <= {"requests.sqlite3", "requests.sqlite3.lock", "automask.sock"}
