"""BERT's tokenizer and the image processor of Grounding DINO, and their settings for the runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from automask.errors import ParameterError

from ... import image_processor
from ...checkpoint import Checkpoint, CheckpointError
from ...image_processor import check_filter

if TYPE_CHECKING:
    from transformers import BertTokenizerFast, GroundingDinoImageProcessor

__all__ = ["DEFAULT_SIZE", "image_settings", "load_processor", "load_tokenizer", "write_tokenizer"]

DEFAULT_SIZE = 640
"""Side of the square, in pixels: what a CPU can do in a second or two. The processor's own is 800 to 1333."""

_STRIDE = 32  # of the backbone's coarsest level
# The network has these ids in its code, whatever the tokenizer says.
_SEPARATORS = {"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}


def load_tokenizer(checkpoint: Checkpoint, vocabulary_size: int) -> BertTokenizerFast:
    """Read the tokenizer, from tokenizer.json or from vocab.txt.

    Parameters
    ----------
    vocabulary_size
        Number of tokens of the text encoder.

    Raises
    ------
    CheckpointError
        It is missing or unreadable, or its ids are not those that the network expects.
    """
    from transformers import BertTokenizerFast

    folder, name = checkpoint.folder, checkpoint.name
    if not any((folder / file).is_file() for file in ("tokenizer.json", "vocab.txt")):
        raise CheckpointError(
            f"{name} has no tokenizer: it must hold tokenizer.json or vocab.txt; for a fine-tune without one, copy "
            "them from its base checkpoint"
        )
    try:
        tokenizer = BertTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # tokenizers raises bare Exceptions
        raise CheckpointError(f"the tokenizer of {name} cannot be read: {error}") from error
    if len(tokenizer) > vocabulary_size:
        raise CheckpointError(
            f"the tokenizer of {name} has {len(tokenizer)} tokens, its text encoder {vocabulary_size}"
        )
    found = {token: tokenizer.convert_tokens_to_ids(token) for token in _SEPARATORS}
    if found != _SEPARATORS:
        raise CheckpointError(f"the tokenizer of {name} must have the ids {_SEPARATORS}, it has {found}")
    return tokenizer


def write_tokenizer(tokenizer: BertTokenizerFast, longest: int, path: Path) -> dict[str, Any]:
    """Write a `tokenizer.json` that lowers the case, as the processor does before it calls the tokenizer.

    Parameters
    ----------
    longest
        Most tokens of a caption.
    path
        The file to write.

    Returns
    -------
    dict
        ``text`` of the manifest.
    """
    from tokenizers import Tokenizer, normalizers

    standalone = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    standalone.normalizer = normalizers.Sequence([normalizers.Lowercase(), standalone.normalizer])
    standalone.save(str(path), pretty=False)
    return {
        "file": path.name,
        "max_length": longest,
        "cls_token_id": tokenizer.cls_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "dot_token_id": _SEPARATORS["."],
        "unk_token_id": tokenizer.unk_token_id,
        "separator_ids": list(_SEPARATORS.values()),
    }


def load_processor(checkpoint: Checkpoint, size: int) -> GroundingDinoImageProcessor:
    """Read the image processor, for squares: it fits images into them and pads them.

    Parameters
    ----------
    size
        Side of the square image in pixels.

    Raises
    ------
    CheckpointError
        It is missing, unreadable, or uses an unsupported setting.
    ParameterError
        The size is no multiple of 32.
    """
    from transformers import GroundingDinoImageProcessor

    if size % _STRIDE:
        raise ParameterError("image size", f"be a multiple of {_STRIDE}", size)
    processor = image_processor.load_processor(checkpoint, GroundingDinoImageProcessor, size)
    if not processor.do_resize:
        raise CheckpointError(f"the image processor of {checkpoint.name} must resize images, its do_resize is false")
    check_filter(processor, checkpoint.name)
    processor.do_pad, processor.pad_size = True, {"height": size, "width": size}
    return processor


def image_settings(processor: GroundingDinoImageProcessor) -> dict[str, Any]:
    """Return ``image.detector_encoder`` of the manifest."""
    return image_processor.image_settings(processor, "longest_side")
