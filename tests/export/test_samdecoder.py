"""The mask decoder of the default bundle beside transformers' SamModel, with the same random weights.

The reference is independent code of the same network. Each graph is compared with it for boxes, points and both.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

ort = pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("onnxslim")

if TYPE_CHECKING:
    from automask.export.architectures.embedded.samdecoder import MaskDecoder

SIZE = 512
CASES = {  # prompts, points in each, whether each has a box
    "1 box": (1, 0, True),
    "2 boxes": (2, 0, True),
    "7 boxes": (7, 0, True),
    "1 point": (2, 1, False),
    "2 points": (1, 2, False),
    "5 points": (3, 5, False),
    "a box and 1 point": (1, 1, True),
    "boxes and 3 points": (4, 3, True),
}
Array = NDArray[np.float32]


@pytest.fixture(scope="module")
def reference() -> Any:
    """A SamModel whose decoder has the size of MobileSAM's, and whose image encoder is not used."""
    torch.manual_seed(0)
    config = transformers.SamConfig(
        vision_config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": SIZE},
        prompt_encoder_config={"image_size": SIZE},
    )
    config.prompt_encoder_config.image_embedding_size = SIZE // 16
    model = transformers.SamModel(config).eval()
    for name, weight in model.named_parameters():  # at their first values, tokens hardly differ and norms do nothing
        if not name.startswith("vision_encoder"):
            weight.data += 0.05 * torch.randn_like(weight)
    return model


@pytest.fixture(scope="module")
def decoder(reference: Any) -> MaskDecoder:
    from automask.export.architectures.embedded.samdecoder import MaskDecoder, decoder_state

    module: MaskDecoder = MaskDecoder(SIZE).eval()
    module.load_state_dict(decoder_state(as_checkpoint(reference.state_dict())))
    return module


@pytest.fixture(scope="module")
def graphs(decoder: MaskDecoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from automask.export.architectures.embedded.segmenter import decoder_graph, export_decoder
    from automask.export.graphs import save

    folder = tmp_path_factory.mktemp("decoder")
    export_decoder(decoder, folder)
    save(decoder_graph(decoder), folder / "exact.onnx")
    return folder


def as_checkpoint(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the weights of a SamModel to the names of MobileSAM's checkpoint."""
    names = {
        "shared_image_embedding.positional_embedding": "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        ".point_embed.": ".point_embeddings.",
        ".upscale_conv1.": ".output_upscaling.0.",
        ".upscale_layer_norm.": ".output_upscaling.1.",
        ".upscale_conv2.": ".output_upscaling.3.",
        ".layer_norm_final_attn.": ".norm_final_attn.",
        ".layer_norm": ".norm",
        ".proj_in.": ".layers.0.",
        ".proj_out.": ".layers.2.",
    }
    renamed = {}
    for name, weight in state.items():
        is_head = "hypernetworks" in name or "iou_prediction_head" in name
        new = name.replace(".layers.0.", ".layers.1.") if is_head else name
        for old, replacement in names.items():
            new = new.replace(old, replacement)
        renamed[new] = weight
    return renamed


def prompt(count: int, clicks: int, *, has_box: bool) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(count + 10 * clicks)
    corners = np.sort(random.uniform(0, SIZE, (count, 2, 2)), axis=1)
    points = random.uniform(0, SIZE, (count, clicks, 2))
    labels = random.integers(0, 2, (count, clicks))
    ends, kinds = (corners, [2, 3]) if has_box else (np.zeros((count, 1, 2)), [-1])
    return {
        "points": np.concatenate([points, ends], axis=1).astype(np.float32),
        "labels": np.concatenate([labels, np.tile(kinds, (count, 1))], axis=1).astype(np.int64),
    }


def embedding() -> Array:
    return (np.random.default_rng(0).standard_normal((1, 256, SIZE // 16, SIZE // 16)) * 0.1).astype(np.float32)


def expected(reference: Any, feed: dict[str, NDArray[Any]]) -> tuple[Array, Array]:
    """What the reference draws; of a single point's three masks, the one with the best predicted IoU."""
    points, labels = torch.from_numpy(feed["points"]), torch.from_numpy(feed["labels"])
    is_click = (labels[0] == 0) | (labels[0] == 1)
    clicks = {"input_points": points[None, :, is_click], "input_labels": labels[None, :, is_click]}
    boxes = {"input_boxes": points[None, :, labels[0] >= 2].flatten(2)}
    prompts = (clicks if is_click.any() else {}) | (boxes if (labels[0] >= 2).any() else {})
    is_single = int((labels[0] >= 0).sum()) == 1
    with torch.inference_mode():
        out = reference(image_embeddings=torch.from_numpy(embedding()), multimask_output=is_single, **prompts)
    chosen = out.iou_scores[0].argmax(dim=1)
    rows = torch.arange(len(points))
    return out.pred_masks[0, rows, chosen].numpy(), out.iou_scores[0, rows, chosen].numpy()


@pytest.mark.parametrize("case", CASES)
def test_the_module_equals_the_reference(reference: Any, decoder: MaskDecoder, case: str) -> None:
    count, clicks, has_box = CASES[case]
    feed = prompt(count, clicks, has_box=has_box)
    with torch.inference_mode():
        found = decoder(torch.from_numpy(embedding()), *map(torch.from_numpy, feed.values()))
    for ours, theirs in zip(found, expected(reference, feed), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-4)


# The published graphs store weights in 7 or 8 bits, so their logits are near the reference, not equal.
@pytest.mark.parametrize(
    ("file", "limit"), [("exact.onnx", 1e-4), ("mask_decoder.onnx", 0.1), ("mask_decoder.int8.onnx", 0.15)]
)
@pytest.mark.parametrize("case", CASES)
def test_a_graph_is_near_the_reference(reference: Any, graphs: Path, case: str, file: str, limit: float) -> None:
    count, clicks, has_box = CASES[case]
    feed = prompt(count, clicks, has_box=has_box)
    session = ort.InferenceSession(str(graphs / file), providers=["CPUExecutionProvider"])
    logits, iou = session.run(None, {"image_embedding": embedding(), **feed})
    masks, scores = expected(reference, feed)
    assert np.abs(logits - masks).mean() <= limit * np.abs(masks).std()
    np.testing.assert_allclose(iou, scores, atol=limit * max(1.0, float(np.abs(scores).max())))


def test_a_second_end_is_not_neutral(decoder: MaskDecoder) -> None:
    """Why prompts are grouped by their number of points instead of padded."""
    feed = {name: torch.from_numpy(array) for name, array in prompt(1, 2, has_box=False).items()}
    padded = torch.cat([feed["points"], torch.zeros(1, 1, 2)], 1), torch.cat([feed["labels"], -torch.ones(1, 1)], 1)
    with torch.inference_mode():
        once = decoder(torch.from_numpy(embedding()), feed["points"], feed["labels"])[0]
        twice = decoder(torch.from_numpy(embedding()), padded[0], padded[1].long())[0]
    assert float((once - twice).abs().max()) > 1e-3
