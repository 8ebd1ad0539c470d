"""What several tests need: the embedded model, real photos."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image
from skimage import data

import automask
from automask.session import Session
from support.postgres import Postgres, running_postgres

if TYPE_CHECKING:
    from support.ray_one_node import RayCluster

pytest_plugins = ["support.skips"]

# A shared machine can stall any single example; time is for benchmarks/ to measure.
settings.register_profile("automask", deadline=None)
settings.load_profile("automask")

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Ray's own processes take a part of two cores as long as they run: what needs them comes last.
    items.sort(key=_is_on_ray)


def _is_on_ray(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return "ray_cluster" in getattr(item, "fixturenames", ()) or (callspec and callspec.params.get("cluster")) == "ray"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    """One for all tests that need it: it takes seconds to start."""
    from support.ray_one_node import RayCluster

    with closing(RayCluster()) as cluster:
        yield cluster


@pytest.fixture(scope="module", params=["local", "ray"])
def cluster(request: pytest.FixtureRequest) -> RayCluster | None:
    """What runs the models in a test of the contract: None for threads of the server itself."""
    return request.getfixturevalue("ray_cluster") if request.param == "ray" else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres(durable=False) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def segmenter() -> automask.Segmenter:
    return automask.load(device="cpu")


@pytest.fixture(scope="session")
def coffee() -> NDArray[np.uint8]:
    """400 × 600: a cup and a spoon on a table."""
    return np.asarray(data.coffee(), np.uint8)


@pytest.fixture(scope="session")
def astronaut() -> NDArray[np.uint8]:
    """512 × 512: a person."""
    return np.asarray(data.astronaut(), np.uint8)


@pytest.fixture(scope="session")
def coffee_file(coffee: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "coffee.png"
    Image.fromarray(coffee).save(path)
    return path


@pytest.fixture(scope="session")
def jpeg(coffee: NDArray[np.uint8]) -> bytes:
    """The same as a file."""
    file = io.BytesIO()
    Image.fromarray(coffee).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture(scope="session")
def other_jpeg(jpeg: bytes) -> bytes:
    """The same photo in another file.

    What takes minutes gets this one. A server answers tasks on one file in one pass, and a task that shares a pass with
    one of minutes waits for it, even when the other one is cancelled.
    """
    return jpeg + b"\0"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the runs of each graph by its first output; the graphs really run."""
    counts: Counter[str] = Counter()
    original = Session.run

    def counting(self: Session, **inputs: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        counts[self.outputs[0]] += 1
        return original(self, **inputs)

    monkeypatch.setattr(Session, "run", counting)
    return counts
