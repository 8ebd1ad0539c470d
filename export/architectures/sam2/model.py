"""SAM 2 and EdgeTAM checkpoints in memory: weights, and the settings of their image processor."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from PIL import Image as Pillow

from automask.families.drawers.sam import Sam2

from ...checkpoint import Checkpoint, CheckpointError
from ...network import load_network
from ...parity import Array, Image
from ..sam.inputs import checked_size, image_settings, read_processor
from ..sam.model import SegmentAnything, drawer_submodels
from .decoder import MaskDecoder
from .encoder import ImageEncoder
from .repvit import RepVitConfig, fuse

if TYPE_CHECKING:
    from transformers import EdgeTamConfig, EdgeTamModel, Sam2Model

__all__ = ["Sam2Drawer"]

_COARSEST = 32  # pixels to a cell of the backbone's last features, which the next finer ones must fit twice
_BACKBONE = "repvit_m1"


class Sam2Drawer(SegmentAnything):
    """SAM 2 or EdgeTAM, without the parts that follow an object through a video."""

    kinds: ClassVar[Mapping[str, str]] = {"drawer": "sam2"}
    drawer = Sam2

    def __init__(self, network: Sam2Model | EdgeTamModel, processor: Mapping[str, Any], size: int, name: str) -> None:
        super().__init__(network, processor, size, image_settings(processor, size, "stretch", name))
        vision, name_of_kind = network.vision_encoder, "SAM 2"
        if network.config.model_type == "edgetam":
            vision, name_of_kind = copy.deepcopy(vision), "EdgeTAM"
            fuse(vision)
            self.float32_roles = frozenset({"image_encoder"})  # convolutions, which int8 leaves as they are
        self.description = f"Draws masks into boxes and around points ({name_of_kind})."
        self.submodels = drawer_submodels(ImageEncoder(network, vision), MaskDecoder(network, size), size)

    @classmethod
    def load(cls, checkpoint: Checkpoint, image_size: int | None) -> Self:
        """Load a checkpoint.

        Parameters
        ----------
        image_size
            Side of the square image in pixels; None for the checkpoint's own. The embeddings of positions are
            interpolated for another one.

        Raises
        ------
        CheckpointError
            A file is missing, unreadable, or does something that the runtime does not.
        ParameterError
            The image size is not a multiple of 32.
        """
        processor = read_processor(checkpoint)
        network = _load_network(checkpoint)
        prompts = network.prompt_encoder
        size = checked_size(image_size or prompts.input_image_size, _COARSEST)
        side = size // network.config.prompt_encoder_config.patch_size
        prompts.input_image_size, prompts.image_embedding_size = size, (side, side)
        network.backbone_feature_sizes = [[4 * side] * 2, [2 * side] * 2, [side] * 2]
        return cls(network, processor, size, checkpoint.name)

    def pixels(self, photo: Image) -> Array:
        """Return what transformers' image processor makes of a photo, (1, 3, size, size).

        It resizes with torchvision, whose filter is Pillow's: they differ by at most one level of 255.
        """
        settings = self._processor
        square = Pillow.fromarray(photo).resize((self.image_size,) * 2, Pillow.Resampling(settings["resample"]))
        pixels = np.asarray(square, np.float64)
        if settings["do_rescale"]:
            pixels *= settings["rescale_factor"]
        if settings["do_normalize"]:
            pixels = (pixels - np.array(settings["image_mean"])) / np.array(settings["image_std"])
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


def _load_network(checkpoint: Checkpoint) -> Any:  # noqa: ANN401 (transformers' networks share no typed base)
    """Load the weights, without those for videos.

    Raises
    ------
    CheckpointError
        The weights cannot be read or are incomplete, or the backbone is another one than EdgeTAM's.
    """
    from transformers import EdgeTamModel, Sam2Model

    if checkpoint.config["model_type"].startswith("edgetam"):
        return load_network(checkpoint, EdgeTamModel, _edgetam_config(checkpoint))
    return load_network(checkpoint, Sam2Model)


def _edgetam_config(checkpoint: Checkpoint) -> EdgeTamConfig:
    """Return the configuration with our own backbone in the place of timm's."""
    from transformers import EdgeTamConfig
    from transformers.models.edgetam.configuration_edgetam import EdgeTamVisionConfig

    vision = dict(checkpoint.config["vision_config"])
    # A configuration without a backbone means this one.
    backbone = (vision.pop("backbone_config", None) or {}).get("architecture", _BACKBONE)
    if backbone.partition(".")[0] != _BACKBONE:
        raise CheckpointError(f"{checkpoint.name} must have the backbone {_BACKBONE!r}, got {backbone!r}")
    parts = {name: checkpoint.config[name] for name in ("prompt_encoder_config", "mask_decoder_config")}
    return EdgeTamConfig(vision_config=EdgeTamVisionConfig(**vision, backbone_config=RepVitConfig()), **parts)
