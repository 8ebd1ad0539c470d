"""A CLIPSeg of the real size with random weights: the time does not depend on the weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from .options import RunOptions

_TINY = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}


def clipseg(options: RunOptions, *precisions: str) -> tuple[Path, Path]:
    """Return a checkpoint and the bundle exported from it; both are made once in a run, and tiny in a quick run."""
    checkpoint = options.folder / "checkpoint"
    if not checkpoint.exists():
        _save(checkpoint, tiny=options.quick)
    bundle = options.folder / f"bundle.{'.'.join(precisions)}"
    if not bundle.exists():
        command = [sys.executable, "-m", "automask", "export", "clipseg", "--model", checkpoint, "--output", bundle]
        chosen = [part for precision in precisions for part in ("--precision", precision)]
        done = subprocess.run([*map(str, command), *chosen], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"the export of CLIPSeg failed: {done.stderr}")
    return checkpoint, bundle


def _save(folder: Path, *, tiny: bool) -> None:
    """Save a checkpoint with the sizes of rd64-refined and a tokenizer of single characters."""
    import torch
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPTokenizerFast, ViTImageProcessor

    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = str(folder / "vocab.json"), str(folder / "merges.txt")
    CLIPTokenizerFast(*files, model_max_length=77).save_pretrained(folder)
    torch.manual_seed(0)
    side = 64 if tiny else 352
    CLIPSegForImageSegmentation(CLIPSegConfig(**_config(len(tokens) - 1, side, tiny=tiny))).save_pretrained(folder)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    ViTImageProcessor(size={"height": side, "width": side}, image_mean=mean, image_std=std).save_pretrained(folder)


def _config(end: int, side: int, *, tiny: bool) -> dict[str, Any]:
    words = {"bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    vision = {"patch_size": 16, "image_size": side}
    if not tiny:
        return {
            "text_config": words,
            "vision_config": vision,
            "reduce_dim": 64,
            "use_complex_transposed_convolution": True,
        }
    return {
        "text_config": {**_TINY, **words, "num_hidden_layers": 2, "vocab_size": end + 1},
        "vision_config": {**_TINY, **vision, "num_hidden_layers": 4},
        "extract_layers": [0, 1, 2],
        "projection_dim": 24,
        "reduce_dim": 16,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 32,
        "use_complex_transposed_convolution": True,
    }
