"""Segment Anything models as drawers: `automask export FINDER --masks MODEL`, and their parity with transformers.

The checkpoints have random weights; the command is the real one.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from transformers import SamHQProcessor, SamImageProcessor, SamProcessor

import automask
from automask.bundle import open_bundle
from automask.cache import ByteCache
from automask.errors import ParameterError
from automask.export.architectures.sam.correction import corrected
from automask.export.architectures.sam.model import SamDrawer
from automask.export.architectures.sam2.decoder import MaskDecoder
from automask.export.architectures.sam2.model import Sam2Drawer
from automask.export.architectures.sam2.repvit import RepVitBackbone, RepVitConfig, fuse
from automask.export.checkpoint import CheckpointError, find
from automask.export.cli import export
from automask.families.drawers import DRAWERS, Hint
from automask.families.drawers.sam import Sam
from automask.families.drawers.specks import remove_specks
from automask.families.family import Picture, Stopwatch
from automask.session import Session
from support.drawer_checkpoints import SIZE, random_network, save
from support.label_set_checkpoints import save_checkpoint

Array = NDArray[Any]

KINDS = ("sam", "sam_hq", "sam2", "edgetam")
PADDED = ("sam", "sam_hq")  # the others stretch images
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEIGHT, WIDTH = 300, 400  # in the square of 128 pixels, 96 × 128: whole cells of the mask

# What is in one call, in pixels of the photo: boxes, points, and both.
BOXES = [(20.0 * i, 30.0 + 10 * i, 150.0 + 30 * i, 200.0 + 12 * i) for i in range(7)]
CLICKS = ((200.0, 150.0, 1), (60.0, 40.0, 0), (350.0, 260.0, 1))
GROUPS = {
    "1 box": [Hint(BOXES[0])],
    "2 boxes": [Hint(box) for box in BOXES[:2]],
    "7 boxes": [Hint(box) for box in BOXES],
    "1 click": [Hint(None, CLICKS[:1])],
    "3 clicks": [Hint(None, CLICKS)],
    "a box and 2 clicks": [Hint(BOXES[1], CLICKS[:2])],
    "all of them": [Hint(BOXES[0]), Hint(None, CLICKS[:1]), Hint(BOXES[1], CLICKS[:2]), Hint(None, CLICKS)],
}


@dataclass(frozen=True)
class Exported:
    """A network, its checkpoint, and a bundle that draws with it."""

    kind: str
    network: Any
    source: Path
    folder: Path
    precisions: tuple[str, ...]
    output: str


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detector") / "detector"
    save_checkpoint(folder, "detectors", "yolos")
    return folder


@pytest.fixture(scope="module", params=KINDS)
def exported(request: pytest.FixtureRequest, detector: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    kind, base = request.param, tmp_path_factory.mktemp(request.param)
    network = random_network(kind)
    source = save(network, base / "drawer")
    precisions = {"sam": ("fp32", "int8", "fp16"), "sam_hq": ("fp32", "int8")}.get(kind, ("fp32",))
    options = [*(f"--precision={precision}" for precision in precisions), "-o", str(base / "bundle")]
    done = CliRunner().invoke(export, [str(detector), "--masks", str(source), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return Exported(kind, network, source, base / "bundle", precisions, done.output)


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    """Smooth colours."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    colours = np.stack([x * 255 // WIDTH, y * 255 // HEIGHT, (x + y) % 256], axis=-1)
    return np.asarray(colours, np.uint8)


def drawn_by_transformers(network: Any, photo: NDArray[np.uint8], hints: list[Hint]) -> list[Array]:
    """Return the logits that transformers' processor and network draw for each hint; the network takes one kind."""
    kinds = [(len(hint.points), hint.box is None) for hint in hints]
    drawn: dict[int, Array] = {}
    for one in dict.fromkeys(kinds):
        alike = [index for index, kind in enumerate(kinds) if kind == one]
        drawn.update(zip(alike, _drawn_alike(network, photo, [hints[index] for index in alike]), strict=True))
    return [drawn[index] for index in range(len(hints))]


def _drawn_alike(network: Any, photo: NDArray[np.uint8], hints: list[Hint]) -> list[Array]:
    kind = network.config.model_type
    scale = np.array([SIZE / WIDTH, SIZE / WIDTH if kind in PADDED else SIZE / HEIGHT])
    prompts: dict[str, Any] = {}
    if hints[0].points:
        prompts["input_points"] = [[[list(point[:2]) for point in hint.points] for hint in hints]]
        prompts["input_labels"] = [[[point[2] for point in hint.points] for hint in hints]]
    if hints[0].box is not None:
        prompts["input_boxes"] = [[list(hint.box or ()) for hint in hints]]
    if kind in PADDED:
        resized = SamImageProcessor(size={"longest_edge": SIZE}, pad_size={"height": SIZE, "width": SIZE})
        processor = (SamProcessor if kind == "sam" else SamHQProcessor)(resized)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The following named arguments")  # SamHQProcessor's own
            inputs = processor(photo, return_tensors="pt", **prompts)
        inputs = {name: inputs[name] for name in ("pixel_values", *prompts)}
    else:  # transformers' processor needs torchvision
        pixels = np.asarray(Image.fromarray(photo).resize((SIZE, SIZE), Image.Resampling.BILINEAR)) / 255
        pixels = (pixels - np.array(MEAN)) / np.array(STD)
        inputs = {"pixel_values": torch.tensor(pixels.transpose(2, 0, 1)[None])}
        for name, places in prompts.items():
            factor = {"input_points": scale, "input_boxes": np.tile(scale, 2), "input_labels": 1}[name]
            inputs[name] = torch.tensor(places) * torch.tensor(factor)
    inputs = {name: one if "labels" in name else one.float() for name, one in inputs.items()}
    single = hints[0].box is None and len(hints[0].points) == 1
    with torch.inference_mode(), corrected(network):
        found = network(**inputs, multimask_output=single)
    rows = SIZE * HEIGHT // WIDTH // 4 if kind in PADDED else SIZE // 4
    best = found.iou_scores[0].argmax(dim=1).tolist()
    return [found.pred_masks[0, index, mask, :rows].numpy() for index, mask in enumerate(best)]


def drawer(exported: Exported, precision: str = "fp32") -> Sam:
    bundle = open_bundle(exported.folder)
    sessions = {
        role: Session(exported.folder / graph.choose([precision, "fp32"]), "cpu")
        for role, graph in bundle.graphs.items()
    }
    drawer = DRAWERS[bundle.kinds["drawer"]](bundle, sessions, ByteCache(2**26, lambda arrays: arrays[0].nbytes))
    assert isinstance(drawer, Sam)
    return drawer


# The bundle


def test_the_bundle_holds_both_models(exported: Exported) -> None:
    bundle = open_bundle(exported.folder)
    assert bundle.kinds == {"finder": "labels", "drawer": "sam" if exported.kind in PADDED else "sam2"}
    settings = bundle.image["image_encoder"]
    assert (settings["size"], settings["mask_stride"], settings["interpolation"]) == (SIZE, 4, "pillow_bilinear")
    assert settings["resize"] == ("longest_side" if exported.kind in PADDED else "stretch")
    np.testing.assert_allclose(settings["mean"], 255 * np.array(MEAN))
    np.testing.assert_allclose(settings["std"], 255 * np.array(STD))
    assert {"drawer_config.json", "drawer_preprocessor_config.json"} <= set(bundle.files)


def test_the_figures_are_printed_and_kept(exported: Exported) -> None:
    parity = json.loads((exported.folder / "automask.json").read_text(encoding="utf-8"))["parity"]
    assert parity["figures"]["fp32 end to end: largest difference of logits"] < 1e-3
    assert parity["figures"]["fp32 end to end: lowest mask IoU"] > 0.99
    assert "fp32 mask_decoder: relative error" in exported.output


def test_other_precisions_draw_the_same_masks(exported: Exported, photo: NDArray[np.uint8]) -> None:
    variants = {role: set(graph.variants) for role, graph in open_bundle(exported.folder).graphs.items()}
    assert variants["image_encoder"] == variants["mask_decoder"] == set(exported.precisions)
    picture = Picture(photo, (HEIGHT, WIDTH), b"", photo)
    exact, *others = (
        np.stack([one.logits for one in drawer(exported, precision).draw_with_specks(picture, hints, Stopwatch())])
        for precision in exported.precisions
        for hints in [GROUPS["7 boxes"]]
    )
    for found in others:
        assert 0 < np.abs(found - exact).max() < 0.1 * np.ptp(exact)


# Masks


@pytest.mark.parametrize("name", GROUPS)
def test_masks_are_those_of_transformers(exported: Exported, name: str, photo: NDArray[np.uint8]) -> None:
    picture = Picture(photo, (HEIGHT, WIDTH), b"", photo)
    drawings = drawer(exported).draw_with_specks(picture, GROUPS[name], Stopwatch())
    by_transformers = drawn_by_transformers(exported.network, photo, GROUPS[name])
    for expected, drawing in zip(by_transformers, drawings, strict=True):
        assert expected.std() > 0.05
        np.testing.assert_allclose(drawing.logits, expected, atol=1e-3 * expected.std())
        assert 0 <= drawing.iou <= 1


def test_a_box_masks_its_object(exported: Exported, photo: NDArray[np.uint8]) -> None:
    segmenter = automask.load(exported.folder, device="cpu", precision="fp32")
    result = segmenter.mask(photo, box=BOXES[3])
    (found,) = result.instances
    assert (found.label, found.box) == ("object", BOXES[3])
    (expected,) = drawn_by_transformers(exported.network, photo, [Hint(BOXES[3])])
    np.testing.assert_allclose(found.logits, remove_specks(expected), atol=1e-3)
    assert result.mask.shape == (HEIGHT, WIDTH)


def test_points_mask_an_object(exported: Exported, photo: NDArray[np.uint8]) -> None:
    segmenter = automask.load(exported.folder, device="cpu", precision="fp32")
    (found,) = segmenter.mask(photo, points=CLICKS).instances
    assert found.points == CLICKS
    assert found.logits.shape == ((24, 32) if exported.kind in PADDED else (32, 32))


def test_words_find_boxes_for_it(exported: Exported, photo: NDArray[np.uint8]) -> None:
    result = automask.load(exported.folder, device="cpu").mask(photo, "cat", threshold=0)
    assert result.instances
    assert all(instance.label == "cat" for instance in result.instances)


def test_images_of_any_size(exported: Exported) -> None:
    segmenter = automask.load(exported.folder, device="cpu")
    for size in ((1, 1), (1, 700), (3000, 4000)):
        image = np.full((*size, 3), 90, np.uint8)
        assert segmenter.mask(image, box=(0, 0, size[1], size[0])).mask.shape == size


def test_in_int8_the_products_of_tokens_are_exact(exported: Exported) -> None:
    if "int8" in exported.precisions:
        nodes = onnx.load(exported.folder / "mask_decoder.int8.onnx").graph.node
        integer = [node.name for node in nodes if node.op_type == "MatMulInteger"]
        assert len(integer) == 2 * 4 + 2  # of the image's cells: in two layers, and in the last attention
        assert all("token" in name for name in integer)


def test_the_image_is_encoded_once_and_only_where_something_is_drawn(
    exported: Exported, photo: NDArray[np.uint8], runs: Any
) -> None:
    segmenter = automask.load(exported.folder, device="cpu", precision="fp32", prove=False)  # a proof runs graphs, too
    assert segmenter.mask(photo, "cat", threshold=1).is_empty
    assert runs["image_embedding"] == 0
    for box in BOXES[:3]:
        segmenter.mask(photo, box=box)
    assert runs["image_embedding"] == 1


def test_edges_are_drawn_from_a_closer_view(exported: Exported, photo: NDArray[np.uint8]) -> None:
    segmenter = automask.load(exported.folder, device="cpu", precision="fp32")
    result = segmenter.mask(photo, box=(150, 100, 250, 200), edges="model")
    assert result.mask.shape == (HEIGHT, WIDTH)


# The networks, without an export


@pytest.mark.parametrize(("kind", "load"), [("sam", SamDrawer), ("sam_hq", SamDrawer), ("sam2", Sam2Drawer)])
def test_another_image_size_is_that_of_a_network_configured_for_it(kind: str, load: Any, tmp_path: Path) -> None:
    model = load.load(find(str(save(random_network(kind), tmp_path / kind)), revision=None, supported=[kind]), 192)
    pixels = torch.randn(1, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    encoded = model.submodels["image_encoder"].run({"image": pixels.numpy()})
    corners = np.array([[[20, 30], [150, 100], [0, 0]]], np.float32)[:, : 2 + (kind == "sam2")]
    labels = np.array([[2, 3, -1]])[:, : corners.shape[1]]
    found = model.submodels["mask_decoder"].run({**encoded, "points": corners, "labels": labels})["logits"]
    network = model._network  # at this size
    with torch.inference_mode(), corrected(network):
        expected = network(
            pixel_values=pixels, input_boxes=torch.tensor([[[20.0, 30, 150, 100]]]), multimask_output=False
        ).pred_masks[0, :, 0]
    assert found.shape == (1, 48, 48)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("least", [0.0, 0.9, 2.0])
def test_an_unstable_mask_is_replaced_as_in_transformers(least: float) -> None:
    network = random_network("sam2")
    network.mask_decoder.dynamic_multimask_stability_thresh = least
    boxes = torch.rand(1, 20, 4, generator=torch.Generator().manual_seed(0)) * 60 + torch.tensor([0.0, 0, 60, 60])
    points = torch.cat([boxes.reshape(20, 2, 2), torch.zeros(20, 1, 2)], dim=1)
    with torch.inference_mode():
        features = network.get_image_embeddings(torch.randn(1, 3, SIZE, SIZE))
        fine, medium, coarse = features
        expected = network(image_embeddings=features, input_boxes=boxes.clone(), multimask_output=False)
        found = MaskDecoder(network, SIZE)(coarse, medium, fine, points, torch.tensor([[2, 3, -1]] * 20))
    torch.testing.assert_close(found["logits"], expected.pred_masks[0, :, 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(found["iou"], expected.iou_scores[0, :, 0])


def test_the_resizing_of_pillow_is_that_of_torch(photo: NDArray[np.uint8]) -> None:
    # SAM 2's processor resizes with torchvision, which calls this function.
    planes = torch.from_numpy(photo.transpose(2, 0, 1).copy())[None]
    by_torch = torch.nn.functional.interpolate(planes, (SIZE, SIZE), mode="bilinear", antialias=True)[0].numpy()
    by_pillow = np.asarray(Image.fromarray(photo).resize((SIZE, SIZE), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert np.abs(by_torch.astype(int) - by_pillow.astype(int)).max() <= 1


def test_transformers_still_has_the_mistake_that_is_corrected() -> None:
    """Where this fails, transformers draws SAM-HQ's masks rightly, and `correction.py` can go."""
    network = random_network("sam_hq")
    inputs = {"pixel_values": torch.randn(1, 3, SIZE, SIZE), "input_boxes": torch.tensor([[[10.0, 20, 90, 100]]])}
    with torch.inference_mode():
        plain = network(**inputs, multimask_output=False).pred_masks
        with corrected(network):
            right = network(**inputs, multimask_output=False).pred_masks
        again = network(**inputs, multimask_output=False).pred_masks
    torch.testing.assert_close(plain, again)
    assert (plain - right).abs().max() > 0.1


def test_the_backbone_of_edgetam_is_that_of_timm() -> None:
    backbone: Any = RepVitBackbone(RepVitConfig()).eval()
    for number, (name, tensor) in enumerate(sorted(backbone.timm_model.state_dict().items())):
        if tensor.dtype.is_floating_point:
            wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * 0.7 + number).reshape(tensor.shape)
            scale = (tensor.numel() / tensor.shape[0]) ** -0.5 if tensor.ndim == 4 else 0.1
            tensor.copy_(float(name.endswith(("bn.weight", "running_var"))) + scale * wave)
    image = torch.cos(torch.arange(3 * 64 * 64, dtype=torch.float64) * 0.01).reshape(1, 3, 64, 64).float()
    # Mean, standard deviation and element [0, 5, 1, 1] of timm 1.0.31's `repvit_m1` with these weights.
    timm = [
        (-0.056409209, 0.897495866, -0.941237748),
        (0.138614044, 1.840711594, 2.062268496),
        (-0.985065877, 13.325330734, -24.476791382),
        (0.138243616, 13.286619186, 11.559554100),
    ]
    for _ in ("as trained", "fused"):
        with torch.inference_mode():
            features = backbone(image).last_hidden_state
        found = [(float(one.mean()), float(one.std()), float(one[0, 5, 1, 1])) for one in features]
        np.testing.assert_allclose(found, timm, rtol=1e-4, atol=1e-4)
        fuse(backbone)


# What is refused


def load(folder: Path, image_size: int | None = None) -> None:
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    checkpoint = find(str(folder), revision=None, supported=[kind])
    (SamDrawer if kind in PADDED else Sam2Drawer).load(checkpoint, image_size)


@pytest.mark.parametrize(("kind", "size", "multiple"), [("sam", 100, 16), ("sam", 8, 16), ("sam2", 112, 32)])
def test_image_sizes_that_do_not_fit(kind: str, size: int, multiple: int, tmp_path: Path) -> None:
    folder = save(random_network(kind), tmp_path / kind)
    with pytest.raises(ParameterError, match=f"image size must be a multiple of {multiple}, got {size}"):
        load(folder, size)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, "drawer has no preprocessor_config.json"),
        ("[]", "preprocessor_config.json of drawer cannot be read"),
        ('{"resample": 5}', "drawer must resize images with one of"),
        ('{"do_resize": false}', "drawer must resize images with one of"),
    ],
)
def test_image_processors_that_the_runtime_lacks(settings: str | None, message: str, tmp_path: Path) -> None:
    folder = save(random_network("sam2"), tmp_path / "drawer")
    (folder / "preprocessor_config.json").unlink()
    if settings is not None:
        (folder / "preprocessor_config.json").write_text(settings, encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        load(folder)


def test_settings_of_newer_checkpoints_are_read(tmp_path: Path) -> None:
    folder = save(random_network("sam2"), tmp_path / "drawer")
    settings = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": settings}), encoding="utf-8")
    load(folder)


def test_another_backbone_than_edgetams(tmp_path: Path) -> None:
    folder = save(random_network("edgetam"), tmp_path / "drawer")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["vision_config"]["backbone_config"]["architecture"] = "resnet18"
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match="drawer must have the backbone 'repvit_m1', got 'resnet18'"):
        load(folder)


def test_a_checkpoint_for_videos_is_used_without_its_memory(tmp_path: Path) -> None:
    load(save(random_network("sam2_video"), tmp_path / "drawer"))
