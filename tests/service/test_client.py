"""Both clients with a real server: results and errors are the library's; streams; jobs."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme
from numpy.typing import NDArray
from PIL import Image

import automask
from automask import AutomaskError, CancelledError, EmptyMaskError, ImageError, ParameterError, UnknownPromptError
from automask.result import Result
from automask.service import (
    AsyncClient,
    Client,
    DeadlineError,
    JobStatus,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from automask.service.client import retries
from automask.service.keys.sqlite import SqliteKeyStore
from automask.service.server import Server
from support.ports import free_port
from support.relay import Relay, relay
from support.results import assert_equal_results
from support.server_process import ServerProcess
from support.threaded_server import pending_tasks, serving, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings: dict[str, Any] = {"uds": tmp_path_factory.mktemp("socket") / "s", "workers": 1, "decode_processes": 1}
    with serving(tmp_path_factory.mktemp("server"), **settings) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


def in_loop(server: Server, use: Callable[[AsyncClient], Any]) -> Any:
    """Run a coroutine with an `AsyncClient`; it must leave nothing running in its loop."""

    async def main() -> Any:
        async with AsyncClient(server.address) as client:
            result = await use(client)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:  # a call that was cancelled ends a moment later
            assert not (await asyncio.wait(left, timeout=30))[1]
        return result

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("prompt", "options"),
    [
        ("the red cup", {}),
        ("cup", {"return_alpha": True, "grow_mask": 0, "threshold": 0.5}),
        ("cup", {"return_mask": False, "invert_mask": True, "seed": 7}),
        ("dog", {"base64": True, "exclude": "cup"}),
        (["cup", "spoon", "dog"], {"exclude": ["bowl", "spoon"]}),
        (["cup"], {}),
        ("cup", {"edges": "fine", "grow_mask": 0}),
        ("cup", {"alpha": "soft", "grow_mask": 0}),
        ("cup", {"feather": 30}),
        ("cup", {"feather": 30, "invert_mask": True, "return_alpha": True, "alpha": "soft"}),
    ],
)
def test_a_client_returns_what_the_library_returns(
    segmenter: automask.Segmenter,
    server: Server,
    client: Client,
    coffee_file: Path,
    prompt: Any,
    options: Any,
) -> None:
    expected = segmenter.mask(coffee_file, prompt, **options)
    for answer in (
        client.mask(coffee_file, prompt, **options),
        in_loop(server, lambda c: c.mask(coffee_file, prompt, **options)),
        client.submit(coffee_file, prompt, **options).result(60),
        in_loop(server, lambda c: _submitted(c, coffee_file, prompt, options)),
    ):
        assert isinstance(answer, list) == isinstance(expected, list)
        mine, theirs = ([each] if isinstance(each, Result) else each for each in (answer, expected))
        for one, other in zip(mine, theirs, strict=True):
            assert_equal_results(other, one, ignore_timings=True)


async def _submitted(client: AsyncClient, image: Any, prompt: Any, options: Any) -> Any:
    return await (await client.submit(image, prompt, **options)).result(60)


def test_all_kinds_of_images(
    segmenter: automask.Segmenter, client: Client, coffee: NDArray[np.uint8], coffee_file: Path
) -> None:
    expected = segmenter.mask(coffee, "cup").mask
    for source in (coffee_file, str(coffee_file), coffee_file.read_bytes(), coffee, Image.fromarray(coffee)):
        np.testing.assert_array_equal(client.mask(source, "cup").mask, expected)
    np.testing.assert_array_equal(client.mask(coffee[..., 0], "cup").mask, segmenter.mask(coffee[..., 0], "cup").mask)


def truncated(file: Path) -> bytes:
    whole = io.BytesIO()
    Image.open(file).convert("RGB").save(whole, "JPEG")
    return whole.getvalue()[:2000]


@pytest.mark.parametrize(
    ("prompt", "options"),
    [
        ("xylograph", {}),
        ("chare", {}),
        (" ", {}),
        ((), {}),
        (7, {}),
        ("cup", {"threshold": 1.7}),
        ("cup", {"grow_mask": True}),
        ("zebra", {"stop_on_empty_mask": True}),
    ],
)
def test_errors_are_those_of_the_library(
    segmenter: automask.Segmenter, server: Server, client: Client, coffee_file: Path, prompt: Any, options: Any
) -> None:
    def error_of(call: Callable[[], Any]) -> AutomaskError:
        with pytest.raises(AutomaskError) as caught:
            call()
        return caught.value

    expected = error_of(lambda: segmenter.mask(coffee_file, prompt, **options))
    for error in (
        error_of(lambda: client.mask(coffee_file, prompt, **options)),
        error_of(lambda: in_loop(server, lambda c: c.mask(coffee_file, prompt, **options))),
        error_of(lambda: client.submit(coffee_file, prompt, **options).result(60)),
    ):
        assert type(error) is type(expected)
        if prompt != " ":  # the service names the item of the list
            assert str(error) == str(expected)
    if isinstance(expected, UnknownPromptError):
        assert isinstance(error, UnknownPromptError)
        assert (error.prompt, error.nearest) == (expected.prompt, expected.nearest)


def test_a_damaged_image(client: Client, coffee_file: Path) -> None:
    with pytest.raises(ImageError, match="truncated JPEG"):
        client.mask(truncated(coffee_file), "cup")
    with pytest.raises(ImageError, match=r"missing\.jpg.*no such file"):
        client.mask("missing.jpg", "cup")


def test_a_unix_socket(server: Server, segmenter: automask.Segmenter, coffee_file: Path) -> None:
    with Client(f"unix:{server._settings.uds}") as client:
        np.testing.assert_array_equal(client.mask(coffee_file, "cup").mask, segmenter.mask(coffee_file, "cup").mask)


def test_models(server: Server, client: Client, segmenter: automask.Segmenter) -> None:
    (model,) = client.models()
    assert model == in_loop(server, lambda c: c.models())[0]
    assert (model.name, model.family, model.device) == ("default", "boxes", "cpu")
    assert "cup" in model.vocabulary
    assert model.licence == segmenter.bundle.licence


def test_a_model_is_chosen_by_name(client: Client, coffee_file: Path) -> None:
    assert client.mask(coffee_file, "cup", model="default").model == "default"
    with pytest.raises(NotFoundError, match="clipseg"):
        client.mask(coffee_file, "cup", model="clipseg")


@pytest.fixture
def frames(coffee: NDArray[np.uint8], coffee_file: Path) -> list[Any]:
    """Good frames, one that the client refuses, and one that the server refuses."""
    return [coffee_file, "missing.jpg", coffee[:, ::-1], truncated(coffee_file), coffee[::2], *[coffee] * 5]


def test_mask_many_returns_results_in_order(
    segmenter: automask.Segmenter, server: Server, client: Client, frames: list[Any]
) -> None:
    async def collect(client: AsyncClient) -> list[Result | AutomaskError]:
        async def camera() -> AsyncIterator[Any]:
            for frame in frames:
                yield frame

        found = [one async for one in client.mask_many(frames, "cup", return_errors=True)]
        again = [one async for one in client.mask_many(camera(), "cup", return_errors=True)]
        assert len(again) == len(found)
        return found

    expected = list(segmenter.mask_many(frames, "cup", return_errors=True))
    for answers in (list(client.mask_many(frames, "cup", return_errors=True)), in_loop(server, collect)):
        assert [type(one) for one in answers if isinstance(one, AutomaskError)] == [ImageError, ImageError]
        for result, answer in zip(expected, answers, strict=True):
            if isinstance(result, Result):
                assert isinstance(answer, Result)
                assert_equal_results(result, answer, ignore_timings=True)
            else:
                assert str(answer) == str(result)


def test_an_error_ends_mask_many(server: Server, client: Client, frames: list[Any]) -> None:
    async def first_error(client: AsyncClient) -> None:
        async for _ in client.mask_many(frames[2:], "cup"):
            pass

    answers = client.mask_many(frames, "cup")
    assert isinstance(next(answers), Result)
    with pytest.raises(ImageError, match="no such file"):
        next(answers)
    with pytest.raises(ImageError, match="truncated"):
        in_loop(server, first_error)
    with pytest.raises(ParameterError):  # at once, before an image is read
        client.mask_many(iter(frames), "cup", threshold=7)


def test_mask_many_reads_at_most_four_images_ahead(server: Server, client: Client, coffee: NDArray[np.uint8]) -> None:
    taken = []

    def camera() -> Iterator[NDArray[np.uint8]]:
        while True:
            taken.append(1)
            yield coffee

    async def first_two(client: AsyncClient) -> None:
        answers = client.mask_many(camera(), "cup")
        assert isinstance(await anext(answers), Result)
        assert isinstance(await anext(answers), Result)
        await answers.aclose()  # type: ignore[attr-defined]  # it is an async generator

    answers = client.mask_many(camera(), "cup")
    next(answers)
    next(answers)
    assert len(taken) == 5
    answers.close()  # type: ignore[attr-defined]  # it is a generator
    in_loop(server, first_two)
    assert len(taken) == 10


def test_an_error_of_the_iterable_is_raised(client: Client, coffee: NDArray[np.uint8]) -> None:
    def broken() -> Iterator[NDArray[np.uint8]]:
        yield coffee
        raise OSError("the camera is gone")

    with pytest.raises(OSError, match="the camera is gone"):
        list(client.mask_many(broken(), "cup"))


def test_no_images(server: Server, client: Client) -> None:
    async def none(client: AsyncClient) -> list[Any]:
        return [one async for one in client.mask_many([], "cup")]

    assert list(client.mask_many([], "cup")) == []
    assert in_loop(server, none) == []


def test_a_job_from_submission_to_result(client: Client, coffee_file: Path) -> None:
    job = client.submit(coffee_file, "cup")
    seen = list(job.watch())
    assert [status.request_id for status in seen] == [job.request_id] * len(seen)
    assert seen[-1].state == "COMPLETED"
    assert [status.has_ended for status in seen] == [False] * (len(seen) - 1) + [True]
    status = job.status()
    assert status == seen[-1]
    assert status.error is None
    assert status.attempts == 1
    assert status.created
    assert status.started
    assert status.ended
    assert status.expires
    assert status.created <= status.started <= status.ended < status.expires
    assert status.created.tzinfo is not None
    assert job.cancel() == status  # has no effect on a job that has ended


def test_a_job_is_found_by_its_id(server: Server, client: Client, coffee_file: Path) -> None:
    async def watched(client: AsyncClient) -> Any:
        job = client.job(one.request_id)
        states = [status.state async for status in job.watch()]
        assert states[-1] == (await job.status()).state
        return await job.result()

    one, two = client.submit(coffee_file, "cup", return_alpha=True), client.submit(coffee_file, ["cup", "spoon"])
    fetched = client.job(one.request_id).result(60)
    assert isinstance(fetched, Result)
    assert fetched.output == one.result().output == in_loop(server, watched).output
    with pytest.raises(ImageError, match="does not carry the photo"):
        _ = fetched.image
    several = client.job(two.request_id).result(60)
    assert isinstance(several, list)
    assert [result.prompt for result in several] == ["cup", "spoon"]


def test_a_job_has_each_prompt_or_its_error(server: Server, client: Client, coffee_file: Path) -> None:
    prompts = ["cup", "sky or logo", "zebra"]

    async def in_async(client: AsyncClient) -> Any:
        job = await client.submit(coffee_file, prompts, return_errors=True, stop_on_empty_mask=True)
        return await job.result(60), await client.job(job.request_id, return_errors=True).result(60)

    job = client.submit(coffee_file, prompts, return_errors=True, stop_on_empty_mask=True)
    again = client.job(job.request_id, return_errors=True)
    for results in (job.result(60), again.result(60), *in_loop(server, in_async)):
        cup, sky, zebra = results
        assert isinstance(cup, Result)
        assert cup.labels == ("cup",)
        assert isinstance(sky, UnknownPromptError)
        assert sky.parts == ("sky", "logo")
        assert isinstance(zebra, EmptyMaskError)
    with pytest.raises(UnknownPromptError, match="'sky' and 'logo'"):
        client.job(job.request_id).result()
    with pytest.raises(UnknownPromptError, match="'sky' and 'logo'"):
        client.submit(coffee_file, prompts)
    with pytest.raises(ParameterError, match="return_errors"):
        client.submit(coffee_file, "cup", return_errors=True)


def test_an_unknown_job(server: Server, client: Client) -> None:
    job = client.job("0" * 32)
    for call in (job.status, job.result, job.cancel, lambda: list(job.watch())):
        with pytest.raises(NotFoundError, match="0" * 32):
            call()
    with pytest.raises(KeyError):
        in_loop(server, lambda c: c.job("0" * 32).result())


def test_the_same_idempotency_key_returns_the_same_job(client: Client, coffee_file: Path) -> None:
    jobs = [client.submit(coffee_file, "cup", idempotency_key="mine") for _ in range(2)]
    other = client.submit(coffee_file, "cup")
    assert jobs[0].request_id == jobs[1].request_id != other.request_id


def test_a_job_that_fails(server: Server, client: Client, coffee_file: Path) -> None:
    job = client.submit(coffee_file, "zebra", stop_on_empty_mask=True)
    with pytest.raises(EmptyMaskError, match="zebra"):
        job.result(60)
    status = job.status()
    assert status.state == "FAILED"
    assert isinstance(status.error, EmptyMaskError)
    with pytest.raises(EmptyMaskError, match="zebra"):
        in_loop(server, lambda c: c.job(job.request_id).result())


def test_jobs_in_the_queue(server: Server, client: Client, coffee: NDArray[np.uint8], gate: threading.Event) -> None:
    photo = np.roll(coffee, 40, axis=0)  # not cached: it needs the graphs
    jobs = [client.submit(photo, "cup") for _ in range(8)]
    first, last = jobs[0], jobs[-1]
    wait_until(lambda: jobs[1].status().state == "PROCESSING")  # one is worked on, one is fetched meanwhile
    with pytest.raises(DeadlineError, match=f"request {last.request_id} is still QUEUED"):
        last.result(timeout=0)
    with pytest.raises(TimeoutError):
        in_loop(server, lambda c: c.job(first.request_id).result(timeout=0))
    watch = last.watch()
    seen = [next(watch)]
    assert seen[0] == last.status()
    assert (seen[0].state, seen[0].started, seen[0].expires) == ("QUEUED", None, None)
    assert seen[0].queue_position in range(1, 8)
    assert in_loop(server, lambda c: _first_status(c, last.request_id)) == last.status()
    assert in_loop(server, lambda c: c.job(last.request_id).cancel()).state == "CANCELLED"
    seen += watch
    assert seen[-1].state == "CANCELLED"
    with pytest.raises(CancelledError, match=last.request_id):
        last.result()
    gate.set()
    for job in jobs[:-1]:
        assert job.result(60).labels == ("cup",)


async def _first_status(client: AsyncClient, request_id: str) -> JobStatus:
    async with aclosing(client.job(request_id).watch()) as statuses:  # type: ignore[type-var]  # it is a generator
        return await anext(statuses)


def test_a_job_that_misses_its_deadline(client: Client, coffee: NDArray[np.uint8], gate: threading.Event) -> None:
    late = client.submit(np.roll(coffee, 80, axis=0), "cup", deadline=0.05)
    with pytest.raises(DeadlineError):
        late.result(60)
    gate.set()
    assert late.status().state == "FAILED"


def test_a_call_that_exceeds_its_timeout(server: Server, coffee: NDArray[np.uint8], gate: threading.Event) -> None:
    with Client(server.address, timeout=0.05) as client, pytest.raises(DeadlineError, match=server.address):
        client.mask(np.roll(coffee, 120, axis=0), "cup")
    gate.set()


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls be retried as often as ever, but at once."""
    monkeypatch.setattr(retries, "_JITTER", lambda _: 0.0)


@pytest.mark.usefixtures("without_pauses")
def test_keys_and_tls(tmp_path: Path, coffee_file: Path) -> None:
    authority = trustme.CA()
    served, mine = authority.issue_cert("localhost"), authority.issue_cert("camera")
    for name, blob in (
        ("ca", authority.cert_pem),
        ("cert", served.cert_chain_pems[0]),
        ("key", served.private_key_pem),
    ):
        blob.write_to_path(tmp_path / name)
    key = SqliteKeyStore(tmp_path / "keys", create=True)
    text = key.add("camera")
    key.close()
    with serving(
        tmp_path,
        keys=tmp_path / "keys",
        tls_cert=tmp_path / "cert",
        tls_key=tmp_path / "key",
        client_ca=tmp_path / "ca",
    ) as server:
        target = f"localhost:{server.address.rpartition(':')[2]}"
        secrets: Any = {
            "ca": tmp_path / "ca",
            "cert": mine.cert_chain_pems[0].bytes(),
            "key": mine.private_key_pem.bytes(),
        }
        with Client(target, api_key=f" {text}\n", **secrets) as client:
            assert client.mask(coffee_file, "cup").labels == ("cup",)
        with Client(target, api_key="wrong", **secrets) as client, pytest.raises(UnauthenticatedError):
            client.mask(coffee_file, "cup")
        with Client(target, api_key=text, ca=secrets["ca"]) as client, pytest.raises(UnavailableError):
            client.models()  # the server requires a client certificate


def test_the_api_key_from_the_environment(tmp_path: Path, coffee_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = SqliteKeyStore(tmp_path / "keys", create=True)
    monkeypatch.setenv("AUTOMASK_API_KEY", key.add("camera"))
    key.close()
    with serving(tmp_path, keys=tmp_path / "keys") as server, Client(server.address) as client:
        assert client.mask(coffee_file, "cup").labels == ("cup",)


@pytest.mark.parametrize("text", ["schlüssel", "two\nlines"])
def test_an_invalid_api_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ParameterError, match="api_key") as caught:
        Client(api_key=text)
    assert text not in str(caught.value)


def test_a_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(ParameterError, match="cert and key must be given together"):
        Client(cert=b"pem")


@pytest.mark.usefixtures("without_pauses")
def test_no_server() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1: "):
        client.models()
    with Client("127.0.0.1:1") as client, pytest.raises(UnavailableError):
        list(client.mask_many([np.zeros((9, 9, 3), np.uint8)], "cup"))


def test_a_client_outlives_its_server(tmp_path: Path, coffee_file: Path) -> None:
    """The server is killed and started again at the same address: clients and jobs continue, blocking or not."""
    store = ("--store", tmp_path / "requests.sqlite3")
    with ServerProcess("--port", free_port(), *store) as process, ThreadPoolExecutor(2) as pool:
        address = process.address
        client = Client(address)
        expected = client.mask(coffee_file, "cup").mask
        jobs = [client.submit(coffee_file, "cup") for _ in range(8)]

        async def wait_in_loop() -> Any:
            async with AsyncClient(address) as client:
                return [await client.job(job.request_id).result() for job in jobs]

        results = pool.submit(lambda: [job.result() for job in jobs])
        async_results = pool.submit(lambda: asyncio.run(wait_in_loop()))
        process.end(9)
        with ServerProcess("--port", address.rpartition(":")[2], *store):
            np.testing.assert_array_equal(client.mask(coffee_file, "cup").mask, expected)
            for result in [*results.result(), *async_results.result()]:
                np.testing.assert_array_equal(result.mask, expected)
            assert {job.status().state for job in jobs} == {"COMPLETED"}
            client.close()


def test_a_call_is_retried_while_connections_are_refused(server: Server) -> None:
    async def models(address: str) -> Any:
        async with AsyncClient(address) as client:
            return await client.models()

    with relay(server.address, refuse=2) as line, Client(line.address) as client:
        assert client.models()
        assert line.refuse == 0
    with relay(server.address, refuse=2) as line:
        assert asyncio.run(models(line.address))
        assert line.refuse == 0


@pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "async"])
def test_watching_continues_after_a_broken_connection(
    server: Server, client: Client, coffee: NDArray[np.uint8], gate: threading.Event, *, is_async: bool
) -> None:
    job = client.submit(np.roll(coffee, 160 + is_async, axis=0), "cup")

    def end_behind(line: Relay) -> None:
        line.cut()
        gate.set()

    def watch(line: Relay) -> list[JobStatus]:
        with Client(line.address) as other:
            statuses = other.job(job.request_id).watch()
            first = next(statuses)
            end_behind(line)
            return [first, *statuses]

    async def watch_async(line: Relay) -> list[JobStatus]:
        async with AsyncClient(line.address) as other:
            statuses = other.job(job.request_id).watch()
            first = await anext(statuses)
            end_behind(line)
            return [first, *[status async for status in statuses]]

    with relay(server.address) as line:
        seen = asyncio.run(watch_async(line)) if is_async else watch(line)
    assert not seen[0].has_ended
    assert seen[-1].state == "COMPLETED"


@pytest.mark.usefixtures("stops_early")
def test_cancelling_stops_the_call(server: Server, segmenter: automask.Segmenter, other_jpeg: bytes) -> None:
    async def pending(count: int) -> None:
        await asyncio.to_thread(wait_until, lambda: pending_tasks(server) == count)

    async def cancelled(client: AsyncClient) -> None:
        running = asyncio.create_task(client.mask(other_jpeg, segmenter.vocabulary[:64], threshold=0.0))
        await pending(1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await pending(0)
        assert (await client.mask(other_jpeg, "cup")).labels == ("cup",)

    in_loop(server, cancelled)
