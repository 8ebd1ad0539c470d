"""What is special to Ray: routing by image, lost replicas, pools, deployments."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import psutil
import pytest
import ray
from ray import serve

import automask
from automask.errors import ParameterError
from automask.images import read_image
from automask.lookup import locate_bundle
from automask.service import Client
from automask.service.config.locations import PostgresUrl
from automask.service.config.settings import load_settings
from automask.service.ray.api import check_nodes
from automask.service.ray.app import app, build
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support.ray_one_node import SMALL, RayCluster, RayServer
from support.threaded_server import CALL_TIMEOUT, rich_status, wait_until

PHOTOS = 12


@pytest.fixture(scope="module")
def pair(ray_cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayServer]:
    """The whole application, with two replicas of its model."""
    store = tmp_path_factory.mktemp("pair") / "requests.sqlite3"
    table = {**SMALL, "min_replicas": 2, "max_replicas": 2}
    with ray_cluster.running(build({"store": store, "device": "cpu", "ray": table})) as server:
        yield server


@pytest.fixture(scope="module")
def stub(pair: RayServer) -> Iterator[MaskServiceStub]:
    with pair.channel() as channel:
        yield MaskServiceStub(channel)


def task(data: bytes, *prompts: str, model: str = "", **parameters: object) -> mask_pb2.MaskTask:
    return mask_pb2.MaskTask(
        image=mask_pb2.Image(encoded=data),
        prompts=prompts,
        model=model,
        parameters=mask_pb2.MaskParameters(**parameters),  # type: ignore[arg-type]
    )


def generate(stub: MaskServiceStub, what: mask_pb2.MaskTask) -> mask_pb2.MaskResponse:
    return stub.Generate(messages.GenerateRequest(task=what)).response


def caches(server: RayServer, deployment: str = "model-0-default") -> dict[str, Any]:
    """What the cache of each model had, by replica."""
    handle = serve.get_deployment_handle(deployment, server.name)
    return dict(handle.broadcast("cache_info").results())


def test_an_image_stays_with_one_replica(pair: RayServer, stub: MaskServiceStub, jpeg: bytes) -> None:
    """Wherever it went at first; a second replica would have had to decode, detect and encode it again."""
    photos = [jpeg + number.to_bytes(2, "big") for number in range(PHOTOS)]
    before = caches(pair)
    for _ in range(2):
        for photo in photos:
            generate(stub, task(photo, "cup"))
    after = caches(pair)
    made = [after[replica]["default"].misses - before[replica]["default"].misses for replica in after]
    assert len(made) == 2
    assert sum(made) == 3 * PHOTOS


def test_a_task_whose_replica_is_killed_is_answered_by_another(
    pair: RayServer, stub: MaskServiceStub, segmenter: automask.Segmenter, jpeg: bytes
) -> None:
    photo = jpeg + b"kill"
    before = caches(pair)
    generate(stub, task(photo, "cup"))
    there = caches(pair)
    (owner,) = (one for one in there if there[one]["default"].misses > before[one]["default"].misses)
    slow = stub.Generate.future(messages.GenerateRequest(task=task(photo, *segmenter.vocabulary[:12], threshold=0.0)))
    wait_until(lambda: caches(pair)[owner]["default"].hits > there[owner]["default"].hits)
    assert not slow.done()
    replica = ray.get_actor(f"SERVE_REPLICA::{pair.name}#model-0-default#{owner}", namespace="serve")
    ray.kill(replica)
    response = slow.result().response
    assert len(response.results) == 12
    assert response.timings.retries == 1


def test_the_client_repeats_a_call_whose_api_replica_is_killed(
    ray_cluster: RayCluster, segmenter: automask.Segmenter, jpeg: bytes, tmp_path: Path
) -> None:
    with (
        ray_cluster.serving({"store": tmp_path / "requests.sqlite3"}) as server,
        Client(server.address, timeout=5 * CALL_TIMEOUT) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        client._connection.metadata = (("application", server.name),)
        asked = pool.submit(client.mask, jpeg, segmenter.vocabulary[:8], threshold=0.0)
        wait_until(lambda: server.pending_tasks() == 1 or asked.done())
        names = (actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True))
        (replica,) = (name for name in names if name.startswith(f"SERVE_REPLICA::{server.name}#api#"))
        ray.kill(ray.get_actor(replica, namespace="serve"))
        expected = segmenter.mask(jpeg, segmenter.vocabulary[:8], threshold=0.0)
        assert [one.output for one in asked.result()] == [one.output for one in expected]


def test_http_calls_go_through_the_proxy(pair: RayServer, segmenter: automask.Segmenter, jpeg: bytes) -> None:
    with httpx.Client(base_url=f"http://{pair.http_address}", timeout=CALL_TIMEOUT) as client:
        assert client.get("/healthz").json() == {"status": "serving"}
        path = "/v1/automatic-mask-generator"
        answer = client.post(path, files={"image": jpeg}, data={"prompt": "cup"})
        np.testing.assert_array_equal(read_image(answer.content)[..., 0], segmenter.mask(jpeg, "cup").mask)
        refused = client.post(path, files={"image": jpeg}, data={"prompt": "sky"})
        assert (refused.status_code, refused.json()["reason"]) == (400, "UNKNOWN_PROMPT")
        submitted = client.post("/v2/automatic-mask-generator", files={"image": jpeg}, data={"prompt": "cup"}).json()
        assert f"/{pair.name}/v2/requests/" in submitted["poll_url"]


def parent_of(process: psutil.Process) -> str:
    """Return the command of the process that started this one; empty if either, of another test perhaps, has ended."""
    with suppress(psutil.Error):
        if parent := process.parent():
            return " ".join(parent.cmdline())
    return ""


def test_replicas_decode_images_in_processes_of_their_own(pair: RayServer) -> None:
    with pair.channel() as channel, pytest.raises(grpc.RpcError, match="not an image"):
        MaskServiceStub(channel).Generate(messages.GenerateRequest(task=task(b"no image", "cup")))
    found = psutil.process_iter(["cmdline"])
    parents = [parent_of(one) for one in found if "automask.service.decoding.child" in (one.info["cmdline"] or ())]
    assert any("ServeReplica" in parent and pair.name in parent for parent in parents), parents


def test_the_metrics_are_exported_by_the_agent_of_ray(
    ray_cluster: RayCluster, stub: MaskServiceStub, jpeg: bytes
) -> None:
    generate(stub, task(jpeg, "cup"))
    for name in (
        r'ray_automask_calls_total{[^}]*code="OK"[^}]*deployment="api"[^}]*method="Generate"[^}]*} [1-9]',
        r'ray_automask_cache_misses_total{[^}]*deployment="model-0-default"[^}]*} [1-9]',
        r'ray_automask_stage_seconds_bucket{[^}]*stage="decode"[^}]*} [1-9]',
        r'ray_automask_store_requests{[^}]*state="COMPLETED"[^}]*} [0-9]',
    ):
        wait_until(lambda name=name: re.search(name, ray_cluster.metrics()) is not None)  # type: ignore[misc]


def test_running_calls_are_answered_by_the_old_replica_after_a_deployment(
    ray_cluster: RayCluster, segmenter: automask.Segmenter, jpeg: bytes, tmp_path: Path
) -> None:
    settings = {"store": tmp_path / "requests.sqlite3", "max_image_mb": 2}
    with ray_cluster.running(ray_cluster.api(settings)) as server, server.channel() as channel:
        stub = MaskServiceStub(channel)
        what = task(jpeg, *segmenter.vocabulary[:10], threshold=0.0)
        slow = stub.Generate.future(messages.GenerateRequest(task=what))
        wait_until(lambda: server.pending_tasks() == 1 or slow.done())
        again = ray_cluster.api({**settings, "max_image_mb": 0.001})
        with ThreadPoolExecutor(1) as pool:
            deploying = pool.submit(serve.run, again, name=server.name, route_prefix=f"/{server.name}")
            assert len(slow.result().response.results) == 10
            deploying.result()
        with pytest.raises(grpc.RpcError) as caught:
            generate(stub, task(jpeg, "cup"))
        assert "this server takes 1,000 at most" in rich_status(caught.value).message


def test_a_pool_with_room_for_one_model_loads_and_unloads(ray_cluster: RayCluster, jpeg: bytes, tmp_path: Path) -> None:
    other = shutil.copytree(locate_bundle("default"), tmp_path / "other")
    manifest = other / "automask.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "name": "other"}))
    settings = {
        "store": tmp_path / "requests.sqlite3",
        "device": "cpu",
        "model": ("default", str(other)),
        "ray": {**SMALL, "multiplex": 1},
    }
    with ray_cluster.running(build(settings)) as server, server.channel() as channel:
        stub = MaskServiceStub(channel)
        models = stub.ListModels(messages.ListModelsRequest()).models
        assert [model.name for model in models] == ["default", "other"]
        with pytest.raises(grpc.RpcError, match="'sky' is not among the 80 kinds"):
            generate(stub, task(jpeg, "sky", model="other"))
        assert [[*one] for one in caches(server, "models").values()] == [[]], "to be told of, none is loaded"
        for name in ("other", "default", "other"):
            assert generate(stub, task(jpeg, "cup", model=name)).model == name
            assert [[*one] for one in caches(server, "models").values()] == [[name]]


def test_the_application_can_be_imported_and_takes_settings() -> None:
    assert app is not None
    with pytest.raises(ParameterError, match="max_queue must be greater than or equal to 1, got 0"):
        build({"max_queue": 0})


def test_the_command_joins_a_cluster_serves_and_drains(
    ray_cluster: RayCluster, coffee_file: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "automask", "serve", "--log-json", "--engine", "ray", "--insecure"]
    config = tmp_path / "automask.toml"
    config.write_text(f'device = "cpu"\nstore = "{tmp_path}/requests.sqlite3"\n[ray]\nnum_cpus = 0.01\napi_cpus = 0\n')
    environment = {**os.environ, "RAY_ADDRESS": ray_cluster.ray_address, "AUTOMASK_CONFIG": str(config)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        events = (json.loads(line)["event"] for line in process.stderr if line.startswith("{"))
        assert next(event for event in events if event in {"serving", "stopped"}) == "serving"
        server = RayServer("automask", ray_cluster.address, "", serve.get_app_handle("automask"))
        with server.channel() as channel:
            data = coffee_file.read_bytes()
            assert generate(MaskServiceStub(channel), task(data, "cup")).results
        process.send_signal(signal.SIGTERM)
        assert [event for event in events if event != "call"][-2:] == ["draining", "stopped"]
        assert process.wait() == 0
    assert "automask" not in serve.status().applications


def test_files_are_refused_in_a_cluster_of_several_nodes(ray_cluster: RayCluster, tmp_path: Path) -> None:
    told: dict[str, Any] = {"engine": "ray", "insecure": True, "store": PostgresUrl("postgresql://db/automask")}
    files = {name: load_settings(**{**told, name: tmp_path / name}) for name in ("store", "keys")}
    for settings in files.values():
        check_nodes(settings)
    with ray_cluster.another_node():
        wait_until(lambda: sum(node["Alive"] for node in ray.nodes()) == 2)
        for name, settings in files.items():
            sentence = f"{name} must be a postgresql:// URL in a cluster of 2 nodes: a file is on one of them, got"
            with pytest.raises(ParameterError, match=sentence):
                check_nodes(settings)
