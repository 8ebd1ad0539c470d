"""A CLIPSeg checkpoint in memory: weights, tokenizer and image processor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ...checkpoint import Checkpoint, CheckpointError
from ...model import Model
from ...network import load_network
from ...parity import Image
from .card import model_card
from .config import TASK, submodels
from .inputs import image_settings, load_processor, load_tokenizer, write_tokenizer
from .modules import DEPTH
from .reference import CLIPSegReference

if TYPE_CHECKING:
    from transformers import CLIPSegForImageSegmentation, CLIPTokenizerFast, ViTImageProcessor

__all__ = ["CLIPSegModel"]


class CLIPSegModel(Model):
    """CLIPSeg as three graphs: image encoder, text encoder and mask decoder."""

    family = "dense"
    description = "Draws one mask for whatever a few free words describe (CLIPSeg)."
    # No published operating point for text prompts justifies moving the default threshold: the sigmoid's own scores
    # are kept, by the identity calibration.
    task = TASK
    packages = (
        "torch", "transformers", "tokenizers", "optimum", "optimum-onnx", "onnx", "onnxslim", "onnxruntime", "numpy",
    )  # fmt: skip
    # The decoder is small, and its errors go straight into the mask.
    float32_roles = frozenset({"mask_decoder"})

    def __init__(
        self, network: CLIPSegForImageSegmentation, tokenizer: CLIPTokenizerFast, processor: ViTImageProcessor
    ) -> None:
        self._network, self._tokenizer, self._processor = network, tokenizer, processor
        settings = image_settings(processor)
        self.image = {"image_encoder": settings}
        self.image_size = settings["size"]
        self.submodels = submodels(network, self.image_size)

    @classmethod
    def load(cls, checkpoint: Checkpoint, image_size: int | None) -> Self:
        """Load a checkpoint.

        Parameters
        ----------
        image_size
            Side of the square image in pixels; None for the checkpoint's own.

        Raises
        ------
        CheckpointError
            A file is missing, unreadable, or not what the three graphs support.
        ParameterError
            The image size is not a multiple of the patch size.
        """
        tokenizer, processor = load_tokenizer(checkpoint), load_processor(checkpoint, image_size)
        return cls(_load_network(checkpoint), tokenizer, processor)

    def write_settings(self, bundle: Path) -> dict[str, Any]:
        """Write the settings; see `Model`."""
        config = self._network.config
        self._processor.to_json_file(bundle / "preprocessor_config.json")
        config.to_json_file(bundle / "config.json")
        return write_tokenizer(self._tokenizer, config.text_config.max_position_embeddings, bundle / "tokenizer.json")

    def reference(self, photo: Image) -> CLIPSegReference:
        """Run the checkpoint; see `Model`."""
        return CLIPSegReference.run(self._network, self._tokenizer, self._processor, self.submodels, photo)

    def model_card(self, manifest: Mapping[str, Any]) -> str:
        """Write the card; see `Model`."""
        return model_card(manifest)


def _load_network(checkpoint: Checkpoint) -> CLIPSegForImageSegmentation:
    """Load the weights in float32.

    Raises
    ------
    CheckpointError
        The weights cannot be read, are incomplete, or do not fit the three graphs.
    """
    from transformers import CLIPSegForImageSegmentation

    network = load_network(checkpoint, CLIPSegForImageSegmentation)
    config = network.config
    if len(config.extract_layers) != DEPTH or not 0 <= config.conditional_layer < DEPTH:
        raise CheckpointError(
            f"{checkpoint.name} must read {DEPTH} layers and condition one of the first {DEPTH}, got extract_layers "
            f"{list(config.extract_layers)} and conditional_layer {config.conditional_layer}"
        )
    return network
