"""CLIPSeg's configuration for optimum, which has none: the whole model, and the three submodels of a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from optimum.exporters.onnx.config import TextAndVisionOnnxConfig
from optimum.exporters.tasks import TasksManager
from optimum.utils import DummyTextInputGenerator, DummyVisionInputGenerator, NormalizedTextAndVisionConfig

from ...graphs import OPSET, Tensor
from ...submodels import Submodel
from .modules import DEPTH, ImageEncoder, MaskDecoder, TextEncoder, upscaling

if TYPE_CHECKING:
    from transformers import CLIPSegForImageSegmentation

__all__ = ["TASK", "CLIPSegOnnxConfig", "submodels"]

TASK = "image-segmentation"

# transformers has CLIPSeg in no AutoModel for segmentation; without this, optimum would load the bare CLIP.
TasksManager._CUSTOM_CLASSES["pt", "clipseg", TASK] = ("transformers", "CLIPSegForImageSegmentation")  # noqa: SLF001


@TasksManager.create_register("onnx")("clipseg", TASK)
class CLIPSegOnnxConfig(TextAndVisionOnnxConfig):
    """The whole model in one graph, for optimum's own commands; a bundle is made of its `submodels`."""

    NORMALIZED_CONFIG_CLASS = NormalizedTextAndVisionConfig
    DUMMY_INPUT_GENERATOR_CLASSES = (DummyTextInputGenerator, DummyVisionInputGenerator)
    DEFAULT_ONNX_OPSET = OPSET
    ATOL_FOR_VALIDATION: ClassVar[float] = 1e-3

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """Dynamic axes of the inputs; every prompt has its own image here."""
        return {
            "input_ids": {0: "batch_size", 1: "sequence_length"},
            "pixel_values": {0: "batch_size"},
            "attention_mask": {0: "batch_size", 1: "sequence_length"},
        }

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        """Dynamic axes of the output: the score maps before the sigmoid."""
        return {"logits": {0: "batch_size"}}

    @staticmethod
    def submodels(model: CLIPSegForImageSegmentation, size: int) -> dict[str, Submodel]:
        """Split a model into its graphs, by role.

        Parameters
        ----------
        model
            With float32 weights, in evaluation mode.
        size
            Side of the image in pixels.
        """
        config = model.config
        tokens = (size // config.vision_config.patch_size) ** 2 + 1
        pixels = (size // config.vision_config.patch_size) * upscaling(model)
        activation = Tensor(("batch", tokens, config.vision_config.hidden_size))
        activations = {f"activation_{i}": activation for i in range(DEPTH)}
        words = Tensor(("prompts", "length"), "int64")
        embedding = {"conditional_embedding": Tensor(("prompts", config.projection_dim))}
        return {
            "image_encoder": Submodel(
                ImageEncoder(model, size), {"pixel_values": Tensor(("batch", 3, size, size))}, activations
            ),
            "text_encoder": Submodel(TextEncoder(model), {"input_ids": words, "attention_mask": words}, embedding),
            "mask_decoder": Submodel(
                MaskDecoder(model, size), activations | embedding, {"logits": Tensor(("prompts", pixels, pixels))}
            ),
        }


def submodels(model: CLIPSegForImageSegmentation, size: int) -> dict[str, Submodel]:
    """Split a model into its graphs, by the configuration that is registered with optimum."""
    constructor = TasksManager.get_exporter_config_constructor("onnx", model, task=TASK, library_name="transformers")
    split: dict[str, Submodel] = constructor(model.config).submodels(model, size)
    return split
