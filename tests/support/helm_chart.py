"""The Helm chart rendered with several sets of values, and functions that find parts of the manifests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from support.dockerfiles import DEPLOY, image_environment

__all__ = [
    "CHART",
    "DATABASE",
    "PEM",
    "RELEASE",
    "VALUES",
    "helm",
    "of_kind",
    "render",
    "rendered",
    "selected",
    "servers",
    "templates",
    "variables",
]

CHART = DEPLOY / "helm" / "automask"
RELEASE = "masks"
DATABASE = "postgresql://automask:secret@db.example/automask"
PEM = "-----BEGIN CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----"

# At least one set uses each option: a test checks it.
VALUES: dict[str, dict[str, Any]] = {
    "plain": {"database": {"existingSecret": "db"}},
    "try-out": {
        "postgres": {"enabled": True, "password": "a-password-of-16"},
        "keys": {"enabled": False},
        "http": {"enabled": True, "allowedHosts": ["masks.lan"]},
    },
    "tls": {
        "database": {"existingSecret": "db", "port": 6432},
        "tls": {"enabled": True, "existingSecret": "tls", "clientCA": True},
        "http": {"enabled": True, "publicUrl": "https://masks.example"},
        "service": {"headless": True},
        "media": "s3://bucket/masks",
        "envFromSecrets": ["s3"],
        "networkPolicy": {
            "from": [{"namespaceSelector": {"matchLabels": {"team": "shop"}}}],
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"team": "watch"}}}],
            "egress": [{"ports": [{"port": 443}]}],
        },
        "imagePullSecrets": [{"name": "registry"}],
        "autoscaling": {"enabled": True},
    },
    "own-tls": {
        "database": {"url": DATABASE},
        "tls": {"enabled": True, "cert": PEM[0], "key": PEM[1]},
        "networkPolicy": {"enabled": False},
        "metrics": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "service": {"type": "LoadBalancer"},
        "replicas": 1,
        "drain": 120,
    },
    "gpu": {
        "database": {"existingSecret": "db"},
        "image": {"repository": "registry.example/automask", "tag": "cuda"},
        "gpu": {"enabled": True, "runtimeClassName": "nvidia"},
        "nodeSelector": {"accelerator": "l4"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "models": {"names": ["default", "/models/clipseg"], "volume": {"persistentVolumeClaim": {"claimName": "m"}}},
        "autoscaling": {"enabled": True, "cpu": None, "queueDepth": 4},
    },
    "ray": {"engine": "ray", "database": {"existingSecret": "db"}, "http": {"enabled": True}},
    "ray-gpu": {
        "engine": "ray",
        "database": {"url": DATABASE},
        "keys": {"enabled": False},
        "media": "s3://bucket/masks",
        "gpu": {"enabled": True},
        "envFromSecrets": ["s3"],
        "models": {"names": ["/models/clipseg"], "volume": {"hostPath": {"path": "/srv/models"}}},
        "ray": {"minReplicas": 3, "replicaCpus": 0.75, "replicaGpus": 0.5, "operatorNamespace": "kuberay"},
    },
}


def helm(command: str, values: Mapping[str, Any], chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    program = shutil.which("helm", path=str(Path(sys.executable).parent)) or shutil.which("helm")
    assert program, "pip install '.[dev]' brings helm"
    arguments = ["lint", "--strict"] if command == "lint" else ["template", RELEASE, "--namespace", "shop"]
    return subprocess.run(
        [program, *arguments, str(chart), "--values", "-"],
        input=yaml.safe_dump(dict(values)),
        capture_output=True,
        text=True,
        check=False,
    )


def render(values: Mapping[str, Any], chart: Path = CHART) -> list[dict[str, Any]]:
    done = helm("template", values, chart)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


@cache
def rendered(case: str) -> tuple[dict[str, Any], ...]:
    return tuple(render(VALUES[case]))


def of_kind(case: str, kind: str) -> list[dict[str, Any]]:
    return [manifest for manifest in rendered(case) if manifest["kind"] == kind]


def templates(case: str) -> dict[str, dict[str, Any]]:
    """Return the template of every pod, by the kind or role of what starts it."""
    found = {}
    for manifest in rendered(case):
        if manifest["kind"] in {"Deployment", "StatefulSet"}:
            found[manifest["kind"]] = manifest["spec"]["template"]
        elif manifest["kind"] == "RayService":
            cluster = manifest["spec"]["rayClusterConfig"]
            found["head"] = cluster["headGroupSpec"]["template"]
            found["worker"] = cluster["workerGroupSpecs"][0]["template"]
    return found


def servers(case: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield (spec of the pod, its container) for every pod in which automask runs."""
    for name, template in templates(case).items():
        if name != "StatefulSet":
            (container,) = template["spec"]["containers"]
            yield template["spec"], container


def variables(container: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of a container, with that of the image, and with example values for secrets and limits."""
    found = image_environment("Dockerfile.cpu")
    for one in container["env"]:
        source = one.get("valueFrom", {})
        found[one["name"]] = one.get("value", DATABASE if "secretKeyRef" in source else "2")
    return found


def selected(case: str, selector: Mapping[str, str]) -> list[str]:
    # KubeRay itself adds this label to the pods whose proxies take calls.
    wanted = {key: value for key, value in selector.items() if key != "ray.io/serve"}
    return [name for name, one in templates(case).items() if wanted.items() <= one["metadata"]["labels"].items()]
