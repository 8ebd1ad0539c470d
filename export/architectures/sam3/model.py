"""A SAM 3 checkpoint in memory: weights, tokenizer and settings of the image processor."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import transformers

from ...checkpoint import Checkpoint
from ...clip_tokenizer import load_tokenizer, write_tokenizer
from ...graphs import Tensor
from ...image_processor import image_settings
from ...model import Model
from ...network import load_network
from ...parity import Image
from ...submodels import Submodel
from .card import model_card
from .exemplars import ExemplarEncoder
from .inputs import EXAMPLE, LENGTH, is_lite, read_config, read_processor
from .modules import LEVELS, Detector, TextEncoder, VisionEncoder, encode_positions
from .reference import Sam3Reference

if TYPE_CHECKING:
    from transformers import CLIPTokenizerFast

__all__ = ["Sam3Model", "submodels"]

_TRAINED_AT = 1008


class Sam3Model(Model):
    """SAM 3 as four graphs: vision encoder, text encoder, encoder of examples, and the detector with its mask head."""

    family = "concept"
    task = None
    description = "Finds and masks every object that a short phrase describes (SAM 3)."
    packages = ("torch", "transformers", "tokenizers", "onnx", "onnxslim", "onnxruntime", "numpy")
    # 0.5 is the confidence threshold of the authors' Sam3Processor (github.com/facebookresearch/sam3) and of the model
    # card's examples; transformers' own default is 0.3.
    calibration: Sequence[Sequence[float]] = ((0, 0), (0.5, 0.2), (1, 1))
    # In int8, a third of the features of an example would be error (random weights), for 14 MB less.
    float32_roles = frozenset({"exemplar_encoder"})

    def __init__(
        self,
        checkpoint: Checkpoint,
        network: Any,  # noqa: ANN401 (Sam3Model or Sam3LiteTextModel of transformers)
        tokenizer: CLIPTokenizerFast,
        processor: SimpleNamespace,
    ) -> None:
        self._checkpoint, self._network, self._tokenizer, self._processor = checkpoint, network, tokenizer, processor
        self._pad_to = LENGTH if is_lite(checkpoint) else None
        self.image = {"vision_encoder": image_settings(processor, "stretch")}
        self.image_size = self.image["vision_encoder"]["size"]
        self.submodels = submodels(network, self._pad_to)

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
        kind: Any = transformers.Sam3LiteTextModel if is_lite(checkpoint) else transformers.Sam3Model
        own = read_config(checkpoint, None).image_size
        config = read_config(checkpoint, image_size)
        tokenizer = load_tokenizer(checkpoint, config.text_config, pools_at="nowhere")
        processor = read_processor(checkpoint, own, image_size)
        return cls(checkpoint, load_network(checkpoint, kind, config), tokenizer, processor)

    def write_settings(self, bundle: Path) -> dict[str, Any]:
        """Write the settings, and the licence that must go with every copy; see `Model`."""
        self._network.config.to_json_file(bundle / "config.json")
        settings = json.dumps(vars(self._processor), indent=2) + "\n"
        (bundle / "preprocessor_config.json").write_text(settings, encoding="utf-8")
        notes = []
        licences = [path for path in sorted(self._checkpoint.folder.glob("LICENSE*")) if path.is_file()]
        for path in licences:
            shutil.copyfile(path, bundle / path.name)
        if not licences:
            notes.append("the checkpoint has no LICENSE: add the SAM License to the bundle if you pass it on")
        if self.image_size != _TRAINED_AT:
            notes.append(
                f"SAM 3 was trained at {_TRAINED_AT} px. The parity at {self.image_size} px is with the checkpoint at "
                "this size, and does not show what the change of size costs"
            )
        self.notes = notes
        text = write_tokenizer(self._tokenizer, LENGTH, bundle / "tokenizer.json")
        return {**text, "pad_to": self._pad_to, "example": EXAMPLE}

    def reference(self, photo: Image) -> Sam3Reference:
        """Run the checkpoint; see `Model`."""
        return Sam3Reference.run(self._network, self._tokenizer, self._processor, self._pad_to, photo)

    def model_card(self, manifest: Mapping[str, Any]) -> str:
        """Write the card; see `Model`."""
        return model_card(manifest)


def submodels(network: Any, pad_to: int | None) -> dict[str, Submodel]:  # noqa: ANN401
    """Split a model into its graphs, by role.

    Parameters
    ----------
    network
        With float32 weights, in evaluation mode.
    pad_to
        The only length of a text, in tokens; None for any length.
    """
    config = network.config
    backbone, fpn = config.vision_config.backbone_config, config.vision_config.fpn_hidden_size
    size, side, width = (
        backbone.image_size,
        backbone.image_size // backbone.patch_size,
        config.detr_encoder_config.hidden_size,
    )
    sides = [int(side * scale) for scale in config.vision_config.scale_factors[: len(LEVELS)]]
    levels = {name: Tensor((1, fpn, one, one)) for name, one in zip(LEVELS, sides, strict=True)}
    queries = config.detr_decoder_config.num_queries
    length = "length" if pad_to is None else pad_to
    texts = {"input_ids": Tensor(("texts", length), "int64")}
    if pad_to is not None:
        texts["attention_mask"] = Tensor(("texts", length), "int64")
    masks = sides[0]
    return {
        "vision_encoder": Submodel(VisionEncoder(network), {"pixel_values": Tensor((1, 3, size, size))}, levels),
        "text_encoder": Submodel(TextEncoder(network), texts, {"features": Tensor(("texts", length, width))}),
        "detector": Submodel(
            Detector(network),
            levels | {"features": Tensor(("prompts", "length", width)), "mask": Tensor(("prompts", "length"), "int64")},
            {
                "boxes": Tensor(("prompts", queries, 4)),
                "logits": Tensor(("prompts", queries)),
                "presence": Tensor(("prompts", 1)),
                "masks": Tensor(("prompts", queries, masks, masks)),
                "semantic": Tensor(("prompts", 1, masks, masks)),
            },
        ),
        "exemplar_encoder": Submodel(
            ExemplarEncoder(network, encode_positions(network)),
            {"fpn_2": levels["fpn_2"], "boxes": Tensor(("boxes", 4)), "labels": Tensor(("boxes",), "int64")},
            {"features": Tensor(("features", width))},
        ),
    }
