"""Nets that give masks with labels, and label maps, exported and used as a user would, beside transformers."""

import json
from pathlib import Path

import numpy as np
import pytest
import transformers as tf

import automask
from automask.errors import ParameterError, UnknownPromptError
from automask.export.architectures.label_maps.licence import licence
from automask.export.architectures.regions.stuff import stuff_of
from automask.export.checkpoint import Checkpoint, CheckpointError
from automask.export.words import vocabulary_for
from support.label_set_bundles import PLAIN, Exported, calibrated, check_any_size, export_tiny, run_export, wide_photo
from support.label_set_checkpoints import LABELS, save_checkpoint


@pytest.fixture(scope="module", params=["eomt", "mask2former", "maskformer"])
def regions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_tiny(tmp_path_factory.mktemp("regions"), "regions", request.param)


@pytest.fixture(scope="module", params=["segformer", "upernet", "beit", "dpt"])
def label_map(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_tiny(tmp_path_factory.mktemp("label-maps"), "label_maps", request.param)


def test_masks_are_those_of_transformers(regions: Exported) -> None:
    outputs, _ = regions.in_transformers(wide_photo(), "AutoModelForUniversalSegmentation")
    masks = outputs.masks_queries_logits[0]
    if regions.name == "eomt":
        masks = masks[:, : masks.shape[1] // 2]  # the lower half is padding
    inside = masks > 0
    quality = (masks.sigmoid() * inside).flatten(1).sum(1) / inside.flatten(1).sum(1).clamp(min=1)
    scores = outputs.class_queries_logits[0].softmax(-1)[:, :-1] * quality[:, None]
    query, label = divmod(int(scores.argmax()), len(LABELS))
    best = regions.segmenter.mask(wide_photo(), LABELS[label], threshold=0, **PLAIN).instances[0]
    assert best.score == pytest.approx(calibrated(float(scores[query, label])), abs=1e-4)
    np.testing.assert_allclose(best.logits, masks[query].numpy(), atol=1e-3)


def test_masks_of_photos_of_any_size(regions: Exported) -> None:
    check_any_size(regions, "person and sky")


def test_nothing_is_found_at_threshold_1(regions: Exported) -> None:
    assert regions.segmenter.mask(wide_photo(), "cat", threshold=1, **PLAIN).is_empty


def test_score_maps_are_those_of_transformers(label_map: Exported) -> None:
    outputs, processor = label_map.in_transformers(wide_photo(), "AutoModelForSemanticSegmentation")
    (best,) = processor.post_process_semantic_segmentation(outputs, target_sizes=[(320, 640)])
    results = label_map.segmenter.mask(wide_photo(), list(LABELS), **PLAIN)
    masks = np.stack([result.mask > 0 for result in results])
    expected = np.stack([best.numpy() == index for index in range(len(LABELS))])
    assert (masks == expected).mean() > 0.97  # where three labels meet, the best ones are interpolated differently
    assert [result.labels for result in results] == [(label,) for label in LABELS]


def test_score_maps_of_photos_of_any_size(label_map: Exported) -> None:
    check_any_size(label_map, "the walls")


def test_a_full_size_checkpoint(tmp_path: Path) -> None:
    """EoMT-S with random weights; to be quick, float32 only, and small images."""
    config = tf.EomtConfig(
        hidden_size=384, num_attention_heads=6, num_hidden_layers=12, num_blocks=3, num_queries=200, image_size=160
    )
    save_checkpoint(tmp_path / "eomt", "regions", "eomt", config=config, noise=0.0)
    tf.EomtImageProcessor(size=dict.fromkeys(("shortest_edge", "longest_edge"), 160), do_pad=True).save_pretrained(
        tmp_path / "eomt"
    )
    printed = run_export(tmp_path / "eomt", tmp_path / "bundle")
    assert "WARNING: makes no sense" in printed  # untrained weights do not pass silently
    assert 90 < (tmp_path / "bundle" / "segmenter.onnx").stat().st_size / 1e6 < 110
    figures = json.loads((tmp_path / "bundle" / "automask.json").read_text("utf-8"))["parity"]["figures"]
    assert figures["fp32 segmenter: relative error"] < 1e-4
    sky = automask.load(tmp_path / "bundle", device="cpu", prove=False).mask(wide_photo(), "sky", threshold=0, **PLAIN)
    assert sky.labels == ("sky",)
    assert sky.mask.any()


def test_the_size_of_the_image_can_be_chosen_where_the_net_allows(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "segformer", "label_maps", "segformer")
    run_export(tmp_path / "segformer", tmp_path / "larger", "--image-size=96")
    result = automask.load(tmp_path / "larger", device="cpu").mask(wide_photo(), "wall", **PLAIN)
    assert result.mask.shape == (320, 640)
    save_checkpoint(tmp_path / "eomt", "regions", "eomt")
    with pytest.raises(ParameterError, match="image size must be one that the network takes"):
        run_export(tmp_path / "eomt", tmp_path / "other", "--image-size=96")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, "has no id2label: prompts need the names of the classes"),
        ({"0": "LABEL_0", "1": "LABEL_1"}, "does not name its classes .'LABEL_0', …."),
        ({"0": "cat", "2": "dog"}, "must number its 2 labels from 0 without a gap"),
        ({"first": "cat"}, "must have numbers as keys"),
    ],
)
def test_a_checkpoint_without_names_is_refused(tmp_path: Path, labels: dict[str, str], message: str) -> None:
    save_checkpoint(tmp_path / "checkpoint", "label_maps", "segformer")
    config = tmp_path / "checkpoint" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "id2label": labels}))
    with pytest.raises(CheckpointError, match=message):
        run_export(tmp_path / "checkpoint", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_processor_that_splits_photos_is_made_to_fit_them(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint", "regions", "eomt")
    settings = tmp_path / "checkpoint" / "preprocessor_config.json"
    split = {"do_split_image": True, "do_pad": False, "size": {"shortest_edge": 64, "longest_edge": None}}
    settings.write_text(json.dumps({**json.loads(settings.read_text()), **split}))
    run_export(tmp_path / "checkpoint", tmp_path / "bundle")
    assert automask.load(tmp_path / "bundle", device="cpu").mask(wide_photo(), "sky", **PLAIN).mask.shape == (320, 640)


def test_the_export_says_what_no_word_means(tmp_path: Path) -> None:
    labels = ("wall", "N/A", "sky")
    save_checkpoint(tmp_path / "checkpoint", "label_maps", "segformer", labels)
    printed = run_export(tmp_path / "checkpoint", tmp_path / "bundle")
    assert "known by no word: N/A" in printed
    assert "HF_HUB_OFFLINE is set" in printed
    assert "No word means these: N/A." in (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    segmenter = automask.load(tmp_path / "bundle", device="cpu")
    assert segmenter.mask(wide_photo(), "the sky", **PLAIN).labels == ("sky",)
    with pytest.raises(UnknownPromptError):
        segmenter.mask(wide_photo(), "N/A")


def test_a_checkpoint_without_image_processor_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint", "label_maps", "segformer")
    (tmp_path / "checkpoint" / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match="has no preprocessor_config.json"):
        run_export(tmp_path / "checkpoint", tmp_path / "bundle")


def test_stuff_of_known_label_sets() -> None:
    assert stuff_of(["cat", "dog"]) == []
    assert stuff_of(["person", *map(str, range(132))]) == list(range(80, 133))
    rooms = ["wall", "building", "sky", "floor", "tree", "ceiling", *map(str, range(144))]
    assert len(stuff_of(rooms)) == 50
    streets = ["road", "sidewalk", "building", "wall", "fence", "pole", "sky", "person", "car"]
    assert stuff_of(streets) == [0, 1, 2, 3, 4, 5, 6]


def test_a_licence_that_forbids_commercial_use_is_said(tmp_path: Path) -> None:
    card = "---\nlicense: other\n---\n"
    theirs = Checkpoint(tmp_path, "nvidia/segformer-b0-finetuned-ade-512-512", "", {}, card)
    assert "not commercially" in licence(theirs)
    tuned = Checkpoint(tmp_path, "me/rooms", "", {"_name_or_path": "nvidia/mit-b0"}, card)
    assert "not commercially" in licence(tuned)
    assert licence(Checkpoint(tmp_path, "me/rooms", "", {}, "---\nlicense: mit\n---\n")) == "mit"


def test_names_in_a_label_are_words() -> None:
    found = vocabulary_for(["Anode_Plate", "lpr, lumber rack", "blorb-brick", "N/A", "zork "])
    names = {"anode plate": 0, "lpr": 1, "lumber rack": 1, "blorb brick": 2, "zork": 4}
    assert found["aliases"] == names
    assert found["labels"] == ["Anode_Plate", "lpr", "blorb-brick", "N/A", "zork"]
    assert found["unplaced"] == ["N/A"]
