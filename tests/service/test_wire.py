"""Conversion of tasks and results to protobuf and back, without loss."""

import pickle
from dataclasses import replace
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

import automask
from automask.errors import ImageError, ParameterError
from automask.instance import Instance
from automask.parameters import MAX_SEED, Alpha, Edges, Options, Parameters
from automask.result import Result
from automask.service.core.task import OutputFormat, Task
from automask.service.wire import responses
from automask.service.wire.responses import read_response, write_response
from automask.service.wire.tasks import decode_task, encode_message, encode_task, portable, read_task, write_task
from automask.v1 import mask_pb2
from support.results import assert_equal_results

LIMIT = 1000
ALL = tuple(OutputFormat)
MASK_PNG, ALPHA_PNG, ALPHA_WEBP, PREVIEW_PNG, MASK_RAW, COCO_RLE, POLYGONS, LOGITS = ALL

parameters = st.builds(
    Parameters,
    threshold=st.floats(0, 1),
    grow_mask=st.integers(0, 100),
    invert_mask=st.booleans(),
    return_mask=st.booleans(),
    return_alpha=st.booleans(),
    stop_on_empty_mask=st.booleans(),
    seed=st.integers(-1, MAX_SEED),
    edges=st.sampled_from(get_args(Edges)),
    alpha=st.sampled_from(get_args(Alpha)),
    feather=st.integers(0, 100),
)
prompts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip), max_size=4)
photos = st.binary(max_size=50) | arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3)))


def crossed(message: mask_pb2.MaskTask) -> Task:
    task = read_task(mask_pb2.MaskTask.FromString(message.SerializeToString()))
    task.check(max_image_bytes=LIMIT)
    return task


@given(photos, prompts.filter(bool), prompts, parameters, st.text("abc"), st.lists(st.sampled_from(ALL)))
def test_a_task_survives_the_round_trip(
    photo: bytes | NDArray[np.uint8],
    wanted: list[str],
    unwanted: list[str],
    how: Parameters,
    model: str,
    formats: list[Any],
) -> None:
    sent = Task(photo, tuple(wanted), tuple(unwanted), how, model, tuple(formats))
    task = crossed(write_task(sent))
    np.testing.assert_array_equal(task.image, photo)
    assert task == Task(task.image, tuple(wanted), tuple(unwanted), how, model, tuple(dict.fromkeys(formats)))
    stored = decode_task(encode_task(sent))
    np.testing.assert_array_equal(stored.image, photo)
    assert replace(stored, image=task.image) == task


@pytest.mark.parametrize("image", [b"photo", np.arange(12, dtype=np.uint8).reshape(2, 2, 3)])
def test_a_task_can_be_pickled(image: Any) -> None:
    task = Task(image, ("cup",), ("spoon",), Parameters(seed=7), "default", (MASK_PNG,))
    copy = pickle.loads(pickle.dumps(task, protocol=5))  # noqa: S301 (our own bytes)
    np.testing.assert_array_equal(copy.image, image)
    assert replace(copy, image=image) == task


def test_the_formats_are_those_of_the_contract() -> None:
    numbers = {f"OUTPUT_FORMAT_{one.name}": one.value for one in OutputFormat}
    assert {"OUTPUT_FORMAT_UNSPECIFIED": 0, **numbers} == dict(mask_pb2.OutputFormat.items())


def test_the_stored_form_of_a_task_does_not_change() -> None:
    """By these bytes a store recognises a task that is submitted again, also one that an older server wrote."""
    bare = mask_pb2.MaskTask(
        image=mask_pb2.Image(encoded=b"photo"), prompts=["cup"], formats=[mask_pb2.OUTPUT_FORMAT_MASK_PNG] * 2
    )
    assert encode_message(bare) == b"\n\x07\n\x05photo\x12\x03cup2\x02\x01\x01", "as it was sent"
    assert decode_task(encode_message(bare)) == Task(b"photo", ("cup",), formats=(MASK_PNG,))
    parameters = Parameters(threshold=0.5, grow_mask=3, seed=7)
    task = Task(b"photo", ("cup",), ("spoon",), parameters, "default", (MASK_PNG, COCO_RLE))
    assert encode_task(task).hex() == (
        "0a070a0570686f746f12036375701a0573706f6f6e221509000000000000e03f1003180020012800300038072a0764656661756c743202"
        "0106"
    )
    assert encode_task(Task(b"photo", ("cup",))).hex() == (
        "0a070a0570686f746f1203637570221e099a9999999999c93f100a180020012800300038ffffffffffffffffff01"
    )


def message(**changes: Any) -> mask_pb2.MaskTask:
    whole: dict[str, Any] = {"image": mask_pb2.Image(encoded=b"photo"), "prompts": ["cup"], **changes}
    return mask_pb2.MaskTask(**whole)


def raw(data: bytes, width: int, height: int, channels: int) -> mask_pb2.Image:
    return mask_pb2.Image(raw=mask_pb2.RawImage(data=data, width=width, height=height, channels=channels))


def test_missing_fields_take_their_defaults() -> None:
    assert crossed(message()) == Task(b"photo", ("cup",))


def test_zero_is_kept() -> None:
    zeros = mask_pb2.MaskParameters(threshold=0, grow_mask=0, return_mask=False, seed=0)
    assert crossed(message(parameters=zeros)).parameters == Parameters(
        threshold=0, grow_mask=0, return_mask=False, seed=0
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_raw_pixels_become_the_array_that_the_library_takes(segmenter: automask.Segmenter, channels: int) -> None:
    pixels = np.arange(3 * 5 * channels, dtype=np.uint8).reshape(3, 5, channels)
    task = crossed(message(image=raw(pixels.tobytes(), 5, 3, channels)))
    np.testing.assert_array_equal(task.image, pixels)
    assert segmenter.mask(task.image, "cup").mask.shape == (3, 5)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (mask_pb2.Image(), "no image"),
        (mask_pb2.Image(encoded=bytes(LIMIT + 1)), r"1,001 bytes.*1,000.*--max-image-mb"),
        (raw(bytes(LIMIT + 1), 1001, 1, 1), r"1,001 bytes.*1,000.*--max-image-mb"),
        (raw(bytes(11), 2, 2, 3), r"width 2.*takes 12 bytes, got 11"),
        (raw(bytes(8), 2, 2, 2), r"channels 2; channels must be 1 \(grey\), 3 \(RGB\) or 4"),
        (raw(b"", 0, 2, 3), r"width 0.*1 or more"),
        (raw(bytes(12), -2, -2, 3), r"width -2.*1 or more"),
        (raw(b"", 2**31 - 1, 2**31 - 1, 4), "takes 18,446,744,056,529,682,436 bytes, got 0"),
    ],
)
def test_an_invalid_image_is_refused(image: mask_pb2.Image, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        crossed(message(image=image))


@pytest.mark.parametrize(
    ("changes", "parameter", "words"),
    [
        ({"prompts": []}, "prompts", "hold 1 to 64 prompts, got 0"),
        ({"prompts": ["cup"] * 65}, "prompts", "hold 1 to 64 prompts, got 65"),
        ({"prompts": ["cup", " \n"]}, "prompts[1]", r"name something, got ' \\n'"),
        ({"prompts": ["x" * 1001]}, "prompts[0]", "have at most 1000 characters, got 1001"),
        ({"exclude": ["cup"] * 65}, "exclude", "hold 0 to 64 prompts, got 65"),
        ({"exclude": [""]}, "exclude[0]", "name something, got ''"),
        ({"formats": [0]}, "formats", "hold only OUTPUT_FORMAT_MASK_PNG, .*, got 0"),
        ({"formats": [1, 99]}, "formats", "got 99"),
        ({"parameters": mask_pb2.MaskParameters(threshold=1.7)}, "threshold", r"in \[0, 1\], got 1.7"),
        ({"parameters": mask_pb2.MaskParameters(threshold=float("nan"))}, "threshold", "got nan"),
        ({"parameters": mask_pb2.MaskParameters(grow_mask=-1)}, "grow_mask", r"in \[0, 100\], got -1"),
        ({"parameters": mask_pb2.MaskParameters(seed=-2)}, "seed", "got -2"),
        ({"parameters": mask_pb2.MaskParameters(feather=101)}, "feather", r"in \[0, 100\], got 101"),
        ({"parameters": mask_pb2.MaskParameters(edges=mask_pb2.EDGES_UNSPECIFIED)}, "edges", "got 0"),
        ({"parameters": mask_pb2.MaskParameters(alpha=9)}, "alpha", "be one of hard, soft, got 9"),  # type: ignore[arg-type]
    ],
)
def test_an_invalid_parameter_is_refused_by_its_name(changes: dict[str, Any], parameter: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words) as caught:
        crossed(message(**changes))
    assert caught.value.parameter == parameter


def test_files_are_sent_unchanged(coffee_file: Any) -> None:
    assert portable(coffee_file) == portable(coffee_file.read_bytes()) == coffee_file.read_bytes()


def test_arrays_are_sent_as_rgb(coffee: NDArray[np.uint8]) -> None:
    for source in (
        coffee,
        Image.fromarray(coffee),
        coffee[::-1][::-1],
        np.dstack([coffee, np.full_like(coffee, 255)])[..., :4],
    ):
        np.testing.assert_array_equal(portable(source), coffee)
    np.testing.assert_array_equal(portable(coffee[..., 0]), coffee[..., [0, 0, 0]])


def returned(results: list[Result], formats: tuple[Any, ...], photo: Any) -> list[Result]:
    response = write_response(results, Task(b"", tuple(result.prompt for result in results), formats=formats))
    answers = read_response(mask_pb2.MaskResponse.FromString(response.SerializeToString()), photo)
    return [answer for answer in answers if isinstance(answer, Result)]


@pytest.mark.parametrize("formats", [(MASK_PNG, LOGITS), (MASK_RAW, LOGITS), (ALPHA_PNG, LOGITS), ALL])
def test_results_survive_the_round_trip(
    segmenter: automask.Segmenter, coffee: NDArray[np.uint8], formats: tuple[Any, ...]
) -> None:
    results = segmenter.mask(coffee, ["the red cup", "spoon", "dog"], exclude="bowl", threshold=0.1)
    assert any(result.instances for result in results)
    assert any(result.is_empty for result in results)
    for result, other in zip(results, returned(results, formats, coffee), strict=True):
        assert_equal_results(result, other)
        assert_equal_results(result, pickle.loads(pickle.dumps(other)))  # noqa: S301 (our own bytes)


def test_raw_masks_have_a_limit(
    segmenter: automask.Segmenter, coffee: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MAX_RAW_BYTES", coffee.shape[0] * coffee.shape[1])
    result = segmenter.mask(coffee, "cup")
    assert returned([result], (MASK_RAW,), None)
    with pytest.raises(ParameterError, match="formats must not be MASK_RAW for masks of more than 0 MB together"):
        returned([result, result], (MASK_RAW,), None)


@pytest.mark.parametrize("options", [{}, {"return_alpha": True}, {"return_mask": False}])
def test_without_formats_the_chosen_picture_is_sent(
    segmenter: automask.Segmenter, coffee: NDArray[np.uint8], options: Options
) -> None:
    result = segmenter.mask(coffee, "cup", **options)
    (other,) = returned([result], (), None)  # without the photo, so it can only be what was sent
    assert other.output == result.output
    assert not other.instances


def test_other_tools_read_the_formats(segmenter: automask.Segmenter, coffee: NDArray[np.uint8]) -> None:
    result = segmenter.mask(coffee, "cup")
    message = write_response([result], Task(b"", ("cup",), formats=ALL)).results[0]
    sent: dict[int, bytes] = {media.format: media.data for media in message.media}
    webp = np.asarray(cv2.imdecode(np.frombuffer(sent[ALPHA_WEBP], np.uint8), cv2.IMREAD_UNCHANGED))
    np.testing.assert_array_equal(webp[..., 3], result.mask)
    for rle, mask in ((message.rle, result.mask), (message.instances[0].rle, result.instances[0].mask)):
        decoded = coco.decode({"size": [rle.height, rle.width], "counts": rle.counts})
        np.testing.assert_array_equal(decoded * 255, mask)
    assert [list(polygon.points) for polygon in message.polygons] == result.polygons
    assert [list(polygon.points) for polygon in message.instances[0].polygons] == result.instances[0].polygons


def test_pictures_that_were_not_sent_are_made_here_or_raise(
    segmenter: automask.Segmenter, coffee: NDArray[np.uint8]
) -> None:
    result = segmenter.mask(coffee, "cup")
    (here,) = returned([result], (MASK_PNG,), coffee)
    assert here.encode("preview", ".webp") == result.encode("preview", ".webp")
    (fetched,) = returned([result], (MASK_PNG, ALPHA_PNG), None)
    assert fetched.encode("alpha") == result.encode("alpha")
    np.testing.assert_array_equal(fetched.alpha, result.alpha)
    with pytest.raises(ImageError, match="does not carry the photo"):
        _ = fetched.preview
    with pytest.raises(ImageError, match="without its mask"):
        _ = returned([result], (COCO_RLE,), coffee)[0].mask


def test_a_replaced_mask_is_encoded_anew(segmenter: automask.Segmenter, coffee: NDArray[np.uint8]) -> None:
    result = segmenter.mask(coffee, "cup")
    (other,) = returned([result], ALL, coffee)
    inverted = replace(other, mask=255 - other.mask)
    assert inverted.encode() == replace(result, mask=255 - result.mask).encode()


def test_timings_add_up(segmenter: automask.Segmenter, coffee: NDArray[np.uint8]) -> None:
    result = segmenter.mask(coffee, "cup")
    timings = write_response([result], Task(b"", ("cup",)), queue_ms=5.0, retries=2).timings
    assert timings.inference_ms == pytest.approx(sum(timings.stages_ms.values()))
    assert timings.total_ms == pytest.approx(5.0 + timings.inference_ms)
    assert timings.retries == 2
    assert "total" not in timings.stages_ms


@given(
    arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.floats(-8, 8, width=32)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_a_window_of_logits_draws_the_same_mask(logits: NDArray[np.float32], size: tuple[int, int]) -> None:
    instance = Instance("thing", 0.5, (0.0, 0.0, 1.0, 1.0), size, logits)
    blank = np.zeros(size, np.uint8)
    result = Result(
        mask=blank, photo=np.zeros((*size, 3), np.uint8), instances=(instance,), score_map=None, prompt="thing",
        labels=("thing",), dropped=(), warnings=(), is_empty=False, parameters=Parameters(),
        timings={"total": 0.0}, device="cpu", model="none",
    )  # fmt: skip
    (other,) = returned([result], (MASK_RAW, LOGITS), None)
    np.testing.assert_array_equal(other.instances[0].mask, instance.mask)


def test_only_the_window_around_an_object_is_sent() -> None:
    logits = np.full((128, 128), -4, np.float32)
    logits[60:64, 10:20] = 4
    size = (1280, 1280)
    result = Result(
        mask=np.zeros(size, np.uint8), photo=np.zeros((*size, 3), np.uint8), score_map=None, prompt="thing",
        instances=(Instance("thing", 0.5, (0.0, 0.0, 1.0, 1.0), size, logits),), labels=("thing",), dropped=(),
        warnings=(), is_empty=False, parameters=Parameters(), timings={"total": 0.0}, device="cpu", model="none",
    )  # fmt: skip
    sent = write_response([result], Task(b"", ("thing",), formats=(LOGITS,))).results[0].instances[0].logits
    assert (sent.top, sent.left, sent.window_rows, sent.window_columns) == (57, 7, 10, 16)
    assert len(sent.data) == 10 * 16 * 4
