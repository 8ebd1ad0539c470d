"""A CLIPSeg checkpoint in memory: weights, tokenizer and image processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ...checkpoint import Checkpoint, CheckpointError
from ...free_text.model import FreeTextModel
from ...image_processor import image_settings
from ...parity import Image
from ...submodels import Submodel
from .card import model_card
from .config import TASK, submodels
from .inputs import load_processor
from .modules import DEPTH
from .reference import CLIPSegReference

if TYPE_CHECKING:
    from transformers import CLIPSegForImageSegmentation, ViTImageProcessor

__all__ = ["CLIPSegModel"]


class CLIPSegModel(FreeTextModel):
    """CLIPSeg as three graphs: image encoder, text encoder and mask decoder."""

    family = "dense"
    description = "Draws one mask for whatever a few free words describe (CLIPSeg)."
    # No published operating point for text prompts justifies moving the default threshold: the sigmoid's own scores
    # are kept, by the identity calibration.
    task = TASK
    networks: ClassVar[Mapping[str, str]] = {"clipseg": "CLIPSegForImageSegmentation"}
    image_role = "image_encoder"
    pools_at = "end"
    # The decoder is small, and its errors go straight into the mask.
    float32_roles = frozenset({"mask_decoder"})

    @classmethod
    def load_processor(
        cls,
        checkpoint: Checkpoint,
        config: Any,  # noqa: ANN401
        image_size: int | None,
    ) -> ViTImageProcessor:
        """Read the image processor; see `FreeTextModel`."""
        return load_processor(checkpoint, config.vision_config.patch_size, image_size)

    @classmethod
    def load_network(cls, checkpoint: Checkpoint, kind: Any) -> CLIPSegForImageSegmentation:  # noqa: ANN401
        """Load the weights, which must fit the three graphs; see `FreeTextModel`."""
        network: CLIPSegForImageSegmentation = super().load_network(checkpoint, kind)
        config = network.config
        if len(config.extract_layers) != DEPTH or not 0 <= config.conditional_layer < DEPTH:
            raise CheckpointError(
                f"{checkpoint.name} must read {DEPTH} layers and condition one of the first {DEPTH}, got "
                f"extract_layers {list(config.extract_layers)} and conditional_layer {config.conditional_layer}"
            )
        return network

    def image_settings(self) -> dict[str, Any]:
        """Return ``image.image_encoder`` of the manifest."""
        return image_settings(self.processor, "stretch")

    def split(self) -> Mapping[str, Submodel]:
        """Return image encoder, text encoder and mask decoder; see `FreeTextModel`."""
        return submodels(self.network, self.image_size)

    def reference(self, photo: Image) -> CLIPSegReference:
        """Run the checkpoint; see `Model`."""
        return CLIPSegReference.run(self.network, self.tokenizer, self.processor, self.submodels, photo)

    def model_card(self, manifest: Mapping[str, Any]) -> str:
        """Write the card; see `Model`."""
        return model_card(manifest)
