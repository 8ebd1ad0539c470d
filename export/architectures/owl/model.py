"""A checkpoint of OWL-ViT or OWLv2 in memory: weights, tokenizer and image processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ...checkpoint import Checkpoint
from ...clip_tokenizer import load_tokenizer, write_tokenizer
from ...graphs import Tensor
from ...model import Model
from ...network import load_network
from ...parity import Image
from ...submodels import Submodel
from .card import model_card
from .inputs import TEMPLATE, image_settings, load_processor
from .modules import BOX_HEAD, ImageDetector, TextEncoder
from .reference import OwlReference

if TYPE_CHECKING:
    from transformers import (
        CLIPTokenizerFast,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessor,
        OwlViTForObjectDetection,
        OwlViTImageProcessor,
    )

__all__ = ["OwlModel", "submodels"]

_NAMES = {"owlvit": "OWL-ViT", "owlv2": "OWLv2"}


class OwlModel(Model):
    """OWL-ViT or OWLv2 as two graphs: detector and text encoder."""

    family = "boxes"
    kinds: ClassVar[Mapping[str, str]] = {"finder": "owl"}
    task = "zero-shot-object-detection"
    packages = (
        "torch", "transformers", "tokenizers", "optimum", "optimum-onnx", "onnx", "onnxslim", "onnxruntime", "numpy",
    )  # fmt: skip
    # 0.1 is the default threshold of post_process_grounded_object_detection in OwlViTProcessor and Owlv2Processor
    # (transformers 4.57), and the one on the model cards.
    calibration: Sequence[Sequence[float]] = ((0, 0), (0.1, 0.2), (1, 1))
    # In int8, the boxes of OWLv2 are off by 0.16 of the image.
    float32_nodes: Mapping[str, Sequence[str]] = {"detector": (BOX_HEAD,)}

    def __init__(
        self,
        network: OwlViTForObjectDetection | Owlv2ForObjectDetection,
        tokenizer: CLIPTokenizerFast,
        processor: OwlViTImageProcessor | Owlv2ImageProcessor,
    ) -> None:
        self._network, self._tokenizer, self._processor = network, tokenizer, processor
        self.description = f"Finds whatever a few free words describe ({_NAMES[network.config.model_type]})."
        settings = image_settings(processor)
        self.image = {"detector": settings}
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
            A file is missing or unreadable, or uses an unsupported setting.
        ParameterError
            The image size is not a multiple of the patch size.
        """
        from transformers import Owlv2ForObjectDetection, OwlViTForObjectDetection

        kind: Any = Owlv2ForObjectDetection if checkpoint.config["model_type"] == "owlv2" else OwlViTForObjectDetection
        config = kind.config_class.from_dict(checkpoint.config)
        tokenizer = load_tokenizer(checkpoint, config.text_config, pools_at="highest")
        processor = load_processor(checkpoint, config.vision_config.patch_size, image_size)
        return cls(load_network(checkpoint, kind), tokenizer, processor)

    def write_settings(self, bundle: Path) -> dict[str, Any]:
        """Write the settings; see `Model`."""
        config = self._network.config
        self._processor.to_json_file(bundle / "preprocessor_config.json")
        config.to_json_file(bundle / "config.json")
        longest = config.text_config.max_position_embeddings
        text = write_tokenizer(self._tokenizer, longest, bundle / "tokenizer.json")
        return {**text, "template": TEMPLATE}

    def reference(self, photo: Image) -> OwlReference:
        """Run the checkpoint; see `Model`."""
        return OwlReference.run(self._network, self._tokenizer, self._processor, self.submodels, photo)

    def model_card(self, manifest: Mapping[str, Any]) -> str:
        """Write the card; see `Model`."""
        return model_card(manifest)


def submodels(network: OwlViTForObjectDetection | Owlv2ForObjectDetection, size: int) -> dict[str, Submodel]:
    """Split a model into its graphs, by role.

    Parameters
    ----------
    network
        With float32 weights, in evaluation mode.
    size
        Side of the image in pixels.
    """
    config = network.config
    patches, width = (size // config.vision_config.patch_size) ** 2, config.text_config.hidden_size
    one = Tensor(("batch", patches, 1))
    outputs = {
        "boxes": Tensor(("batch", patches, 4)),
        "class_embeds": Tensor(("batch", patches, width)),
        "shift": one,
        "scale": one,
    }
    if hasattr(network, "objectness_head"):
        outputs["objectness"] = Tensor(("batch", patches))
    words = Tensor(("texts", "length"), "int64")
    return {
        "detector": Submodel(ImageDetector(network, size), {"pixel_values": Tensor(("batch", 3, size, size))}, outputs),
        "text_encoder": Submodel(
            TextEncoder(network),
            {"input_ids": words, "attention_mask": words},
            {"text_embeds": Tensor(("texts", config.projection_dim))},
        ),
    }
