"""An OmDet-Turbo checkpoint in memory: weights, tokenizer and image processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch

from automask.errors import MissingDependencyError

from ...checkpoint import Checkpoint, CheckpointError
from ...clip_tokenizer import load_tokenizer, write_tokenizer
from ...graphs import Tensor
from ...model import Model
from ...network import load_network
from ...parity import Image
from ...submodels import Submodel, quiet
from .card import model_card
from .inputs import TASK, image_settings, load_processor
from .modules import Detector, ImageEncoder, TextEncoder, detector_heads, image_heads
from .reference import OmDetReference

if TYPE_CHECKING:
    from transformers import CLIPTokenizerFast, DetrImageProcessor, OmDetTurboForObjectDetection

__all__ = ["OmDetModel", "submodels"]


class OmDetModel(Model):
    """OmDet-Turbo as three graphs: text encoder, image encoder and detector."""

    family = "boxes"
    kinds: ClassVar[Mapping[str, str]] = {"finder": "omdet"}
    task = "zero-shot-object-detection"
    description = "Finds whatever a few free words describe (OmDet-Turbo)."
    packages = (
        "torch", "transformers", "tokenizers", "optimum", "optimum-onnx", "onnx", "onnxslim", "onnxruntime", "numpy",
    )  # fmt: skip
    # 0.3 is the default threshold of post_process_grounded_object_detection in transformers' OmDetTurboProcessor
    # (4.57), and conf_threshold of the authors' run_demo.py (github.com/om-ai-lab/OmDet).
    calibration: Sequence[Sequence[float]] = ((0, 0), (0.3, 0.2), (1, 1))

    def __init__(
        self, network: OmDetTurboForObjectDetection, tokenizer: CLIPTokenizerFast, processor: DetrImageProcessor
    ) -> None:
        self._network, self._tokenizer, self._processor = network, tokenizer, processor
        settings = image_settings(processor)
        self.image = {"detector_encoder": settings}
        self.image_size = settings["size"]
        self.submodels = submodels(network, self.image_size)
        # In int8, these heads let the detector take other cells of the image, and then everything differs.
        self.float32_nodes: Mapping[str, Sequence[str]] = {
            "detector_encoder": image_heads(),
            "detector": detector_heads(network.config.decoder_num_layers),
        }

    @classmethod
    def load(cls, checkpoint: Checkpoint, image_size: int | None) -> Self:
        """Load a checkpoint.

        Parameters
        ----------
        image_size
            None, or the checkpoint's own.

        Raises
        ------
        CheckpointError
            A file is missing or unreadable, or uses an unsupported setting.
        MissingDependencyError
            The backbone needs timm, which is not installed.
        ParameterError
            The image size is not the checkpoint's.
        """
        from transformers import OmDetTurboConfig, OmDetTurboForObjectDetection

        config = _read_config(checkpoint, OmDetTurboConfig)
        tokenizer = load_tokenizer(checkpoint, config.text_config, pools_at="highest")
        processor = load_processor(checkpoint, config.image_size, image_size)
        network = load_network(checkpoint, OmDetTurboForObjectDetection)
        if config.use_timm_backbone:
            network = _rebuild(network)
        return cls(network, tokenizer, processor)

    def write_settings(self, bundle: Path) -> dict[str, Any]:
        """Write the settings; see `Model`."""
        config = self._network.config
        self._processor.to_json_file(bundle / "preprocessor_config.json")
        config.to_json_file(bundle / "config.json")
        longest = config.text_config.max_position_embeddings
        text = write_tokenizer(self._tokenizer, longest, bundle / "tokenizer.json")
        return {**text, "task": TASK}

    def reference(self, photo: Image) -> OmDetReference:
        """Run the checkpoint; see `Model`."""
        return OmDetReference.run(self._network, self._tokenizer, self._processor, self.submodels, photo)

    def model_card(self, manifest: Mapping[str, Any]) -> str:
        """Write the card; see `Model`."""
        return model_card(manifest)


def _read_config(checkpoint: Checkpoint, kind: Any) -> Any:  # noqa: ANN401 (transformers is imported late)
    """Read the configuration, and check what it needs.

    Raises
    ------
    CheckpointError
        transformers cannot read it, or cannot run such a network.
    MissingDependencyError
        The backbone needs timm, which is not installed.
    """
    try:
        config = kind.from_dict(checkpoint.config)
    except Exception as error:  # a wrong type in it can raise anything
        raise CheckpointError(f"config.json of {checkpoint.name} cannot be read: {error}") from error
    if config.class_embed_dim == config.decoder_hidden_dim:
        raise CheckpointError(
            f"{checkpoint.name} has class_embed_dim = decoder_hidden_dim = {config.class_embed_dim}; transformers "
            "cannot run it, because its decoder then has no task projection"
        )
    if config.use_timm_backbone:
        _require_timm(checkpoint.name)
    return config


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


def submodels(network: OmDetTurboForObjectDetection, size: int) -> dict[str, Submodel]:
    """Split a model into its graphs, by role.

    Parameters
    ----------
    network
        With float32 weights, in evaluation mode.
    size
        Side of the image in pixels.
    """
    config = network.config
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


def _shapes(network: OmDetTurboForObjectDetection, size: int) -> tuple[tuple[int, int], ...]:
    """Return height and width of each level of features, from a run."""
    with torch.inference_mode(), quiet():
        states = network.encoder(network.vision_backbone(torch.zeros(1, 3, size, size)), return_dict=True)
    return tuple((int(state.shape[2]), int(state.shape[3])) for state in states.extracted_states)
