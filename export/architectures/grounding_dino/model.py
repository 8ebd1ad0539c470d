"""A checkpoint of Grounding DINO in memory: weights, tokenizer and image processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from automask.errors import ParameterError
from automask.words.captions import attention

from ...checkpoint import Checkpoint, CheckpointError
from ...graphs import Tensor
from ...model import Model
from ...network import load_network
from ...parity import Array, Image
from ...submodels import Submodel
from .card import model_card
from .inputs import DEFAULT_SIZE, image_settings, load_processor, load_tokenizer, write_tokenizer
from .modules import Detector, ImageEncoder, TextEncoder, level_shapes
from .reference import GroundingDinoReference

if TYPE_CHECKING:
    from transformers import BertTokenizerFast, GroundingDinoForObjectDetection, GroundingDinoImageProcessor

__all__ = ["GroundingDinoModel", "submodels"]

_NAMES = {"grounding-dino": "Grounding DINO", "mm-grounding-dino": "MM-Grounding-DINO"}


class GroundingDinoModel(Model):
    """Grounding DINO as three graphs: text encoder, image encoder, and the detector that joins them."""

    family = "boxes"
    kinds: ClassVar[Mapping[str, str]] = {"finder": "grounding-dino"}
    task = "zero-shot-object-detection"
    packages = (
        "torch", "transformers", "tokenizers", "optimum", "optimum-onnx", "onnx", "onnxslim", "onnxruntime", "numpy",
    )  # fmt: skip
    # 0.25 is the default of both thresholds in GroundingDinoProcessor.post_process_grounded_object_detection
    # (transformers 4.57), the processor of all three, and in the authors' demo (demo/gradio_app.py of GroundingDINO).
    calibration: Sequence[Sequence[float]] = ((0, 0), (0.25, 0.2), (1, 1))

    def __init__(
        self,
        network: GroundingDinoForObjectDetection,
        tokenizer: BertTokenizerFast,
        processor: GroundingDinoImageProcessor,
    ) -> None:
        self._network, self._tokenizer, self._processor = network, tokenizer, processor
        self.description = f"Finds what phrases describe ({_NAMES[network.config.model_type]})."
        settings = image_settings(processor)
        self.image = {"detector_encoder": settings}
        self.image_size = settings["size"]
        self.submodels = submodels(network, self.image_size)

    @classmethod
    def load(cls, checkpoint: Checkpoint, image_size: int | None) -> Self:
        """Load a checkpoint.

        Parameters
        ----------
        image_size
            Side of the square image in pixels; None for 640.

        Raises
        ------
        CheckpointError
            A file is missing or unreadable, or uses an unsupported setting.
        ParameterError
            The image size is no multiple of 32, or too small for the number of queries.
        """
        from transformers import GroundingDinoForObjectDetection, MMGroundingDinoForObjectDetection

        is_mm = checkpoint.config["model_type"] == "mm-grounding-dino"
        kind: Any = MMGroundingDinoForObjectDetection if is_mm else GroundingDinoForObjectDetection
        config = _read_config(checkpoint, kind)
        processor = load_processor(checkpoint, DEFAULT_SIZE if image_size is None else image_size)
        tokenizer = load_tokenizer(checkpoint, config.text_config.vocab_size)
        return cls(load_network(checkpoint, kind), tokenizer, processor)

    def write_settings(self, bundle: Path) -> dict[str, Any]:
        """Write the settings; see `Model`."""
        config = self._network.config
        self._processor.to_json_file(bundle / "preprocessor_config.json")
        config.to_json_file(bundle / "config.json")
        return write_tokenizer(self._tokenizer, config.max_text_len, bundle / "tokenizer.json")

    def reference(self, photo: Image) -> GroundingDinoReference:
        """Run the checkpoint; see `Model`."""
        return GroundingDinoReference.run(self._network, self._tokenizer, self._processor, self.submodels, photo)

    def model_card(self, manifest: Mapping[str, Any]) -> str:
        """Write the card; see `Model`."""
        return model_card(manifest)


def _read_config(checkpoint: Checkpoint, kind: Any) -> Any:  # noqa: ANN401 (either of two classes)
    """Read the configuration.

    Raises
    ------
    CheckpointError
        transformers cannot read it, or the graphs do not support it.
    """
    try:
        config = kind.config_class.from_dict(checkpoint.config)
    except Exception as error:  # a wrong type in it can raise anything
        raise CheckpointError(f"config.json of {checkpoint.name} cannot be read: {error}") from error
    needed = {"two_stage": True, "embedding_init_target": True, "query_dim": 4}
    for name, value in needed.items():
        if getattr(config, name) != value:
            raise CheckpointError(f"{checkpoint.name} must have {name}={value}, has {getattr(config, name)!r}")
    if config.text_config.model_type != "bert":
        raise CheckpointError(f"the text encoder of {checkpoint.name} must be bert, is {config.text_config.model_type}")
    return config


def submodels(network: GroundingDinoForObjectDetection, size: int) -> dict[str, Submodel]:
    """Split a model into its graphs, by role.

    Parameters
    ----------
    network
        With float32 weights, in evaluation mode.
    size
        Side of the image in pixels.

    Raises
    ------
    ParameterError
        The image has fewer cells than the model has queries.
    """
    width, queries = network.config.d_model, network.config.num_queries
    shapes = level_shapes(network, size)
    cells = sum(height * length for height, length in shapes)
    if cells < queries:
        raise ParameterError("image size", f"give at least {queries} cells, one for each query", f"{size} ({cells})")
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
