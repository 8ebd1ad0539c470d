"""CLIPSeg's tokenizer and image processor, and their settings for the runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automask.errors import ParameterError

from ...checkpoint import Checkpoint, CheckpointError

if TYPE_CHECKING:
    from transformers import CLIPSegConfig, CLIPTokenizerFast, ViTImageProcessor

__all__ = ["TokenizerError", "image_settings", "load_processor", "load_tokenizer", "read_config", "write_tokenizer"]

# Pillow's own numbers, which preprocessor_config.json uses.
_INTERPOLATIONS = {0: "pillow_nearest", 1: "pillow_lanczos", 2: "pillow_bilinear", 3: "pillow_bicubic"}
# Before transformers 4.31, CLIP's configurations had this wrong end token; with it, the text encoder pools at the
# highest id.
_LEGACY_END = 2


class TokenizerError(CheckpointError):
    """The tokenizer is missing, unreadable, or does not belong to the text encoder."""


def read_config(checkpoint: Checkpoint) -> CLIPSegConfig:
    """Read the architecture's configuration.

    Raises
    ------
    CheckpointError
        transformers cannot read it.
    """
    from transformers import CLIPSegConfig

    try:
        return CLIPSegConfig.from_dict(checkpoint.config)
    except Exception as error:  # a wrong type in it can raise anything
        raise CheckpointError(f"config.json of {checkpoint.name} cannot be read: {error}") from error


def load_tokenizer(checkpoint: Checkpoint) -> CLIPTokenizerFast:
    """Read the tokenizer, from tokenizer.json or from vocab.json and merges.txt.

    Raises
    ------
    TokenizerError
        It is missing or unreadable, or its ids are not the text encoder's.
    """
    from transformers import CLIPTokenizerFast

    folder = checkpoint.folder
    complete = (folder / "tokenizer.json").is_file()
    if not complete and not all((folder / name).is_file() for name in ("vocab.json", "merges.txt")):
        raise TokenizerError(
            f"{checkpoint.name} has no tokenizer: it must hold tokenizer.json, or vocab.json and merges.txt; for a "
            "fine-tune without one, copy them from its base checkpoint"
        )
    try:
        tokenizer = CLIPTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # tokenizers raises bare Exceptions
        raise TokenizerError(f"the tokenizer of {checkpoint.name} cannot be read: {error}") from error
    _check_tokenizer(tokenizer, checkpoint)
    return tokenizer


def _check_tokenizer(tokenizer: CLIPTokenizerFast, checkpoint: Checkpoint) -> None:
    text = read_config(checkpoint).text_config
    if len(tokenizer) > text.vocab_size:
        raise TokenizerError(
            f"the tokenizer of {checkpoint.name} has {len(tokenizer)} tokens, its text encoder {text.vocab_size}"
        )
    # The embedding is read at the end token. If none is found, every prompt silently gets the same one.
    if text.eos_token_id not in (_LEGACY_END, tokenizer.eos_token_id):
        raise TokenizerError(
            f"{checkpoint.name} ends prompts with token {tokenizer.eos_token_id}, but its text encoder looks for "
            f"{text.eos_token_id}: text_config.eos_token_id in config.json must be the tokenizer's"
        )


def write_tokenizer(tokenizer: CLIPTokenizerFast, longest: int, path: Path) -> dict[str, Any]:
    """Write a `tokenizer.json` that truncates and pads by itself.

    Parameters
    ----------
    longest
        Number of positions of the text encoder.
    path
        The file to write.

    Returns
    -------
    dict
        ``text`` of the manifest.
    """
    from tokenizers import Tokenizer

    length = min(longest, tokenizer.model_max_length)
    standalone = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    standalone.enable_truncation(length)
    standalone.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    standalone.save(str(path), pretty=False)
    return {
        "kind": "clip",
        "file": path.name,
        "max_length": length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def load_processor(checkpoint: Checkpoint, size: int | None) -> ViTImageProcessor:
    """Read the image processor.

    Parameters
    ----------
    size
        Side of the square image in pixels; None for the checkpoint's own.

    Raises
    ------
    CheckpointError
        It is missing, unreadable, or uses an unsupported setting.
    ParameterError
        The size is not a multiple of the patch size.
    """
    from transformers import ViTImageProcessor

    path = checkpoint.folder / "preprocessor_config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings.pop("image_processor_type", None)  # older files name classes that no longer exist
        settings.pop("feature_extractor_type", None)
        processor = ViTImageProcessor(**settings | ({} if size is None else {"size": size}))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{checkpoint.name} has no preprocessor_config.json, the settings of its image processor"
        ) from error
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"preprocessor_config.json of {checkpoint.name} cannot be read: {error}") from error
    height, width = processor.size.get("height"), processor.size.get("width")
    if height != width or height is None or not processor.do_resize:
        raise CheckpointError(f"{checkpoint.name} must stretch images to a square, got size {dict(processor.size)}")
    if processor.resample not in _INTERPOLATIONS:
        raise CheckpointError(f"{checkpoint.name} uses resample={processor.resample}; supported: {_INTERPOLATIONS}")
    patch = read_config(checkpoint).vision_config.patch_size
    if height < patch or height % patch:
        raise ParameterError("image size", f"be a multiple of the patch size, {patch}", height)
    return processor


def image_settings(processor: ViTImageProcessor) -> dict[str, Any]:
    """Return ``image.image_encoder`` of the manifest: mean and std are in units of 0..255, rescaling included."""
    factor = processor.rescale_factor if processor.do_rescale else 1.0
    mean = processor.image_mean if processor.do_normalize else [0.0] * 3
    std = processor.image_std if processor.do_normalize else [1.0] * 3
    return {
        "size": processor.size["height"],
        "resize": "stretch",
        "interpolation": _INTERPOLATIONS[processor.resample],
        "mean": [value / factor for value in mean],
        "std": [value / factor for value in std],
    }
