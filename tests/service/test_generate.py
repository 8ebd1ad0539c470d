"""Generate, GenerateStream and ListModels of a real server, called through bare stubs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

import automask
from automask.service import Client
from automask.v1 import mask_pb2
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from automask.words.meaning import Meaning, Term
from automask.words.vocabulary import Vocabulary
from support.threaded_server import connect, pending_tasks, rich_status, serving, wait_until

if TYPE_CHECKING:
    from support.ray_one_node import RayCluster


@pytest.fixture(scope="module")
def server(cluster: RayCluster | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with serving(tmp_path_factory.mktemp("server"), cluster, max_image_mb=2, decode_processes=1) as server:
        yield server


@pytest.fixture(scope="module")
def stub(server: Any) -> Iterator[MaskServiceStub]:
    with connect(server) as channel:
        yield MaskServiceStub(channel)


def encoded(data: bytes, *prompts: str, **parameters: object) -> mask_pb2.MaskTask:
    return mask_pb2.MaskTask(
        image=mask_pb2.Image(encoded=data),
        prompts=prompts or ("cup",),
        parameters=mask_pb2.MaskParameters(**parameters),  # type: ignore[arg-type]
    )


def generate(stub: MaskServiceStub, task: mask_pb2.MaskTask) -> mask_pb2.MaskResponse:
    return stub.Generate(messages.GenerateRequest(task=task)).response


def picture(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)), np.uint8)


def refused(stub: MaskServiceStub, task: mask_pb2.MaskTask) -> Status:
    """The rich error of a call, which must agree with the plain one."""
    with pytest.raises(grpc.RpcError) as caught:
        generate(stub, task)
    return rich_status(caught.value)


def details(status: Status) -> tuple[str, list[tuple[str, str]]]:
    """Reason and violations."""
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        _ = detail.Unpack(info) or detail.Unpack(bad)
    assert info.domain == "automask"
    return info.reason, [(one.field, one.description) for one in bad.field_violations]


def test_generate_returns_the_mask_of_the_library(
    stub: MaskServiceStub, segmenter: automask.Segmenter, jpeg: bytes
) -> None:
    response = generate(stub, encoded(jpeg, "the red cup"))
    expected = segmenter.mask(jpeg, "the red cup")
    (result,) = response.results
    np.testing.assert_array_equal(picture(result.media[0].data), expected.mask)
    assert (result.prompt, [*result.labels], [*result.dropped]) == ("the red cup", ["cup"], ["red"])
    assert [*result.warnings] == [*expected.warnings]
    assert (result.width, result.height) == (600, 400)
    assert response.model == "default"
    assert response.device == "cpu"
    assert response.timings.total_ms >= response.timings.inference_ms > 0
    assert {"decode", "detect", "masks", "respond"} <= response.timings.stages_ms.keys()


def test_missing_parameters_take_their_defaults_and_zero_is_kept(stub: MaskServiceStub, jpeg: bytes) -> None:
    left_out = generate(stub, encoded(jpeg)).parameters
    assert (left_out.threshold, left_out.grow_mask, left_out.seed) == (0.2, 10, -1)
    assert (left_out.return_mask, left_out.return_alpha, left_out.invert_mask) == (True, False, False)
    zero = generate(stub, encoded(jpeg, threshold=0.0, grow_mask=0, seed=0, return_mask=False))
    assert (zero.parameters.threshold, zero.parameters.grow_mask, zero.parameters.seed) == (0, 0, 0)
    assert zero.parameters.HasField("grow_mask")
    assert zero.results[0].media[0].format == mask_pb2.OUTPUT_FORMAT_PREVIEW_PNG


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_raw_pixels_give_the_mask_of_the_library(
    stub: MaskServiceStub, segmenter: automask.Segmenter, coffee: NDArray[np.uint8], channels: int
) -> None:
    grey = coffee[..., :1]
    pixels = {1: grey, 3: coffee, 4: np.concatenate((coffee, 255 - grey), axis=2)}[channels]
    raw = mask_pb2.RawImage(data=pixels.tobytes(), width=600, height=400, channels=channels)
    task = mask_pb2.MaskTask(image=mask_pb2.Image(raw=raw), prompts=["cup"])
    mask = picture(generate(stub, task).results[0].media[0].data)
    np.testing.assert_array_equal(mask, segmenter.mask(pixels, "cup").mask)


def test_each_output_format_holds_the_mask(stub: MaskServiceStub, segmenter: automask.Segmenter, jpeg: bytes) -> None:
    task = encoded(jpeg)
    task.formats.extend(value for value in mask_pb2.OutputFormat.values() if value)
    task.formats.append(mask_pb2.OUTPUT_FORMAT_MASK_PNG)  # twice counts once
    (result,) = generate(stub, task).results
    expected = segmenter.mask(jpeg, "cup")
    media = {one.format: one.data for one in result.media}
    assert len(media) == len(result.media) == 5
    np.testing.assert_array_equal(picture(media[mask_pb2.OUTPUT_FORMAT_MASK_PNG]), expected.mask)
    np.testing.assert_array_equal(picture(media[mask_pb2.OUTPUT_FORMAT_ALPHA_PNG]), expected.alpha)
    webp = picture(media[mask_pb2.OUTPUT_FORMAT_ALPHA_WEBP])
    np.testing.assert_array_equal(webp[..., 3], expected.mask)
    np.testing.assert_array_equal(webp[expected.mask != 0], expected.alpha[expected.mask != 0])
    np.testing.assert_array_equal(picture(media[mask_pb2.OUTPUT_FORMAT_PREVIEW_PNG]), expected.preview)
    assert media[mask_pb2.OUTPUT_FORMAT_MASK_RAW] == expected.mask.tobytes()
    assert [list(polygon.points) for polygon in result.polygons] == expected.polygons
    for rle, mask in [(result.rle, expected.mask), (result.instances[0].rle, expected.instances[0].mask)]:
        decoded = coco.decode({"size": [rle.height, rle.width], "counts": rle.counts.encode()})
        np.testing.assert_array_equal(decoded * 255, mask)
    assert result.instances[0].logits.data


def test_a_selection(stub: MaskServiceStub, segmenter: automask.Segmenter, jpeg: bytes) -> None:
    box = mask_pb2.Box(left=448, top=250, right=530, bottom=325)
    alone = mask_pb2.MaskTask(image=mask_pb2.Image(encoded=jpeg), box=box)
    corrected = encoded(jpeg, "cup")
    corrected.points.add(x=300, y=180, negative=True)
    picked = encoded(jpeg, "cup and table")
    picked.drop.append(0)
    expected = [
        segmenter.mask(jpeg, box=(448, 250, 530, 325)),
        segmenter.mask(jpeg, "cup", points=[(300, 180, 0)]),
        segmenter.mask(jpeg, "cup and table", drop=[0]),
    ]
    for task, wanted in zip((alone, corrected, picked), expected, strict=True):
        (result,) = generate(stub, task).results
        np.testing.assert_array_equal(picture(result.media[0].data), wanted.mask)
        assert [one.label for one in result.instances] == [one.label for one in wanted.instances]
    picked.drop.append(64)
    reason, violations = details(refused(stub, picked))
    assert (reason, violations[0][0]) == ("INVALID_PARAMETER", "drop")


def test_several_prompts_and_an_exclusion(stub: MaskServiceStub, segmenter: automask.Segmenter, jpeg: bytes) -> None:
    task = encoded(jpeg, "dining table", "cup")
    task.exclude.append("cup")
    results = generate(stub, task).results
    expected = segmenter.mask(jpeg, ["dining table", "cup"], exclude="cup")
    for got, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(picture(got.media[0].data), wanted.mask)


@pytest.mark.parametrize(
    ("change", "reason", "field", "says"),
    [
        ({"threshold": 1.7}, "INVALID_PARAMETER", "threshold", "in [0, 1], got 1.7"),
        ({"grow_mask": 101}, "INVALID_PARAMETER", "grow_mask", "in [0, 100], got 101"),
        ({"seed": -2}, "INVALID_PARAMETER", "seed", "got -2"),
        ({"prompts": ()}, "INVALID_PARAMETER", "prompts", "1 to 64 prompts, got 0"),
        ({"prompts": ("cup",) * 65}, "INVALID_PARAMETER", "prompts", "1 to 64 prompts, got 65"),
        ({"prompts": ("cup", " ")}, "INVALID_PARAMETER", "prompts[1]", "name something"),
        ({"prompts": ("x" * 1001,)}, "INVALID_PARAMETER", "prompts[0]", "at most 1000 characters, got 1001"),
        ({"prompts": ("sky",)}, "UNKNOWN_PROMPT", "prompts", "'sky' is not among the 80 kinds"),
        ({"exclude": ("sky",)}, "UNKNOWN_PROMPT", "prompts", "'sky' is not among the 80 kinds"),
        ({"formats": (99,)}, "INVALID_PARAMETER", "formats", "got 99"),
        ({"formats": (0,)}, "INVALID_PARAMETER", "formats", "got 0"),
        ({"image": None}, "INVALID_IMAGE", "image", "there is no image"),
        ({"image": b"no image"}, "INVALID_IMAGE", "image", "not an image: starts with b'no image'"),
        ({"image": b"\xff" * 2_000_001}, "INVALID_IMAGE", "image", "2,000,001 bytes, this server takes 2,000,000"),
        ({"raw": (10, 10, 3, 299)}, "INVALID_IMAGE", "image", "that takes 300 bytes, got 299"),
        ({"raw": (10, 10, 2, 200)}, "INVALID_IMAGE", "image", "channels must be 1 (grey), 3 (RGB) or 4 (RGBA)"),
        ({"raw": (1_000_001, 1, 1, 1_000_001)}, "INVALID_IMAGE", "image", "over the limit of 1000000 pixels a side"),
        ({"raw": (1, 1_000_001, 1, 1_000_001)}, "INVALID_IMAGE", "image", "over the limit of 1000000 pixels a side"),
        ({"raw": (0, 10, 3, 0)}, "INVALID_IMAGE", "image", "height and width must be 1 or more"),
        ({"model": "clip"}, "NOT_FOUND", None, "no model 'clip' is loaded here; there is 'default'"),
        ({"prompts": ("zebra",), "stop_on_empty_mask": True}, "EMPTY_MASK", None, "nothing in the image matches"),
    ],
)
def test_invalid_tasks_get_an_error_that_names_the_field(
    stub: MaskServiceStub, jpeg: bytes, change: dict[str, object], reason: str, field: str | None, says: str
) -> None:
    task = encoded(jpeg)
    for name, value in change.items():
        if name in mask_pb2.MaskParameters.DESCRIPTOR.fields_by_name:
            setattr(task.parameters, name, value)
        elif name == "raw":
            assert isinstance(value, tuple)
            width, height, channels, size = value
            raw = mask_pb2.RawImage(data=bytes(size), width=width, height=height, channels=channels)
            task.image.CopyFrom(mask_pb2.Image(raw=raw))
        elif name == "image":
            task.ClearField("image")
            if value is not None:
                task.image.encoded = value  # type: ignore[assignment]
        elif name == "model":
            task.model = str(value)
        else:
            assert isinstance(value, tuple)
            del getattr(task, name)[:]
            getattr(task, name).extend(value)
    status = refused(stub, task)
    assert says in status.message
    got, violations = details(status)
    assert got == reason
    assert [name for name, _ in violations] == ([field] if field else [])
    assert generate(stub, encoded(jpeg)).results, "the service goes on"


def test_a_message_beyond_the_transport_limit_gets_a_plain_error(stub: MaskServiceStub) -> None:
    """Far beyond the limit on images nothing is even read, and so nothing rich can be said."""
    with pytest.raises(grpc.RpcError) as caught:
        generate(stub, encoded(bytes(40_000_000)))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_frames_keep_their_order_and_an_invalid_frame_fails_alone(
    stub: MaskServiceStub, segmenter: automask.Segmenter, coffee: NDArray[np.uint8], jpeg: bytes
) -> None:
    pictures = [jpeg, jpeg[:500], b"", jpeg]
    frames = [encoded(data) for data in pictures]
    turned = np.ascontiguousarray(coffee[:, ::-1])
    raw = mask_pb2.RawImage(data=turned.tobytes(), width=600, height=400, channels=3)
    frames.append(mask_pb2.MaskTask(image=mask_pb2.Image(raw=raw), prompts=["cup"]))
    answers = list(stub.GenerateStream(messages.GenerateStreamRequest(task=frame) for frame in frames))
    assert [answer.index for answer in answers] == [0, 1, 2, 3, 4]
    assert [answer.WhichOneof("outcome") for answer in answers] == [
        "response",
        "error",
        "error",
        "response",
        "response",
    ]
    assert "truncated" in answers[1].error.message
    assert details(answers[2].error) == ("INVALID_IMAGE", [("image", answers[2].error.message)])
    last = picture(answers[4].response.results[0].media[0].data)
    np.testing.assert_array_equal(last, segmenter.mask(turned, "cup").mask)


def test_frames_are_answered_before_the_last_one_is_sent(stub: MaskServiceStub, jpeg: bytes) -> None:
    """A camera sends its next frame only after it has seen an answer to the last but one."""
    first = Event()

    def camera() -> Iterator[messages.GenerateStreamRequest]:
        for _ in range(3):
            yield messages.GenerateStreamRequest(task=encoded(jpeg))
        first.wait()
        yield messages.GenerateStreamRequest(task=encoded(jpeg))

    answers = stub.GenerateStream(camera())
    assert next(answers).index == 0
    first.set()
    assert [answer.index for answer in answers] == [1, 2, 3]


def test_cancelling_a_stream_stops_its_tasks(server: Any, stub: MaskServiceStub, jpeg: bytes) -> None:
    def endless() -> Iterator[messages.GenerateStreamRequest]:
        while True:
            yield messages.GenerateStreamRequest(task=encoded(jpeg))

    stream = stub.GenerateStream(endless())
    next(stream)
    stream.cancel()
    with pytest.raises(grpc.RpcError):
        list(stream)
    assert generate(stub, encoded(jpeg)).results
    wait_until(lambda: pending_tasks(server) == 0)


def test_batched_calls_on_one_image_get_their_own_results(
    stub: MaskServiceStub, segmenter: automask.Segmenter, coffee: NDArray[np.uint8]
) -> None:
    """Batches form here; one of them has an unhappy member."""
    file = io.BytesIO()
    Image.fromarray(coffee[:, ::-1]).save(file, "PNG")
    asked = [("cup", 0.2), ("dining table", 0.3), ("spoon", 0.1), ("zebra", 0.2), ("cup", 0.99)] * 4

    def ask(prompt: str, threshold: float) -> mask_pb2.MaskResponse | Status:
        task = encoded(file.getvalue(), prompt, threshold=threshold, stop_on_empty_mask=prompt == "zebra")
        try:
            return generate(stub, task)
        except grpc.RpcError as error:
            return rich_status(error)

    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(lambda pair: ask(*pair), asked))
    for (prompt, threshold), answer in zip(asked, answers, strict=True):
        if prompt == "zebra":
            assert isinstance(answer, Status)
            assert details(answer)[0] == "EMPTY_MASK"
            continue
        assert isinstance(answer, mask_pb2.MaskResponse)
        expected = segmenter.mask(file.getvalue(), prompt, threshold=threshold).mask
        np.testing.assert_array_equal(picture(answer.results[0].media[0].data), expected)


def test_a_prompt_is_resolved_once_per_call(tmp_path: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved: list[str] = []
    resolve = Vocabulary.resolve

    def count(words: Vocabulary, prompt: str) -> Meaning[tuple[Term, ...]]:
        resolved.append(prompt)
        return resolve(words, prompt)

    monkeypatch.setattr(Vocabulary, "resolve", count)
    with serving(tmp_path) as server, connect(server) as channel:
        resolved.clear()  # of warming up
        task = encoded(jpeg, "dining table", "cup")
        task.exclude.append("spoon")
        assert len(generate(MaskServiceStub(channel), task).results) == 2
        assert resolved == ["dining table", "cup", "spoon"]


def test_list_models_describes_the_model(stub: MaskServiceStub, segmenter: automask.Segmenter) -> None:
    (model,) = stub.ListModels(messages.ListModelsRequest()).models
    assert (model.name, model.family, model.device, model.licence) == ("default", "boxes", "cpu", "Apache-2.0")
    assert tuple(model.vocabulary) == segmenter.vocabulary
    assert len(model.vocabulary) == 80


def test_health_and_reflection(server: Any) -> None:
    from google.protobuf import descriptor_pool
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    with connect(server) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", "automask.v1.MaskService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "automask.v1.MaskService" in database.get_services()
        found = descriptor_pool.DescriptorPool(database).FindServiceByName("automask.v1.MaskService")
        assert [method.name for method in found.methods] == [
            method.name for method in messages.DESCRIPTOR.services_by_name["MaskService"].methods
        ]


def test_one_unknown_prompt_fails_the_call_unless_errors_are_returned(stub: MaskServiceStub, jpeg: bytes) -> None:
    task = encoded(jpeg, "cup", "sky or logo", "dog", stop_on_empty_mask=True)
    assert details(refused(stub, task))[0] == "UNKNOWN_PROMPT"
    task.return_errors = True
    cup, sky, dog = generate(stub, task).results
    assert not cup.HasField("error")
    np.testing.assert_array_equal(
        picture(cup.media[0].data), picture(generate(stub, encoded(jpeg)).results[0].media[0].data)
    )
    assert (sky.prompt, details(sky.error)[0], len(sky.media)) == ("sky or logo", "UNKNOWN_PROMPT", 0)
    assert (dog.prompt, details(dog.error)[0]) == ("dog", "EMPTY_MASK")
    del task.prompts[0]
    assert [result.HasField("error") for result in generate(stub, task).results] == [True, True]


def test_a_client_gets_each_prompt_or_its_error(tmp_path: Path, jpeg: bytes) -> None:
    with serving(tmp_path) as server, Client(server.address) as client:
        cup, sky = client.mask(jpeg, ["cup", "sky or logo"], return_errors=True)
        assert isinstance(cup, automask.Result)
        assert cup.labels == ("cup",)
        assert isinstance(sky, automask.UnknownPromptError)
        assert sky.parts == ("sky", "logo")
        with pytest.raises(automask.UnknownPromptError, match="'sky' and 'logo' are not among"):
            client.mask(jpeg, ["cup", "sky or logo"])
        with pytest.raises(automask.ParameterError, match="return_errors"):
            client.mask(jpeg, "cup", return_errors=True)
