"""CLIPSeg for optimum, which has no configuration of it: the whole model, and the three parts of a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from optimum.exporters.onnx.config import TextAndVisionOnnxConfig
from optimum.exporters.tasks import TasksManager
from optimum.utils import DummyTextInputGenerator, DummyVisionInputGenerator, NormalizedTextAndVisionConfig

from ...graphs import OPSET
from ...parts import Part, Tensor
from .modules import DEPTH, ImageEncoder, MaskDecoder, TextEncoder, upscaling

if TYPE_CHECKING:
    from transformers import CLIPSegForImageSegmentation

__all__ = ["TASK", "CLIPSegOnnxConfig", "submodels"]

TASK = "image-segmentation"

# CLIPSeg is in none of transformers' AutoModels for segmentation: without this, optimum would load the bare CLIP.
TasksManager._CUSTOM_CLASSES["pt", "clipseg", TASK] = ("transformers", "CLIPSegForImageSegmentation")  # noqa: SLF001


@TasksManager.create_register("onnx")("clipseg", TASK)
class CLIPSegOnnxConfig(TextAndVisionOnnxConfig):
    """The whole model in one graph, as optimum's own commands export it; `parts` is what a bundle is made of."""

    NORMALIZED_CONFIG_CLASS = NormalizedTextAndVisionConfig
    DUMMY_INPUT_GENERATOR_CLASSES = (DummyTextInputGenerator, DummyVisionInputGenerator)
    DEFAULT_ONNX_OPSET = OPSET
    ATOL_FOR_VALIDATION: ClassVar[float] = 1e-3

    @property
    def inputs(self) -> dict[str, dict[int, str]]:
        """Every prompt has its own image here."""
        return {
            "input_ids": {0: "batch_size", 1: "sequence_length"},
            "pixel_values": {0: "batch_size"},
            "attention_mask": {0: "batch_size", 1: "sequence_length"},
        }

    @property
    def outputs(self) -> dict[str, dict[int, str]]:
        """The score map before the sigmoid."""
        return {"logits": {0: "batch_size"}}

    @staticmethod
    def parts(model: CLIPSegForImageSegmentation, size: int) -> dict[str, Part]:
        """Split a model.

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
            "image_encoder": Part(
                ImageEncoder(model, size), {"pixel_values": Tensor(("batch", 3, size, size))}, activations
            ),
            "text_encoder": Part(TextEncoder(model), {"input_ids": words, "attention_mask": words}, embedding),
            "mask_decoder": Part(
                MaskDecoder(model, size), activations | embedding, {"logits": Tensor(("prompts", pixels, pixels))}
            ),
        }


def submodels(model: CLIPSegForImageSegmentation, size: int) -> dict[str, Part]:
    """Split a model by the configuration that is registered with optimum for it."""
    constructor = TasksManager.get_exporter_config_constructor("onnx", model, task=TASK, library_name="transformers")
    parts: dict[str, Part] = constructor(model.config).parts(model, size)
    return parts
