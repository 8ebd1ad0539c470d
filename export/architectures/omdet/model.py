"""An OmDet-Turbo checkpoint in memory: weights, tokenizer and image processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from automask.errors import MissingDependencyError

from ...checkpoint import Checkpoint, CheckpointError
from ...free_text.model import FreeTextModel
from ...graphs import Tensor
from ...parity import Image
from ...submodels import Submodel, quiet
from .card import model_card
from .inputs import TASK, image_settings, load_processor
from .modules import Detector, ImageEncoder, TextEncoder, detector_heads, image_heads
from .reference import OmDetReference

if TYPE_CHECKING:
    from transformers import DetrImageProcessor, OmDetTurboForObjectDetection

__all__ = ["OmDetModel"]


class OmDetModel(FreeTextModel):
    """OmDet-Turbo as three graphs: text encoder, image encoder and detector."""

    family = "boxes"
    kinds: ClassVar[Mapping[str, str]] = {"finder": "omdet"}
    task = "zero-shot-object-detection"
    networks: ClassVar[Mapping[str, str]] = {"omdet-turbo": "OmDetTurboForObjectDetection"}
    image_role = "detector_encoder"
    description = "Finds whatever a few free words describe (OmDet-Turbo)."
    # 0.3 is the default threshold of post_process_grounded_object_detection in transformers' OmDetTurboProcessor
    # (4.57), and conf_threshold of the authors' run_demo.py (github.com/om-ai-lab/OmDet).
    calibration: Sequence[Sequence[float]] = ((0, 0), (0.3, 0.2), (1, 1))

    def __init__(self, network: Any, tokenizer: Any, processor: Any) -> None:  # noqa: ANN401 (as in the base)
        super().__init__(network, tokenizer, processor)
        # In int8, these heads let the detector take other cells of the image, and then everything differs.
        self.float32_nodes: Mapping[str, Sequence[str]] = {
            "detector_encoder": image_heads(),
            "detector": detector_heads(network.config.decoder_num_layers),
        }

    @classmethod
    def check_config(cls, config: Any, name: str) -> None:  # noqa: ANN401
        """Check that transformers can run it, and that timm is there where it is needed; see `FreeTextModel`."""
        if config.class_embed_dim == config.decoder_hidden_dim:
            raise CheckpointError(
                f"{name} has class_embed_dim = decoder_hidden_dim = {config.class_embed_dim}; transformers cannot run "
                "it, because its decoder then has no task projection"
            )
        if config.use_timm_backbone:
            _require_timm(name)

    @classmethod
    def load_processor(
        cls,
        checkpoint: Checkpoint,
        config: Any,  # noqa: ANN401
        image_size: int | None,
    ) -> DetrImageProcessor:
        """Read the image processor; see `FreeTextModel`."""
        return load_processor(checkpoint, config.image_size, image_size)

    @classmethod
    def load_network(cls, checkpoint: Checkpoint, kind: Any) -> OmDetTurboForObjectDetection:  # noqa: ANN401
        """Load the weights, also those of a backbone of timm; see `FreeTextModel`."""
        network = super().load_network(checkpoint, kind)
        return _rebuild(network) if network.config.use_timm_backbone else network

    def image_settings(self) -> dict[str, Any]:
        """Return ``image.detector_encoder`` of the manifest."""
        return image_settings(self.processor)

    def write_tokenizer(self, path: Path) -> dict[str, Any]:
        """Write the tokenizer; see `FreeTextModel`."""
        return {**super().write_tokenizer(path), "task": TASK}

    def reference(self, photo: Image) -> OmDetReference:
        """Run the checkpoint; see `Model`."""
        return OmDetReference.run(self, photo)

    def model_card(self, manifest: Mapping[str, Any]) -> str:
        """Write the card; see `Model`."""
        return model_card(manifest)

    def split(self) -> dict[str, Submodel]:
        """Return text encoder, image encoder and detector; see `FreeTextModel`."""
        network, config, size = self.network, self.network.config, self.image_size
        shapes = _shapes(network, size)
        cells, width = sum(height * width for height, width in shapes), config.decoder_hidden_dim
        image = {
            "vision": Tensor(("batch", cells, width)),
            "cells": Tensor(("batch", cells, width)),
            "anchors": Tensor(("batch", cells, 4)),
        }
        one_image = {name: Tensor((1, *tensor.shape[1:])) for name, tensor in image.items()}
        text = config.text_projection_out_dim
        return {
            "text_encoder": Submodel(
                TextEncoder(network),
                {"input_ids": Tensor(("texts", "length"), "int64")},
                {
                    "class_embeds": Tensor(("texts", text)),
                    "features": Tensor(("texts", "length", config.text_projection_in_dim)),
                },
            ),
            "detector_encoder": Submodel(
                ImageEncoder(network, shapes), {"pixel_values": Tensor(("batch", 3, size, size))}, image
            ),
            "detector": Submodel(
                Detector(network, shapes),
                one_image
                | {
                    "class_embeds": Tensor(("classes", text)),
                    "task": Tensor(("length", config.text_projection_in_dim)),
                },
                {"boxes": Tensor((config.num_queries, 4)), "logits": Tensor((config.num_queries, "classes"))},
            ),
        }


def _require_timm(name: str) -> None:
    if find_spec("timm") is None:
        raise MissingDependencyError(
            f"the backbone of {name} is one of timm's: pip install timm (beside a CPU build of torch, take its "
            "dependency torchvision from the same index as torch; PyPI's does not go together with it)"
        )


def _rebuild(network: OmDetTurboForObjectDetection) -> OmDetTurboForObjectDetection:
    """Return a network with the same weights, made on the CPU.

    transformers makes a network without memory, and fills in what the checkpoint has. What timm computes when it makes
    a backbone, such as the masks of its windows, is in no checkpoint, and stays without memory in timm 1.0.31.
    """
    network.config.use_pretrained_backbone = False  # or timm would download weights, to be replaced
    rebuilt = type(network)(network.config)
    rebuilt.load_state_dict(network.state_dict())
    return rebuilt.eval()


def _shapes(network: OmDetTurboForObjectDetection, size: int) -> tuple[tuple[int, int], ...]:
    """Return height and width of each level of features, from a run."""
    with torch.inference_mode(), quiet():
        states = network.encoder(network.vision_backbone(torch.zeros(1, 3, size, size)), return_dict=True)
    return tuple((int(state.shape[2]), int(state.shape[3])) for state in states.extracted_states)
