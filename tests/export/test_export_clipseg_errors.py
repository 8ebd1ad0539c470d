"""Errors of `automask export clipseg`: their messages, and that nothing is left behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from automask import publish
from automask.bundle import open_bundle
from automask.errors import AutomaskError
from automask.export import clip_tokenizer, submodels
from automask.export.agreement import MaskAgreement
from automask.export.architectures.clipseg.licence import LICENCE_QUESTION
from automask.export.checkpoint import CheckpointError
from automask.export.figures import ParityError, check
from support.clipseg_checkpoints import Tiny, run_command, tiny_bundle
from support.command_line import run_text

Array = NDArray[Any]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_bundle(tmp_path_factory.getbasetemp())


# MaskAgreement


def waves(count: int, spread: float) -> Array:
    y, x = np.mgrid[:64, :64] / 10
    return np.stack([spread * np.sin(x + n) * np.cos(y) for n in range(count)]).astype(np.float32)


def test_comparable_masks_decide() -> None:
    agreement = MaskAgreement()
    agreement.add(waves(4, 5) + 0.01, waves(4, 5))
    figures = {f.name: f for f in agreement.figures("int8")}
    assert "mask IoU" in agreement.criterion("int8")
    assert figures["int8 end to end: mean mask IoU"].limit == 0.98
    assert figures["int8 end to end: relative error of logits"].limit is None
    check(figures.values())


def test_masks_that_differ_are_an_error() -> None:
    agreement = MaskAgreement()
    agreement.add(waves(4, 5) + 0.5, waves(4, 5))
    with pytest.raises(ParityError, match="mean mask IoU must be at least 0.98"):
        check(agreement.figures("int8"))


@pytest.mark.parametrize(("spread", "shift"), [(0.05, 0.0), (0.05, -1.386), (5.0, 20.0), (5.0, -20.0)])
def test_flat_full_and_empty_masks_do_not_decide(spread: float, shift: float) -> None:
    agreement = MaskAgreement()
    agreement.add(waves(4, spread) * 1.5 + shift, waves(4, spread) + shift)
    assert "0 of 4 masks" in agreement.criterion("int8")
    with pytest.raises(ParityError, match="relative error of logits must be at most 0.1, got 0.5"):
        check(agreement.figures("int8"))


def test_masks_do_not_decide_for_float32() -> None:
    agreement = MaskAgreement()
    agreement.add(waves(4, 5) + 0.01, waves(4, 5))
    with pytest.raises(ParityError, match="largest difference of logits must be at most 0.001, got 0.01"):
        check(agreement.figures("fp32"))


def test_nan_is_an_error() -> None:
    agreement = MaskAgreement()
    agreement.add(np.full((1, 8, 8), np.nan, np.float32), waves(1, 5)[:, :8, :8])
    agreement.add(waves(1, 5), waves(1, 5))
    with pytest.raises(ParityError, match="got nan"):
        check(agreement.figures("int8"))


# Errors


def error_of(model: Path | str, output: Path, *options: str) -> str:
    """Run the real command, and return its error: the last line."""
    return _error(run_text("export", "clipseg", "--model", model, "--output", output, *options), output)


def error_without_network(model: str, output: Path) -> str:
    """Run the real command in a process that is told to use no network, and return its error: the last line."""
    command = [sys.executable, "-m", "automask", "export", "clipseg", "--model", model, "--output", str(output)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(output.parent / "hub")}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return _error(ran, output)


def _error(ran: subprocess.CompletedProcess[str], output: Path) -> str:
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    assert not output.exists() or "exists" in ran.stderr or "holds a bundle" in ran.stderr
    assert not list(output.parent.glob(f".{output.name}.*"))
    return ran.stderr.strip().splitlines()[-1]


@pytest.fixture
def broken(tiny: Tiny, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, for tests that damage it."""
    shutil.copytree(tiny.source, tmp_path / "broken")
    return tmp_path / "broken"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_no_network(tmp_path: Path) -> None:
    message = error_without_network("CIDAS/clipseg-rd64-refined", tmp_path / "bundle")
    assert "the Hub could not be reached" in message
    assert "`hf download CIDAS/clipseg-rd64-refined --local-dir clipseg-rd64-refined`" in message


def test_neither_short_name_nor_folder_nor_hub_id(tmp_path: Path) -> None:
    message = error_of("no/such/folder", tmp_path / "bundle")
    assert "'no/such/folder': it is no short name of `automask export --list`, no folder, nor a Hub id" in message


def test_another_architecture(broken: Path, tmp_path: Path) -> None:
    edit(broken / "config.json", model_type="owlv2")
    message = error_of(broken, tmp_path / "bundle")
    assert "broken is of architecture 'owlv2'; this export supports 'clipseg'" in message


def test_existing_output(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    assert "exists and is no bundle" in error_of(tiny.source, tmp_path, "--force")
    assert "--force to replace it" in error_of(tiny.source, tiny.folder)


def test_image_size_that_is_no_multiple_of_the_patch_size(broken: Path, tmp_path: Path) -> None:
    assert "image size must be a multiple of the patch size, 16, got 100" in error_of(
        broken, tmp_path / "bundle", "--image-size", "100"
    )


def drop(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


BREAKS: list[Any] = [
    pytest.param(lambda f: drop(f, "tokenizer.json", "vocab.json"), "has no tokenizer", id="tokenizer"),
    pytest.param(lambda f: drop(f, "preprocessor_config.json"), "has no preprocessor_config.json", id="processor"),
    pytest.param(lambda f: drop(f, "model.safetensors"), "holds no weights", id="weights"),
    pytest.param(lambda f: (f / "model.safetensors").write_bytes(b"no"), "weights of broken cannot be read", id="bad"),
    pytest.param(lambda f: drop(f, "config.json"), "holds no config.json", id="config"),
    pytest.param(lambda f: (f / "config.json").write_text("{"), "config.json of broken cannot be read", id="not JSON"),
    pytest.param(lambda f: edit(f / "config.json", extract_layers=[0, 1]), "must read 3 layers", id="two layers"),
    pytest.param(lambda f: edit(f / "preprocessor_config.json", do_resize=False), "to a square", id="no resize"),
]


@pytest.mark.parametrize(("break_it", "message"), BREAKS)
def test_broken_checkpoints(break_it: Any, message: str, broken: Path, tmp_path: Path) -> None:
    break_it(broken)
    with pytest.raises(AutomaskError, match=message):
        run_command(broken, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_missing_weights_are_an_error(broken: Path, tmp_path: Path) -> None:
    weights = load_file(broken / "model.safetensors")
    del weights["decoder.film_mul.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lack 1 tensors, such as decoder\.film_mul\.weight"):
        run_command(broken, tmp_path / "bundle")


def test_int8_that_loses_too_much_is_refused_alone(broken: Path, tmp_path: Path) -> None:
    """One channel 10,000 times as large, and its weights as small: the same function, but not in 8 bits."""
    weights = load_file(broken / "model.safetensors")
    for name, weight in weights.items():
        if "vision_model.encoder" in name and "layer_norm1" in name:
            weight[0] *= 1e4
        if "vision_model.encoder" in name and name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
            weight[:, 0] /= 1e4
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ParityError, match=r"int8 .* export without int8: --precision fp32 --precision fp16"):
        run_command(broken, tmp_path / "bundle", "--precision=fp32", "--precision=fp16", "--precision=int8")
    assert not (tmp_path / "bundle").exists()

    assert "int8 is left out: int8 end to end: " in run_command(broken, tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.precisions == ("fp32",)
    assert not list(bundle.folder.glob("*int8*"))
    manifest = json.loads((bundle.folder / "automask.json").read_text(encoding="utf-8"))
    assert set(manifest["left_out"]) == {"int8"}
    assert not any(name.startswith("int8") for name in manifest["parity"]["figures"])


def test_a_tokenizer_of_another_text_encoder(broken: Path, tmp_path: Path) -> None:
    words = json.loads((broken / "config.json").read_text(encoding="utf-8"))["text_config"]
    edit(broken / "config.json", text_config=words | {"eos_token_id": 7})
    with pytest.raises(clip_tokenizer.TokenizerError, match="its text encoder looks for 7"):
        run_command(broken, tmp_path / "bundle")


def test_a_full_disk(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(publish.SpaceError, match=r"must have \d+ MB free, got 0 MB"):
        run_command(tiny.source, tmp_path / "bundle")


def test_a_disk_that_becomes_full_leaves_no_files(tmp_path: Path) -> None:
    def fill() -> None:
        with publish.staged(tmp_path / "bundle") as (bundle, _):
            (bundle / "half").write_text("written")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(publish.SpaceError, match="is full; nothing was left there"):
        fill()
    assert not list(tmp_path.iterdir())


def test_failed_parity_leaves_no_files(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of the model change after its graphs are exported, so that the graphs compute something else."""
    original = submodels.export_submodels

    def export_then_change(parts: Any, folder: Path, **options: Any) -> dict[str, Path]:
        files = original(parts, folder, **options)
        with torch.no_grad():
            parts["mask_decoder"].module.decoder.film_add.bias += 1
        return files

    monkeypatch.setattr(submodels, "export_submodels", export_then_change)
    with pytest.raises(ParityError, match="fp32 mask_decoder: relative error must be at most 0.001"):
        run_command(tiny.source, tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_force_replaces_a_bundle(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    for name in ("automask.json", "old"):
        (tmp_path / "bundle" / name).write_text("old")
    run_command(tiny.source, tmp_path / "bundle", "--force", "--precision", "fp32")
    assert not (tmp_path / "bundle" / "old").exists()
    assert open_bundle(tmp_path / "bundle").precisions == ("fp32",)


# Licences


@pytest.mark.parametrize(
    ("card", "licence", "is_open"),
    [
        (
            "---\nlicense: apache-2.0\n---\n# CIDAS/clipseg-rd64-refined",
            "apache-2.0 (by the model card). ",
            True,
        ),
        ('---\nlicense: "mit"\n---\n# Mine', "mit", False),
        ("---\nbase_model: CIDAS/clipseg-rd64\n---\n# Mine", "unknown (by the model card). ", True),
        ("# Mine\nlicense: mit", "unknown", False),
        (None, "unknown", False),
    ],
)
def test_licences(card: str | None, licence: str, is_open: bool, broken: Path, tmp_path: Path) -> None:
    if card is not None:
        (broken / "README.md").write_text(card, encoding="utf-8")
    printed = run_command(broken, tmp_path / "bundle", "--precision", "fp32")
    stored = open_bundle(tmp_path / "bundle").licence
    assert stored == licence + (LICENCE_QUESTION if is_open else "")
    assert f"licence: {stored}" in printed
