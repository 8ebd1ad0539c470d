"""Fixtures of several test files: the embedded model, photos, PostgreSQL and Ray; the settings of Hypothesis."""

from __future__ import annotations

import gc
import io
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image
from skimage import data

import automask
from automask import opening
from automask.devices import DEVICES
from automask.lookup import find_bundle
from automask.proof import Verdicts
from automask.proof.speed import Timing
from automask.session import Session
from support.gates import closed_gate
from support.postgres import Postgres, running_postgres

if TYPE_CHECKING:
    from support.ray_one_node import RayCluster

pytest_plugins = ["support.distribution", "support.skips"]

# No deadline: a busy machine can stall any example. benchmarks/ measures time.
settings.register_profile("automask", deadline=None)
settings.load_profile("automask")

# A job in the background of a script ignores Ctrl-C, and so would the programs that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# torch, here and in processes of the tests: the networks are tiny, and a second thread would mostly wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    # Later garbage collections need not scan the modules that the collection of tests has imported.
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache folder for the session, also of its processes: each bundle is proven once.

    The tests expect the first precision of the device, int8, also on a processor where float32 is faster. Other bundles
    are new in each run, and would be timed for a second each.
    """
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    Verdicts(find_bundle("default"), "cpu").keep_order(["int8", "fp32"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "compare", lambda *_: Timing(1.0, 1.0))
        yield


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    """One Ray cluster for the session, because it takes seconds to start."""
    from support.ray_one_node import RayCluster

    with closing(RayCluster()) as cluster:
        yield cluster


@pytest.fixture(scope="module", params=["local", "ray"])
def cluster(request: pytest.FixtureRequest) -> RayCluster | None:
    """Where a test of the wire contract runs the models: None for threads of the server, else a Ray cluster."""
    return request.getfixturevalue("ray_cluster") if request.param == "ray" else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL cluster, for the session; each user creates a database of its own."""
    with running_postgres(durable=False) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def segmenter() -> automask.Segmenter:
    """The embedded model on the CPU, in int8."""
    return automask.load(device="cpu")


@pytest.fixture(scope="session")
def coffee() -> NDArray[np.uint8]:
    """A photo of a cup and a spoon on a table, 400 × 600."""
    return np.asarray(data.coffee(), np.uint8)


@pytest.fixture(scope="session")
def astronaut() -> NDArray[np.uint8]:
    """A photo of a person, 512 × 512."""
    return np.asarray(data.astronaut(), np.uint8)


@pytest.fixture(scope="session")
def portrait(astronaut: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A part of `astronaut`, 256 × 320."""
    return astronaut[100:356, 50:370].copy()


@pytest.fixture(scope="module", params=["astronaut", "coffee", "chelsea"])
def each_photo(request: pytest.FixtureRequest) -> NDArray[np.uint8]:
    """Parts of three photos, 200 × 301, one after the other."""
    return np.array(getattr(data, request.param)()[:200, :301], np.uint8)


@pytest.fixture(scope="session")
def coffee_file(coffee: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`coffee` as a PNG file."""
    path = tmp_path_factory.mktemp("photos") / "coffee.png"
    Image.fromarray(coffee).save(path)
    return path


@pytest.fixture(scope="session")
def jpeg(coffee: NDArray[np.uint8]) -> bytes:
    """`coffee` as the bytes of a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(coffee).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture(scope="session")
def other_jpeg(jpeg: bytes) -> bytes:
    """The same photo as another file, for tasks that take long.

    A server answers tasks on the same file in one pass. A short task that shares a pass with a long one would wait for
    the long one, even after that one is cancelled.
    """
    return jpeg + b"\0"


@pytest.fixture
def own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a device `new` with its own memory: the CPU's provider, of which outputs are bound as on a GPU."""
    row = replace(DEVICES["cpu"], name="new", memory="cpu", identify=lambda: "a chip", automatic="never")
    monkeypatch.setitem(DEVICES, "new", row)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Number of runs of each graph, by the name of its first output. The graphs do run."""
    counts: Counter[str] = Counter()
    original = Session.run

    def counting(self: Session, **inputs: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        counts[self.outputs[0]] += 1
        return original(self, **inputs)

    monkeypatch.setattr(Session, "run", counting)
    return counts


@pytest.fixture
def gate() -> Iterator[Event]:
    """Until it is set, no graph starts in this process: what runs then has begun, and does not end."""
    with closed_gate() as gate:
        yield gate


@pytest.fixture
def stops_early(runs: Counter[str]) -> Iterator[None]:
    """Fail a test whose long task is not stopped: 64 prompts at threshold 0 draw 1,270 masks.

    Only servers in this process are seen, not those on Ray.
    """
    yield
    assert runs["logits"] < 600
