"""A checkpoint of OWL-ViT or OWLv2 in memory: weights, tokenizer and image processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ...checkpoint import Checkpoint
from ...free_text.model import FreeTextModel
from ...graphs import Tensor
from ...parity import Image
from ...submodels import Submodel
from .card import model_card
from .inputs import TEMPLATE, image_settings, load_processor
from .modules import BOX_HEAD, ImageDetector, TextEncoder
from .reference import OwlReference

if TYPE_CHECKING:
    from transformers import Owlv2ImageProcessor, OwlViTImageProcessor

__all__ = ["OwlModel"]

_NAMES = {"owlvit": "OWL-ViT", "owlv2": "OWLv2"}


class OwlModel(FreeTextModel):
    """OWL-ViT or OWLv2 as two graphs: detector and text encoder."""

    family = "boxes"
    kinds: ClassVar[Mapping[str, str]] = {"finder": "owl"}
    task = "zero-shot-object-detection"
    networks: ClassVar[Mapping[str, str]] = {"owlvit": "OwlViTForObjectDetection", "owlv2": "Owlv2ForObjectDetection"}
    image_role = "detector"
    # 0.1 is the default threshold of post_process_grounded_object_detection in OwlViTProcessor and Owlv2Processor
    # (transformers 4.57), and the one on the model cards.
    calibration: Sequence[Sequence[float]] = ((0, 0), (0.1, 0.2), (1, 1))
    # In int8, the boxes of OWLv2 are off by 0.16 of the image.
    float32_nodes: Mapping[str, Sequence[str]] = {"detector": (BOX_HEAD,)}

    def __init__(self, network: Any, tokenizer: Any, processor: Any) -> None:  # noqa: ANN401 (as in the base)
        super().__init__(network, tokenizer, processor)
        self.description = f"Finds whatever a few free words describe ({_NAMES[network.config.model_type]})."

    @classmethod
    def load_processor(
        cls,
        checkpoint: Checkpoint,
        config: Any,  # noqa: ANN401
        image_size: int | None,
    ) -> OwlViTImageProcessor | Owlv2ImageProcessor:
        """Read the image processor; see `FreeTextModel`."""
        return load_processor(checkpoint, config.vision_config.patch_size, image_size)

    def image_settings(self) -> dict[str, Any]:
        """Return ``image.detector`` of the manifest."""
        return image_settings(self.processor)

    def write_tokenizer(self, path: Path) -> dict[str, Any]:
        """Write the tokenizer; see `FreeTextModel`."""
        return {**super().write_tokenizer(path), "template": TEMPLATE}

    def reference(self, photo: Image) -> OwlReference:
        """Run the checkpoint; see `Model`."""
        return OwlReference.run(self, photo)

    def model_card(self, manifest: Mapping[str, Any]) -> str:
        """Write the card; see `Model`."""
        return model_card(manifest)

    def split(self) -> dict[str, Submodel]:
        """Return detector and text encoder; see `FreeTextModel`."""
        network, config, size = self.network, self.network.config, self.image_size
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
        pixels = {"pixel_values": Tensor(("batch", 3, size, size))}
        words = Tensor(("texts", "length"), "int64")
        return {
            "detector": Submodel(ImageDetector(network, size), pixels, outputs),
            "text_encoder": Submodel(
                TextEncoder(network),
                {"input_ids": words, "attention_mask": words},
                {"text_embeds": Tensor(("texts", config.projection_dim))},
            ),
        }
