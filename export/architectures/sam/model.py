"""SAM and SAM-HQ checkpoints in memory: weights, and the settings of their image processor."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch

from automask.families.drawers.sam import Sam
from automask.publish import write_json

from ...checkpoint import Checkpoint
from ...graphs import Tensor
from ...model import Model
from ...network import load_network
from ...parity import Array, Image
from ...submodels import Submodel
from .correction import corrected
from .decoder import STRIDE, HighQualityMaskDecoder, MaskDecoder, TwoWayDecoder
from .encoder import HighQualityImageEncoder, ImageEncoder
from .inputs import checked_size, image_settings, read_processor
from .reference import DrawerReference, example_photo

if TYPE_CHECKING:
    from transformers import SamHQModel, SamModel

__all__ = ["SamDrawer", "SegmentAnything", "drawer_submodels"]


class SegmentAnything(Model):
    """An image encoder and a mask decoder of a Segment Anything network."""

    family = "boxes"
    task = "mask-generation"
    packages = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxslim", "onnxruntime", "numpy")

    drawer: ClassVar[type[Sam]]

    def __init__(self, network: Any, processor: Mapping[str, Any], size: int, settings: Mapping[str, Any]) -> None:  # noqa: ANN401 (transformers has no types)
        self._network, self._processor = network, processor
        self.image_size = size
        self.image = {"image_encoder": settings}
        self.float32_nodes = {"mask_decoder": _products_of_tokens(network)}

    def reference(self, photo: Image) -> DrawerReference:
        """Run the checkpoint; see `Model`."""
        photo = example_photo(photo)
        pixels = self.pixels(photo)
        with torch.inference_mode():
            embeddings = self.embed(torch.from_numpy(pixels))
        return DrawerReference.run(
            self.forward,
            photo,
            pixels,
            embeddings=embeddings,
            fitted=self.fitted,
            drawer=self.drawer,
            submodels=self.submodels,
        )

    @property
    def fitted(self) -> tuple[int, int]:
        """Height and width, in pixels of the square, that the example photo covers: by default all of it."""
        return (self.image_size, self.image_size)

    def forward(self, **inputs: Any) -> Any:  # noqa: ANN401
        """Run the network."""
        return self._network(**inputs)

    def embed(self, pixels: torch.Tensor) -> Mapping[str, Any]:
        """Return what the network makes of an image, by the name of its argument."""
        return {"image_embeddings": self._network.get_image_embeddings(pixels)}

    @abstractmethod
    def pixels(self, photo: Image) -> Array:
        """Return what transformers' image processor makes of a photo, (1, 3, size, size)."""

    def write_settings(self, bundle: Path) -> dict[str, Any]:
        """Write the settings; a drawer reads no text. See `Model`."""
        # Whole: a difference to EdgeTAM's defaults needs the Hub, where they are.
        self._network.config.to_json_file(bundle / "config.json", use_diff=False)
        write_json(bundle / "preprocessor_config.json", self._processor, indent=2)
        return {}

    def model_card(self, manifest: Mapping[str, Any]) -> str:
        """Write the card of the drawer alone; see `Model`."""
        return f"# {manifest['name']}\n\n{self.description}\n"


class SamDrawer(SegmentAnything):
    """SAM or SAM-HQ."""

    kinds: ClassVar[Mapping[str, str]] = {"drawer": "sam"}

    drawer = Sam

    def __init__(self, network: SamModel | SamHQModel, processor: Mapping[str, Any], size: int, name: str) -> None:
        super().__init__(network, processor, size, image_settings(processor, size, "longest_side", name))
        self._is_fine = network.config.model_type == "sam_hq"
        self.description = f"Draws masks into boxes and around points ({'SAM-HQ' if self._is_fine else 'SAM'})."
        encoder, decoder = (
            (HighQualityImageEncoder(network), HighQualityMaskDecoder(network, size))
            if self._is_fine
            else (ImageEncoder(network), MaskDecoder(network, size))
        )
        self.submodels = drawer_submodels(encoder, decoder, size)

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
            The image size is not a multiple of the patch size.
        """
        from transformers import SamHQModel, SamModel

        processor = read_processor(checkpoint)
        kind = SamHQModel if checkpoint.config["model_type"] == "sam_hq" else SamModel
        network: Any = load_network(checkpoint, kind)
        vision = network.vision_encoder.config
        size = checked_size(image_size or vision.image_size, vision.patch_size)
        if size != vision.image_size:
            _resize(network, size)
        return cls(network, processor, size, checkpoint.name)

    @property
    def fitted(self) -> tuple[int, int]:
        """Height and width that the example photo covers; see `SegmentAnything`."""
        return (self.image_size * 3 // 4, self.image_size)

    def forward(self, **inputs: Any) -> Any:  # noqa: ANN401 (transformers' networks share no typed base)
        """Run the network, SAM-HQ's with a correction."""
        with corrected(self._network):
            return self._network(**inputs)

    def embed(self, pixels: torch.Tensor) -> Mapping[str, Any]:
        """Return the embedding, and SAM-HQ's early features; see `SegmentAnything`."""
        if not self._is_fine:
            return super().embed(pixels)
        names = ("image_embeddings", "intermediate_embeddings")
        return dict(zip(names, self._network.get_image_embeddings(pixels), strict=True))

    def pixels(self, photo: Image) -> Array:
        """Return what transformers' image processor makes of a photo, (1, 3, size, size)."""
        from transformers import SamImageProcessor

        names = ("resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
        size = {"longest_edge": self.image_size}
        square = {"height": self.image_size, "width": self.image_size}
        processor = SamImageProcessor(size=size, pad_size=square, **{name: self._processor[name] for name in names})
        pixels: Array = processor(photo, return_tensors="np")["pixel_values"]
        return pixels


def drawer_submodels(encoder: torch.nn.Module, decoder: TwoWayDecoder, size: int) -> dict[str, Submodel]:
    """Return the graphs of a drawer by role; the decoder takes the encoder's outputs by their names."""
    with torch.inference_mode():
        outputs = encoder(torch.zeros(1, 3, size, size))
    embeddings = {name: Tensor(tuple(output.shape)) for name, output in outputs.items()}
    prompts = {"points": Tensor(("prompts", "points", 2)), "labels": Tensor(("prompts", "points"), "int64")}
    masks = {"logits": Tensor(("prompts", size // STRIDE, size // STRIDE)), "iou": Tensor(("prompts",))}
    return {
        "image_encoder": Submodel(encoder, {"image": Tensor((1, 3, size, size))}, embeddings),
        "mask_decoder": Submodel(decoder, embeddings | prompts, masks),
    }


def _products_of_tokens(network: Any) -> list[str]:  # noqa: ANN401
    """Return what the names of the mask decoder's matrix products of tokens begin with, which stay float32 in int8.

    There are a dozen tokens and thousands of cells of the image: they take none of the time, and make most of the error
    (at random weights 3 to 5 % of the logits instead of 0.3 to 2 %).
    """
    transformer = network.mask_decoder.transformer
    in_layer = ["self_attn", "mlp", "cross_attn_image_to_token/k", "cross_attn_image_to_token/v"]
    attention = ["cross_attn_token_to_image/q", "cross_attn_token_to_image/o"]
    layers = [f"layers.{index}/{part}" for index in range(len(transformer.layers)) for part in in_layer + attention]
    last = [f"final_attn_token_to_image/{part}" for part in "qo"]
    heads = ["/iou_prediction_head", "/output_hypernetworks_mlps"]
    heads += ["/hq_mask_mlp"] if hasattr(network.mask_decoder, "hq_mask_mlp") else []
    return heads + [f"/transformer/{name}" for name in layers + last]


def _resize(network: Any, size: int) -> None:  # noqa: ANN401
    """Make a network take images of another size, as transformers does for one that is configured for it."""
    vision, prompts = network.vision_encoder, network.prompt_encoder
    side = size // vision.config.patch_size
    vision.config.image_size = vision.image_size = size
    vision.patch_embed.image_size = (size, size)
    if vision.pos_embed is not None:
        positions = vision.pos_embed.detach().permute(0, 3, 1, 2)
        resized = torch.nn.functional.interpolate(positions, (side, side), mode="bicubic", align_corners=False)
        vision.pos_embed = torch.nn.Parameter(resized.permute(0, 2, 3, 1), requires_grad=False)
    prompts.input_image_size, prompts.image_embedding_size = size, (side, side)
    network.config.prompt_encoder_config.image_size = size
    network.config.prompt_encoder_config.image_embedding_size = side
