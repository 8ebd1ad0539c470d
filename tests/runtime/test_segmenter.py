"""The Python API on real photos with the embedded model."""

import base64
import io
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

import automask
from automask import postprocess
from automask.families.finders.finder import MAX_WITH_WEAK
from automask.images import read_image

Pixels = NDArray[np.uint8]


def test_a_cup_is_found_where_it_is(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    result = segmenter.mask(coffee, "cup", grow_mask=0)
    assert result.mask.shape == coffee.shape[:2]
    assert set(np.unique(result.mask)) == {0, 255}
    assert not result.is_empty
    left, top, right, bottom = result.instances[0].box
    inside = result.mask[int(top) : int(bottom), int(left) : int(right)] > 0
    assert inside.mean() > 0.5
    assert inside.sum() > 0.95 * (result.mask > 0).sum()
    assert (result.prompt, result.labels, result.model, result.device) == ("cup", ("cup",), "default", "cpu")
    assert result.score_map is None
    assert result.timings["total"] == pytest.approx(sum(ms for stage, ms in result.timings.items() if stage != "total"))


def test_the_mask_is_the_union_of_its_instances(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    result = segmenter.mask(coffee, "cup and dining table and spoon", grow_mask=0, threshold=0.05, edges="model")
    assert len(result.instances) > 2
    assert sorted(result.instances, key=lambda one: -one.score) == list(result.instances)
    assert all(0.05 <= one.score <= 1 for one in result.instances)
    np.testing.assert_array_equal(postprocess.union([one.mask for one in result.instances]), result.mask)
    for one in result.instances:
        np.testing.assert_array_equal(coco.decode(one.rle) * 255, one.mask)
        left, top, right, bottom = one.box
        assert 0 <= left < right <= 600
        assert 0 <= top < bottom <= 400
    assert result.polygons
    assert coco.decode(result.rle).sum() == (result.mask > 0).sum()


def test_each_parameter_has_its_effect(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    plain = segmenter.mask(coffee, "cup", grow_mask=0)
    grown = segmenter.mask(coffee, "cup", grow_mask=25)
    np.testing.assert_array_equal(grown.mask, postprocess.grow(plain.mask, 25))
    np.testing.assert_array_equal(segmenter.mask(coffee, "cup").mask, postprocess.grow(plain.mask, 10))
    inverted = segmenter.mask(coffee, "cup", grow_mask=25, invert_mask=True)
    np.testing.assert_array_equal(inverted.mask, 255 - grown.mask)
    assert segmenter.mask(coffee, "cup", threshold=1).is_empty
    assert segmenter.mask(coffee, "cup", seed=7).seed == 7
    np.testing.assert_array_equal(plain.alpha[..., 3], plain.mask)
    np.testing.assert_array_equal(plain.preview[plain.mask == 0], coffee[plain.mask == 0])


def test_a_lower_threshold_never_finds_less(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    found = [len(segmenter.mask(coffee, "spoon", threshold=t).instances) for t in (1, 0.5, 0.2, 0.1, 0.05)]
    assert found == sorted(found)


def test_a_threshold_of_zero_draws_few_objects_and_says_so(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    for image in (coffee, np.asarray(coffee[:48, :64])):
        result = segmenter.mask(image, "spoon", threshold=0)
        assert len(result.instances) == MAX_WITH_WEAK
        (warning,) = result.warnings
        assert warning.startswith("there are more objects with a score of at least 0 than the 20 best ones")
    assert not segmenter.mask(coffee, "spoon").warnings


@pytest.mark.parametrize(
    ("options", "kind", "channels"),
    [
        ({}, "mask", 1),
        ({"return_alpha": True}, "alpha", 4),
        ({"return_alpha": True, "return_mask": False}, "alpha", 4),
        ({"return_mask": False}, "preview", 3),
    ],
)
def test_output_is_what_the_hosted_api_would_answer(
    segmenter: automask.Segmenter,
    coffee: Pixels,
    options: dict[str, Any],
    kind: str,
    channels: int,
    tmp_path: Path,
) -> None:
    result = segmenter.mask(coffee, "cup", **options)
    assert result.kind == kind
    assert isinstance(result.output, bytes)
    image = Image.open(io.BytesIO(result.output))
    assert len(image.getbands()) == channels
    np.testing.assert_array_equal(np.asarray(image), getattr(result, kind))
    text = segmenter.mask(coffee, "cup", base64=True, **options).output
    assert isinstance(text, str)
    assert base64.b64decode(text) == result.output
    for suffix in (".png", ".webp"):
        saved = np.asarray(Image.open(result.save(tmp_path / f"out{suffix}")).convert(image.mode))
        shown = saved if kind != "alpha" else saved * (saved[..., 3:] > 0)
        expected = np.asarray(image) if kind != "alpha" else np.asarray(image) * (np.asarray(image)[..., 3:] > 0)
        np.testing.assert_array_equal(shown, expected)


def test_sides_that_a_format_cannot_hold_are_refused(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    result = segmenter.mask(coffee, "cup")
    for suffix, longest in ((".png", 1_000_000), (".webp", 16_383)):
        assert replace(result, mask=np.zeros((1, longest), np.uint8)).encode("mask", suffix)
        with pytest.raises(automask.ImageError, match=rf"\{suffix} holds at most {longest} pixels a side, it is"):
            replace(result, mask=np.zeros((longest + 1, 1), np.uint8)).encode("mask", suffix)


def test_saving_refuses_lossy_formats(segmenter: automask.Segmenter, coffee: Pixels, tmp_path: Path) -> None:
    result = segmenter.mask(coffee, "cup")
    with pytest.raises(automask.ParameterError, match=r"suffix must be one of \.png, \.webp, .* got '\.jpg'"):
        result.save(tmp_path / "mask.jpg")
    with pytest.raises(automask.ParameterError, match="kind must be one of mask, alpha, preview, got 'video'"):
        result.save(tmp_path / "mask.png", "video")  # type: ignore[arg-type]


def test_nothing_found_is_a_black_mask_or_an_error(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    result = segmenter.mask(coffee, "zebra")
    assert result.is_empty
    assert not result.mask.any()
    assert result.instances == ()
    inverted = segmenter.mask(coffee, "zebra", invert_mask=True)
    assert inverted.is_empty
    assert inverted.mask.all()
    with pytest.raises(automask.EmptyMaskError, match="nothing in the image matches 'zebra' at threshold 0.2"):
        segmenter.mask(coffee, "zebra", stop_on_empty_mask=True)


def test_dropped_words_are_reported(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    result = segmenter.mask(coffee, "the red cup on the saucer")
    assert (result.prompt, result.labels) == ("the red cup on the saucer", ("cup",))
    assert {word for words in result.dropped for word in words.split()} >= {"red", "on", "saucer"}
    (warning,) = result.warnings
    assert "'red'" in warning
    assert segmenter.mask(coffee, "the cup").warnings == ()


def test_an_unknown_prompt_is_refused(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    message = "'sky' is not among the 80 kinds .* for free text: `automask pull --list`"
    with pytest.raises(automask.UnknownPromptError, match=message) as caught:
        segmenter.mask(coffee, "sky")
    assert (caught.value.prompt, caught.value.nearest) == ("sky", ())


@pytest.mark.parametrize("prompt", ["", "  ", [], ["cup", ""], ["cup", 3], 7, None])
def test_bad_prompts_are_refused(segmenter: automask.Segmenter, coffee: Pixels, prompt: Any) -> None:
    with pytest.raises(automask.ParameterError, match="^prompt must "):
        segmenter.mask(coffee, prompt)


def test_excluded_pixels_are_subtracted_after_growing(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    cup = segmenter.mask(coffee, "cup", grow_mask=0)
    table = segmenter.mask(coffee, "table", grow_mask=20)
    without = segmenter.mask(coffee, "table", grow_mask=20, exclude="cup")
    assert (table.mask & cup.mask).any()
    np.testing.assert_array_equal(without.mask, postprocess.subtract(table.mask, cup.mask))
    with pytest.raises(automask.UnknownPromptError):
        segmenter.mask(coffee, "table", exclude=["cup", "sky"])


def test_several_prompts_share_one_run(coffee: Pixels, runs: Counter[str]) -> None:
    segmenter = automask.load(device="cpu")
    together = segmenter.mask(coffee, ["cup", "table", "zebra", "cup"], exclude="spoon")
    boxes = {one.box for result in together for one in result.instances}
    assert runs == {"scores": 1, "image_embedding": 1, "logits": len(boxes)}
    assert [result.prompt for result in together] == ["cup", "table", "zebra", "cup"]
    for result in together:
        np.testing.assert_array_equal(segmenter.mask(coffee, result.prompt, exclude="spoon").mask, result.mask)


def test_a_second_prompt_does_not_run_the_encoder_again(coffee_file: Path, runs: Counter[str]) -> None:
    segmenter = automask.load(device="cpu")
    segmenter.mask(coffee_file, "cup")
    segmenter.mask(coffee_file, "table")
    segmenter.mask(coffee_file.read_bytes(), "bowl", threshold=0.05)  # the same content by another way
    assert (runs["scores"], runs["image_embedding"]) == (1, 1)
    info = segmenter.cache_info()
    assert 0 < info.bytes <= info.max_bytes
    assert info.hits >= 6
    segmenter.mask(np.asarray(Image.open(coffee_file))[:, ::-1], "cup")
    assert (runs["scores"], runs["image_embedding"]) == (2, 2)


def test_nothing_found_costs_no_encoding(coffee: Pixels, runs: Counter[str]) -> None:
    automask.load(device="cpu").mask(coffee, "zebra")
    assert runs == {"scores": 1}


def test_without_cache_everything_runs_again_and_agrees(
    coffee: Pixels, segmenter: automask.Segmenter, runs: Counter[str]
) -> None:
    uncached = automask.load(device="cpu", cache_bytes=0)
    masks = [uncached.mask(coffee, "cup").mask for _ in range(2)]
    assert runs["image_embedding"] == 2
    assert uncached.cache_info().bytes == 0
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], segmenter.mask(coffee, "cup").mask)


def test_a_reused_frame_buffer_does_not_change_earlier_results(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    """A camera writes the next frame into the same array; results of the last one must not change."""
    frame = coffee.copy()
    result = segmenter.mask(frame, "cup")
    frame[:] = 0
    np.testing.assert_array_equal(result.alpha[..., :3], coffee)
    assert segmenter.mask(frame, "cup").is_empty
    assert not segmenter.mask(coffee, "cup").is_empty


def test_threads_agree(coffee: Pixels, astronaut: Pixels) -> None:
    segmenter = automask.load(device="cpu")
    jobs = [(coffee, "cup"), (astronaut, "person"), (coffee, "table"), (coffee[::-1], "cup")] * 4
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda job: segmenter.mask(*job).mask, jobs))
    for (image, prompt), mask in zip(jobs, answers, strict=True):
        np.testing.assert_array_equal(mask, segmenter.mask(image, prompt).mask)


def test_many_images_in_order_with_bounded_memory(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    taken = []

    def endless() -> Iterator[Pixels]:
        while True:
            taken.append(1)
            yield np.roll(coffee, len(taken), axis=1)

    answers = segmenter.mask_many(endless(), "cup")
    assert not taken
    for count in range(1, 4):
        result = next(answers)
        np.testing.assert_array_equal(result.image, np.roll(coffee, count, axis=1))
        assert len(taken) <= count + 2


def test_one_bad_image_does_not_end_the_run(segmenter: automask.Segmenter, coffee_file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("<html>")
    answers = list(segmenter.mask_many([coffee_file, bad, coffee_file], "cup", return_errors=True))
    assert isinstance(answers[0], automask.Result)
    assert isinstance(answers[1], automask.ImageError)
    assert str(bad) in str(answers[1])
    assert isinstance(answers[2], automask.Result)
    with pytest.raises(automask.ImageError):
        list(segmenter.mask_many([coffee_file, bad], "cup"))
    with pytest.raises(automask.UnknownPromptError):
        segmenter.mask_many([coffee_file], "sky")
    with pytest.raises(automask.ParameterError, match="grow_mask"):
        segmenter.mask_many([coffee_file], "cup", grow_mask=101)


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (3, 2), (5000, 10_000)])
def test_odd_sizes_work(segmenter: automask.Segmenter, shape: tuple[int, int]) -> None:
    result = segmenter.mask(np.full((*shape, 3), 90, np.uint8), "person", threshold=0.01)
    assert result.mask.shape == shape
    assert result.instances[0].mask.shape == shape


@pytest.fixture(scope="module")
def exact() -> automask.Segmenter:
    """In fp32: how far int8 masks of two nearly equal images differ depends on the processor."""
    return automask.load(device="cpu", precision="fp32")


def test_the_same_photo_in_another_size_gives_the_same_mask(exact: automask.Segmenter, coffee: Pixels) -> None:
    small = exact.mask(coffee, "cup", grow_mask=0).mask
    large = exact.mask(cv2.resize(coffee, (3600, 2400), interpolation=cv2.INTER_CUBIC), "cup", grow_mask=0).mask
    back = cv2.resize(large, (600, 400), interpolation=cv2.INTER_AREA) > 127
    assert (back & (small > 0)).sum() / (back | (small > 0)).sum() > 0.97


def test_a_turned_photo_gives_its_mask_upright(segmenter: automask.Segmenter, coffee: Pixels, tmp_path: Path) -> None:
    lying, exif = Image.fromarray(np.rot90(coffee)), Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to see it upright
    lying.save(tmp_path / "lying.png", exif=exif)
    result = segmenter.mask(tmp_path / "lying.png", "cup")
    np.testing.assert_array_equal(result.image, coffee)
    np.testing.assert_array_equal(result.mask, segmenter.mask(coffee, "cup").mask)


def test_a_large_jpeg_is_decoded_at_full_size_only_when_its_image_is_read(coffee: Pixels, tmp_path: Path) -> None:
    fresh = automask.load(device="cpu", precision="fp32")
    large, exif = np.rot90(cv2.resize(coffee, (3601, 2401), interpolation=cv2.INTER_CUBIC)), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(large).save(tmp_path / "lying.jpg", exif=exif, quality=95)
    result = fresh.mask(tmp_path / "lying.jpg", "cup")
    assert fresh.cache_info().bytes < large.nbytes
    whole = read_image(tmp_path / "lying.jpg")
    np.testing.assert_array_equal(result.image, whole)
    np.testing.assert_array_equal(result.alpha, np.dstack((whole, result.mask)))
    expected = fresh.mask(whole, "cup")
    assert ((result.mask & expected.mask) > 0).sum() / ((result.mask | expected.mask) > 0).sum() > 0.98
    assert result.instances[0].size == expected.instances[0].size == (2401, 3601)
    again = fresh.mask(tmp_path / "lying.jpg", "cup", grow_mask=0)
    assert again.mask.shape == (2401, 3601)


def test_results_print_briefly(segmenter: automask.Segmenter, coffee: Pixels) -> None:
    assert len(repr(segmenter.mask(coffee, "cup"))) < 800
    assert repr(segmenter) == "<Segmenter 'default' on cpu>"


def test_calibration_puts_the_operating_point_at_the_default() -> None:
    bundle = automask.load(device="cpu").bundle
    raw, score = zip(*bundle.calibration, strict=True)
    assert np.interp([0, 0.35, 1], raw, score).tolist() == [0, pytest.approx(0.2), 1]
    assert json.loads((bundle.folder / "automask.json").read_text())["calibration"] == [
        list(p) for p in bundle.calibration
    ]
