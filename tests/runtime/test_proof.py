"""Proofs: faults that no hash shows are refused, what is right is not, and a verdict is kept."""

from __future__ import annotations

import json
import logging
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import thread_time
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import automask
from automask.bundle import MANIFEST, sha256
from automask.cli import main
from automask.devices import DEVICES
from automask.encodings import rle, unpack
from automask.graphs import open_graphs
from automask.lookup import find_bundle, locate_bundle
from automask.opening import usable_proof
from automask.plans import find_plans
from automask.proof import Timing, Verdicts, make_proof, record
from automask.proof.digest import Digest
from automask.proof.speed import compare
from automask.session import Session
from support.faults import (
    Edit,
    change_weight,
    faulty_bundle,
    open_stale,
    overflow_in_fp16,
    replace_provider,
    scale_attention,
    swap_channels,
)

GRAPHS = {
    "detector": {"fp32": "detector.onnx"},
    "image_encoder": {"fp32": "image_encoder.onnx", "int8": "image_encoder.int8.onnx"},
    "mask_decoder": {"fp32": "mask_decoder.onnx", "int8": "mask_decoder.int8.onnx"},
}
# What one weight changes in an int8 graph is less than processors differ by.
FAULTS = [
    pytest.param(edit, role, precision, id=f"{edit.__name__}-{role}-{precision}")
    for edit in (change_weight, swap_channels, scale_attention, overflow_in_fp16)
    for role, files in GRAPHS.items()
    for precision in files
    if (edit, precision) != (change_weight, "int8")
]


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder without verdicts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "automask" / "proofs"


@pytest.fixture
def proofs(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Number of proofs that run, by precision."""
    from automask import opening

    del own_cache
    counts: Counter[str] = Counter()
    original = opening.prove_plan

    def counting(bundle: Any, plan: Any, *others: Any) -> Any:
        counts[plan.precision] += 1
        return original(bundle, plan, *others)

    monkeypatch.setattr(opening, "prove_plan", counting)
    return counts


def refused(model: Path | str, device: str = "cpu", precision: str | None = None) -> str:
    """The error of a model that does not load."""
    with pytest.raises(automask.DeviceError) as caught:
        automask.load(model, device=device, precision=precision)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize(("edit", "role", "precision"), FAULTS)
def test_a_fault_in_a_graph_is_refused_with_its_name(
    edit: Edit, role: str, precision: str, tmp_path: Path, own_cache: Path
) -> None:
    bundle = faulty_bundle(tmp_path / "bundle", edit, GRAPHS[role][precision])
    error = refused(bundle, precision=precision)
    assert f"'default' does not compute on cpu in {precision} what it did at export: graph {role}: " in error
    assert "`automask prove` has all figures" in error
    assert not own_cache.exists()


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_what_is_right_is_not_refused(precision: str, own_cache: Path) -> None:
    bundle = find_bundle("default")
    segmenter = automask.load(device="cpu", precision=precision)
    assert (segmenter.precision, segmenter.standing, segmenter.warnings) == (precision, "proven", ())
    assert [*Verdicts(bundle, "cpu").precisions] == [precision]
    assert len([*own_cache.iterdir()]) == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _, output: np.zeros_like(output), id="zeros"),
        pytest.param(lambda _, output: np.full_like(output, np.nan), id="nan"),
        pytest.param(lambda _, output: np.full_like(output, np.inf), id="inf"),
        pytest.param(lambda _, output: output * np.float32(1.1), id="scaled"),
        pytest.param(lambda _, output: np.roll(output, 1, -1), id="shifted"),
        pytest.param(lambda file, output: output[..., :-1] if "detector" in file else output, id="shape"),
        pytest.param(
            lambda file, output: np.full_like(output, np.nan) if "decoder" in file else output, id="nan in the decoder"
        ),
    ],
)
def test_a_provider_that_computes_something_else_is_refused(
    change: Callable[[str, Any], Any], monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    replace_provider(monkeypatch, change)
    for precision in ("int8", "fp32"):
        assert re.search("what it did at export: graph (detector|mask_decoder): ", refused("default", "cpu", precision))
    assert not own_cache.exists()


def test_engines_of_another_bundle_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    other = faulty_bundle(tmp_path / "other", swap_channels, *(f for files in GRAPHS.values() for f in files.values()))
    open_stale(monkeypatch, other)
    assert "in fp32 what it did at export: graph detector: " in refused("default", precision="fp32")
    assert not own_cache.exists()


def test_a_right_verdict_is_kept_and_costs_nothing_later(proofs: Counter[str]) -> None:
    automask.load(device="cpu", precision="int8")
    assert proofs == {"int8": 1}
    segmenter = automask.load(device="cpu", precision="int8")
    assert (proofs["int8"], segmenter.standing) == (1, "proven")
    started = thread_time()
    kept = Verdicts(find_bundle("default"), "cpu").precisions
    assert thread_time() - started < 1  # milliseconds
    assert kept["int8"].is_right


def test_a_verdict_is_of_this_bundle_this_hardware_and_this_provider(
    proofs: Counter[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    automask.load(device="cpu", precision="int8")
    row = DEVICES["cpu"]
    for other in (
        replace(row, identify=lambda: "another processor"),
        replace(row, providers=lambda: [("CPUExecutionProvider", {"an": "option"})]),
    ):
        monkeypatch.setitem(DEVICES, "cpu", other)
        assert Verdicts(find_bundle("default"), "cpu").precisions == {}
    monkeypatch.setitem(DEVICES, "cpu", row)
    copied = Path(shutil.copytree(locate_bundle("default"), tmp_path / "copied"))
    automask.load(copied, device="cpu", precision="int8")
    assert proofs["int8"] == 1  # the same files elsewhere
    manifest = json.loads((copied / MANIFEST).read_text())
    (copied / MANIFEST).write_text(json.dumps(manifest))
    automask.load(copied, device="cpu", precision="int8")
    assert proofs["int8"] == 2


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"subject": 1}', '{"proven": {"int8": {}}}'])
def test_a_damaged_verdict_is_proven_again(damage: str, proofs: Counter[str], own_cache: Path) -> None:
    automask.load(device="cpu", precision="int8")
    (file,) = own_cache.iterdir()
    whole = file.read_text()
    file.write_text(damage)
    automask.load(device="cpu", precision="int8")
    assert proofs["int8"] == 2
    assert json.loads(file.read_text())["subject"] == json.loads(whole)["subject"]


def test_a_cache_folder_that_cannot_be_written_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        assert automask.load(device="cpu", precision="int8").standing == "proven"
    (message,) = (one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING)
    assert message.startswith(f"cannot keep in {tmp_path / 'file'}")


def test_without_a_precision_the_next_one_is_used_and_every_result_says_so(
    tmp_path: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    del own_cache
    bundle = faulty_bundle(tmp_path / "bundle", scale_attention, "image_encoder.int8.onnx")
    with pytest.warns(RuntimeWarning, match=r"in int8 .*; running on cpu in fp32"):
        segmenter = automask.load(bundle, device="cpu")
    assert (segmenter.precision, segmenter.standing) == ("fp32", "proven")
    (warning,) = segmenter.warnings
    assert warning in caplog.messages
    assert segmenter.mask(np.zeros((48, 64, 3), np.uint8), "dog").warnings == (warning,)
    done = CliRunner().invoke(main, ["prove", "--model", str(bundle)])
    assert done.exit_code == 1
    assert re.search(r"in int8: WRONG, .*\n.*ok +graph detector .*\n.*WRONG graph image_encoder", done.output)
    assert "in fp32: right" in done.output


def test_auto_goes_on_to_the_next_device_and_a_named_device_does_not(
    monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    """The real provider of the CPU as another device, with an engine that is wrong there alone."""
    del own_cache
    row = replace(DEVICES["cpu"], name="new", precisions=("fp32",), is_gpu=True, identify=lambda: "a chip")
    monkeypatch.setitem(DEVICES, "new", row)
    monkeypatch.setitem(DEVICES, "cuda", replace(DEVICES["cuda"], probe=lambda: "it is not here"))
    original = Session.run

    def faulty(self: Session, **inputs: Any) -> Any:
        outputs = original(self, **inputs)
        return tuple(output * 0 for output in outputs) if self.device == "new" else outputs

    monkeypatch.setattr(Session, "run", faulty)
    assert "does not compute on new in fp32" in refused("default", "new")
    assert "use precision='int8' or device='cpu'" in refused("default", "new")
    with pytest.warns(RuntimeWarning, match=r"does not compute on new in fp32 .*; running on cpu in "):
        segmenter = automask.load()
    assert segmenter.device == "cpu"
    assert not segmenter.warm_up().is_empty
    assert "does not compute on new in fp32" in segmenter.warm_up().warnings[0]
    done = CliRunner().invoke(main, ["doctor"])
    assert re.search(r"\nnew +no .*graph detector: 1 \(limit", done.output)
    assert re.search(r"\ncpu +yes +\w+ +proven .*CPUExecutionProvider", done.output)
    assert "--device auto takes cpu" in done.output


def test_a_proof_can_be_skipped(tmp_path: Path, proofs: Counter[str]) -> None:
    bundle = faulty_bundle(tmp_path / "bundle", scale_attention, "image_encoder.int8.onnx")
    assert automask.load(bundle, device="cpu", prove=False).standing == "skipped"
    photo, target = Path(automask.__file__).parent / "data" / "person.jpg", tmp_path / "mask.png"
    options = ["mask", str(photo), "person", "--model", str(bundle), "-o", str(target)]
    done = CliRunner().invoke(main, [*options, "--precision", "int8", "--no-prove"])
    assert done.exit_code == 0, done.output
    assert proofs == {}
    done = CliRunner().invoke(main, [*options, "--precision", "int8"])
    assert done.exit_code == 1
    assert "graph image_encoder" in done.output


def without_proof(folder: Path) -> Path:
    """A bundle of an older exporter."""
    shutil.copytree(locate_bundle("default"), folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["files"][manifest.pop("proof")]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def test_an_old_bundle_loads_and_is_not_proven(tmp_path: Path, proofs: Counter[str]) -> None:
    bundle = without_proof(tmp_path / "old")
    segmenter = automask.load(bundle, device="cpu")
    assert (segmenter.standing, proofs) == ("not proven", {})
    done = CliRunner().invoke(main, ["prove", "--model", str(bundle)])
    assert (done.exit_code, "has no proof" in done.output) == (3, True)


def test_a_proof_of_another_photo_proves_nothing(tmp_path: Path, own_cache: Path) -> None:
    del own_cache
    folder = edited_proof(tmp_path / "bundle", lambda proof: proof.update(photo="0" * 64))
    assert automask.load(folder, device="cpu").standing == "not proven"


def edited_proof(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A bundle with another proof, and its hash."""
    shutil.copytree(locate_bundle("default"), folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    path = folder / manifest["proof"]
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    manifest["files"][path.name] = sha256(path)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda proof: proof.clear(),
        lambda proof: proof.update(schema_version=9),
        lambda proof: proof.update(graphs=[]),
        lambda proof: proof.update(questions=[]),
        lambda proof: proof["graphs"]["detector"]["scores"].update(sketch=[1]),
        lambda proof: proof["graphs"]["detector"]["scores"].pop("norm"),
        lambda proof: proof["outcomes"][0]["mask"].update(counts="?"),
        lambda proof: proof["outcomes"][0]["mask"].update(size=[1]),
        lambda proof: proof["outcomes"][0]["instances"][0].update(box=None),
        lambda proof: proof.update(differences=None),
    ],
)
def test_a_damaged_proof_is_named(change: Callable[[dict[str, Any]], object], tmp_path: Path, own_cache: Path) -> None:
    del own_cache
    folder = edited_proof(tmp_path / "bundle", change)
    with pytest.raises(automask.BundleError, match=r"proof\.json cannot be used .*prove=False"):
        automask.load(folder, device="cpu")
    assert automask.load(folder, device="cpu", prove=False).standing == "skipped"


def test_a_proof_that_is_not_the_listed_file_is_named(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(locate_bundle("default"), tmp_path / "bundle"))
    (folder / "proof.json").write_text("{}")
    with pytest.raises(automask.BundleError, match=r"proof\.json is damaged or was replaced"):
        automask.load(folder, device="cpu")
    photo = Path(automask.__file__).parent / "data" / "person.jpg"
    done = CliRunner().invoke(
        main, ["mask", str(photo), "person", "--model", str(folder), "-o", str(tmp_path / "m.png")]
    )
    assert done.exit_code == 1
    assert f"{folder / 'proof.json'} is damaged or was replaced" in done.stderr


def test_the_committed_proof_is_what_float32_makes_of_the_photo() -> None:
    bundle = find_bundle("default")
    committed, made = usable_proof(bundle), make_proof(bundle)
    assert committed is not None
    assert (made.photo, made.questions) == (committed.photo, committed.questions)
    assert [[one.label for one in outcome.instances] for outcome in made.outcomes] == [["person"], ["object"]]
    for role, digests in committed.graphs.items():
        for name, digest in digests.items():
            assert digest.error(made.graphs[role][name]) < 1e-3
    assert (bundle.folder / "proof.json").stat().st_size < 8192


def test_the_faster_precision_is_chosen_once(proofs: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from automask import opening

    for timing, expected in (
        (Timing(100, 80), "fp32"),
        (Timing(100, 80, is_steady=False), "int8"),
        (Timing(100, 90), "int8"),
        (Timing(100, 150), "int8"),
        (Timing(5, 1), "int8"),
    ):
        Verdicts(find_bundle("default"), "cpu").forget()
        proofs.clear()
        monkeypatch.setattr(opening, "compare", lambda *_, timing=timing: timing)
        assert automask.load(device="cpu").precision == expected
        monkeypatch.setattr(opening, "compare", lambda *_: pytest.fail("compared again"))
        before = proofs.copy()
        assert automask.load(device="cpu").precision == expected
        assert automask.load(device="cpu", precision="int8").precision == "int8"
        assert proofs == before == Counter({"int8": 1, expected: 1})


def test_two_sessions_are_timed_by_turns() -> None:
    bundle = find_bundle("default")
    (plan,) = find_plans(bundle, "cpu", "fp32")
    sessions, proof = open_graphs(bundle, plan), usable_proof(bundle)
    assert proof is not None
    recording = record(bundle, sessions, proof.questions)
    runs = [(sessions[role], run.inputs) for role, run in recording.runs.items()]
    timing = compare(runs, runs)
    assert timing.preferred > 0
    assert timing.other > 0


def test_prove_prints_a_table_and_keeps_the_verdict(own_cache: Path) -> None:
    done = CliRunner().invoke(main, ["prove", "--device", "cpu", "--precision", "fp32"])
    assert done.exit_code == 0, done.output
    assert re.search(r"default on cpu in fp32: right, \d+ ms\n  ok    graph detector ", done.output)
    assert [*Verdicts(find_bundle("default"), "cpu").precisions] == ["fp32"]
    assert len([*own_cache.iterdir()]) == 1
    done = CliRunner().invoke(main, ["prove", "--precision", "int4"])
    assert done.exit_code == 1


def test_a_library_that_turns_warnings_into_errors_sees_none_for_a_right_model(own_cache: Path) -> None:
    del own_cache
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        automask.load(device="cpu")


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32))
def test_run_lengths_come_back(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 2, (height, width)).astype(np.uint8) * 255
    assert (unpack(rle(mask)) == (mask > 0)).all()


@given(st.integers(1, 5000), st.floats(1e-4, 1), st.integers(0, 2**32))
def test_the_error_of_digests_is_near_that_of_the_arrays(size: int, scale: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    one, noise = generator.standard_normal(size), scale * generator.standard_normal(size)
    real = float(np.linalg.norm(noise) / np.linalg.norm(one))
    assert Digest.of(one).error(Digest.of(one + noise)) < 2.5 * real + 1e-9
    assert Digest.of(one).error(Digest.of(one)) == 0
    assert Digest.from_json(Digest.of(one).to_json()).error(Digest.of(one)) < 1e-4


def test_infinity_marks_padding_and_overflow_is_an_error() -> None:
    expected = np.array([[1.0, 2.0, -np.inf]], np.float32)
    digest = Digest.from_json(Digest.of(expected).to_json())
    assert digest.error(Digest.of(expected)) < 1e-5  # the six digits of the file
    assert digest.error(Digest.of(expected + np.array([[0.0, 1.0, 0.0]], np.float32))) > 0.3
    for found in ([[1.0, np.inf, -np.inf]], [[1.0, 2.0, 0.0]], [[1.0, np.nan, -np.inf]]):
        assert digest.error(Digest.of(np.array(found))) == np.inf
