"""What several tests need: the embedded model, real photos."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image
from skimage import data

import automask

# A shared machine can stall any single example; time is for benchmarks/ to measure.
settings.register_profile("automask", deadline=None)
settings.load_profile("automask")

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


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
