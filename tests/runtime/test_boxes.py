"""Family `boxes`: any finder with any drawer, and what is done to the masks that the drawer draws."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import automask
from automask.bundle import MANIFEST, Bundle
from automask.cache import Arrays, ByteCache
from automask.families.drawers.border import reach_borders
from automask.families.drawers.specks import remove_specks
from automask.families.family import Picture, Prediction, Stopwatch
from automask.families.finders import FINDERS, Detections
from automask.lookup import find_bundle
from automask.session import Session
from automask.words.any_text import AnyText

Pixels = NDArray[np.uint8]


class WholeImage:
    """A finder for any text, which finds one object in every image: all of it."""

    reads_together = False

    def __init__(self, bundle: Bundle, sessions: dict[str, Session], cache: ByteCache[Arrays]) -> None:
        del sessions, cache
        self.words = self.read_words(bundle)

    @staticmethod
    def read_words(bundle: Bundle) -> AnyText:
        del bundle
        return AnyText()

    def find(
        self, picture: Picture, prompts: Sequence[str], thresholds: Sequence[float], watch: Stopwatch
    ) -> list[Detections]:
        del thresholds, watch
        height, width = picture.size
        box, score = np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32)
        return [Detections(Prediction((prompt,)), box, score, (prompt,)) for prompt in prompts]


def test_a_manifest_names_its_finder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coffee: Pixels, runs: Counter[str]
) -> None:
    monkeypatch.setitem(FINDERS, "whole_image", WholeImage)
    folder = Path(shutil.copytree(find_bundle("default").folder, tmp_path / "bundle"))
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "kinds": {"finder": "whole_image"}, "proof": None}))
    segmenter = automask.load(folder, device="cpu")
    assert segmenter.vocabulary == ()
    first, second = segmenter.mask(coffee, ["whatever this is", "and that"], grow_mask=0)
    assert runs == {"image_embedding": 1, "logits": 1}  # both prompts share one box
    assert [(one.label, one.box) for one in first.instances] == [("whatever this is", (0, 0, 600, 400))]
    assert second.instances[0].label == "and that"
    assert not first.is_empty


def drawn(*squares: tuple[int, int, int]) -> NDArray[np.float32]:
    """Logits of a (128, 128) mask: +1 in squares of a given top, left and side, -1 elsewhere."""
    logits = np.full((128, 128), -1, np.float32)
    for top, left, side in squares:
        logits[top : top + side, left : left + side] = 1
    return logits


def test_a_mask_reaches_the_borders_that_its_box_reaches() -> None:
    logits = drawn((20, 20, 106))  # ends two cells before both borders
    box, size = (200.0, 200.0, 1280.0, 1280.0), (1280, 1280)
    below = reach_borders(logits, box, size, (True, False))
    assert (below[-1, 20:126] > 0).all()
    assert (below[:, 126:] < 0).all()
    assert (reach_borders(logits, box, size, (True, True))[20:, 20:] > 0).all()
    np.testing.assert_array_equal(below[:126], logits[:126])
    for unreached in ((200.0, 200.0, 1280.0, 1277.0), None):
        assert reach_borders(logits, unreached, size, (True, False)) is logits
    assert reach_borders(logits, box, size, (False, False)) is logits


def test_the_table_goes_on_to_the_lower_border(segmenter: automask.Segmenter, coffee: NDArray[np.uint8]) -> None:
    table = segmenter.mask(coffee, "table", grow_mask=0, edges="model").mask > 0
    assert table[-1].sum() >= table[-12].sum() - 10


def test_small_parts_are_removed_and_large_ones_kept() -> None:
    kept = drawn((10, 10, 50), (80, 80, 20))  # the second one has 16 % of the first one's area
    np.testing.assert_array_equal(remove_specks(kept), kept)
    np.testing.assert_array_equal(remove_specks(np.maximum(kept, drawn((100, 5, 10)))), kept)  # 4 %


def test_small_holes_are_filled_and_large_ones_kept() -> None:
    solid, ring = drawn((10, 10, 60)), drawn((10, 10, 60))
    ring[30:50, 30:50] = -1  # 11 %, as in a doughnut
    np.testing.assert_array_equal(remove_specks(ring), ring)
    pierced = solid.copy()
    pierced[30:34, 30:34] = -1
    np.testing.assert_array_equal(remove_specks(pierced), solid)


@given(st.integers(0, 2**32 - 1), st.floats(-1, 1))
def test_only_signs_change_and_an_empty_mask_stays_empty(seed: int, shift: float) -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(64, 64)).astype(np.float32), (0, 0), 3) + shift
    before = noise.copy()
    clean = remove_specks(noise)
    np.testing.assert_array_equal(noise, before)
    np.testing.assert_array_equal(np.abs(clean), np.abs(noise))
    assert (clean > 0).any() == (noise > 0).any()


def test_the_mask_of_a_person_has_one_part(segmenter: automask.Segmenter, astronaut: NDArray[np.uint8]) -> None:
    mask = segmenter.mask(astronaut, "astronaut", grow_mask=0).mask
    parts, _ = cv2.connectedComponents(mask)
    assert parts == 2  # with the background
