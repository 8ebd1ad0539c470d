"""A checkpoint of Grounding DINO in memory: weights, tokenizer and image processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from automask.errors import ParameterError
from automask.words.captions import attention

from ...checkpoint import Checkpoint, CheckpointError
from ...free_text.model import FreeTextModel
from ...graphs import Tensor
from ...parity import Array, Image
from ...submodels import Submodel
from .card import model_card
from .inputs import DEFAULT_SIZE, image_settings, load_processor, load_tokenizer, write_tokenizer
from .modules import Detector, ImageEncoder, TextEncoder, level_shapes
from .reference import GroundingDinoReference

if TYPE_CHECKING:
    from transformers import BertTokenizerFast, GroundingDinoImageProcessor

__all__ = ["GroundingDinoModel"]

_NAMES = {"grounding-dino": "Grounding DINO", "mm-grounding-dino": "MM-Grounding-DINO"}
_NEEDED = {"two_stage": True, "embedding_init_target": True, "query_dim": 4}


class GroundingDinoModel(FreeTextModel):
    """Grounding DINO as three graphs: text encoder, image encoder, and the detector that joins them."""

    family = "boxes"
    kinds: ClassVar[Mapping[str, str]] = {"finder": "grounding-dino"}
    task = "zero-shot-object-detection"
    networks: ClassVar[Mapping[str, str]] = {
        "grounding-dino": "GroundingDinoForObjectDetection",
        "mm-grounding-dino": "MMGroundingDinoForObjectDetection",
    }
    image_role = "detector_encoder"
    # 0.25 is the default of both thresholds in GroundingDinoProcessor.post_process_grounded_object_detection
    # (transformers 4.57), the processor of all three, and in the authors' demo (demo/gradio_app.py of GroundingDINO).
    calibration: Sequence[Sequence[float]] = ((0, 0), (0.25, 0.2), (1, 1))

    def __init__(self, network: Any, tokenizer: Any, processor: Any) -> None:  # noqa: ANN401 (as in the base)
        super().__init__(network, tokenizer, processor)
        self.description = f"Finds what phrases describe ({_NAMES[network.config.model_type]})."

    @classmethod
    def check_config(cls, config: Any, name: str) -> None:  # noqa: ANN401
        """Check that the graphs support it; see `FreeTextModel`."""
        for setting, value in _NEEDED.items():
            if getattr(config, setting) != value:
                raise CheckpointError(f"{name} must have {setting}={value}, has {getattr(config, setting)!r}")
        if config.text_config.model_type != "bert":
            raise CheckpointError(f"the text encoder of {name} must be bert, is {config.text_config.model_type}")

    @classmethod
    def load_tokenizer(cls, checkpoint: Checkpoint, config: Any) -> BertTokenizerFast:  # noqa: ANN401
        """Read BERT's tokenizer; see `FreeTextModel`."""
        return load_tokenizer(checkpoint, config.text_config.vocab_size)

    @classmethod
    def load_processor(
        cls,
        checkpoint: Checkpoint,
        config: Any,  # noqa: ANN401
        image_size: int | None,
    ) -> GroundingDinoImageProcessor:
        """Read the image processor; see `FreeTextModel`."""
        del config
        return load_processor(checkpoint, DEFAULT_SIZE if image_size is None else image_size)

    def image_settings(self) -> dict[str, Any]:
        """Return ``image.detector_encoder`` of the manifest."""
        return image_settings(self.processor)

    def write_tokenizer(self, path: Path) -> dict[str, Any]:
        """Write the tokenizer; see `FreeTextModel`."""
        return write_tokenizer(self.tokenizer, self.network.config.max_text_len, path)

    def reference(self, photo: Image) -> GroundingDinoReference:
        """Run the checkpoint; see `Model`."""
        return GroundingDinoReference.run(self, photo)

    def model_card(self, manifest: Mapping[str, Any]) -> str:
        """Write the card; see `Model`."""
        return model_card(manifest)

    def split(self) -> dict[str, Submodel]:
        """Return text encoder, image encoder and detector; see `FreeTextModel`.

        Raises
        ------
        ParameterError
            The image has fewer cells than the model has queries.
        """
        network, size = self.network, self.image_size
        width, queries = network.config.d_model, network.config.num_queries
        shapes = level_shapes(network, size)
        cells = sum(height * length for height, length in shapes)
        if cells < queries:
            raise ParameterError(
                "image size", f"give at least {queries} cells, one for each query", f"{size} ({cells})"
            )
        vision = {"vision": Tensor((1, cells, width)), "vision_mask": Tensor((1, cells))}
        text = {"text": Tensor((1, "length", width))}
        ids = {"input_ids": Tensor((1, "length"), "int64")}
        layout = {"phrase_mask": Tensor((1, "length", "length")), "position_ids": Tensor((1, "length"), "int64")}
        pixels = {"pixel_values": Tensor((1, 3, size, size)), "pixel_mask": Tensor((1, size, size))}
        found = {"logits": Tensor((queries, "length")), "boxes": Tensor((queries, 4))}
        example = _example(size, cells, width)

        def submodel(module: Any, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> Submodel:  # noqa: ANN401
            return Submodel(module, inputs, outputs, {name: example[name] for name in inputs})

        return {
            "text_encoder": submodel(TextEncoder(network), {**ids, **layout}, text),
            "detector_encoder": submodel(ImageEncoder(network), pixels, vision),
            "detector": submodel(Detector(network, shapes), {**vision, **text, **layout}, found),
        }


def _example(size: int, cells: int, width: int) -> dict[str, Array]:
    """Return inputs to trace with: two phrases, and an image without padding."""
    ids = [101, 103, 103, 1012, 103, 1012, 102]  # [CLS] [MASK] [MASK] . [MASK] . [SEP]
    mask, positions = attention(ids, {101, 102, 1012})
    noise = np.random.default_rng(0)
    return {
        "input_ids": np.array([ids]),
        "phrase_mask": mask[None].astype(np.float32),
        "position_ids": positions[None],
        "pixel_values": noise.standard_normal((1, 3, size, size)).astype(np.float32),
        "pixel_mask": np.ones((1, size, size), np.float32),
        "vision": noise.standard_normal((1, cells, width)).astype(np.float32),
        "vision_mask": np.ones((1, cells), np.float32),
        "text": noise.standard_normal((1, len(ids), width)).astype(np.float32),
    }
