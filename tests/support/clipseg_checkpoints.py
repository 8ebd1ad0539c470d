"""CLIPSeg checkpoints with random weights, as `save_pretrained` writes them, and vocabularies for them."""

from __future__ import annotations

import functools
import gzip
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from click.testing import CliRunner
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPTokenizerFast, ViTImageProcessor

from automask.export.cli import export

from .clip_vocabulary import MERGES, write_vocabulary

PRECISIONS = ("fp32", "int8", "fp16")


def clip_merges() -> list[str] | None:
    """CLIP's merges, from the wheel of open_clip_torch; that it can be imported is not needed."""
    try:
        files = metadata.files("open_clip_torch") or []
    except metadata.PackageNotFoundError:
        return None
    packed = next(Path(str(file.locate())) for file in files if file.name.startswith("bpe_simple_vocab"))
    return gzip.decompress(packed.read_bytes()).decode("utf-8").split("\n")[1 : 49152 - 256 - 2 + 1]


def tiny_config(**changes: Any) -> dict[str, Any]:
    """Five vision layers, of which the last is dead."""
    words = 2 * 256 + len(MERGES) + 2
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    config: dict[str, Any] = {
        "vision_config": {**sizes, "num_hidden_layers": 5, "image_size": 64, "patch_size": 16},
        "text_config": {
            **sizes, "num_hidden_layers": 2, "vocab_size": words,
            "bos_token_id": words - 2, "eos_token_id": words - 1, "pad_token_id": words - 1,
        },
        "extract_layers": [0, 1, 3],
        "projection_dim": 24,
        "reduce_dim": 16,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 32,
        "use_complex_transposed_convolution": True,
    }  # fmt: skip
    for name, value in changes.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) else value
    return config


def checkpoint(
    folder: Path,
    config: dict[str, Any],
    *,
    size: int,
    merges: list[str] = MERGES,
    gain: float = 1.0,
    shard: str = "5GB",
    **processor: Any,
) -> CLIPSegForImageSegmentation:
    """Save a whole checkpoint; `gain` multiplies the logits, so that random weights spread them like trained ones."""
    torch.manual_seed(0)
    write_vocabulary(folder, merges)
    model = CLIPSegForImageSegmentation(CLIPSegConfig(**config)).eval()
    with torch.no_grad():
        last = model.decoder.transposed_convolution
        last = last[-1] if isinstance(last, torch.nn.Sequential) else last
        last.weight *= gain
        last.bias *= gain
    model.save_pretrained(folder, max_shard_size=shard)
    CLIPTokenizerFast.from_pretrained(folder, model_max_length=77).save_pretrained(folder)
    ViTImageProcessor(size={"height": size, "width": size}, **processor).save_pretrained(folder)
    return model


@dataclass(frozen=True)
class Tiny:
    """A checkpoint, its bundle, and the output of the command."""

    model: CLIPSegForImageSegmentation
    source: Path
    folder: Path
    output: str


@functools.cache
def tiny_bundle(folder: Path) -> Tiny:
    """Export a checkpoint whose image size is not the processor's (as in CIDAS'), once, in every precision."""
    source, output = folder / "tiny" / "fine-tune", folder / "tiny" / "bundle"
    model = checkpoint(source, tiny_config(), size=96, gain=40.0)
    return Tiny(model, source, output, run_command(source, output, *(f"--precision={p}" for p in PRECISIONS)))


def run_command(model: Path, output: Path, *options: str) -> str:
    """Run the real command in this process; raise its error, or return its output."""
    result = CliRunner().invoke(export, ["clipseg", "--model", str(model), "--output", str(output), *options])
    if result.exception is not None:
        raise result.exception
    return result.output
