"""CLIPSeg through automask beside the same weights in transformers (torch, eager), on the CPU.

Both get the same decoded photos and prompts and the same number of threads, take turns within one run, and end at the
same thing: a mask at the photo's own size. transformers runs as its documentation shows: processor, model, sigmoid,
resize, threshold; it has nothing to keep between calls, so that each of its calls is a whole one. Without `--model` the
checkpoint has random weights at the real size (ViT-B/16, reduce_dim 64) and a tokenizer of single characters: time does
not depend on the weights. Needs `pip install 'automask[cpu,export]'`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import machine

Pixels = NDArray[np.uint8]
Masks = list[Pixels]

THREADS = int(machine.describe()["processor"].split()[-2])
THRESHOLD = 0.5
CASES = {
    "new photo, new prompt": (1, 1.2, 2.0),
    "new photo, cached prompt": (1, 1.3, 2.2),
    "same photo, new prompt": (1, 8.0, 8.0),
    "new photo, 8 prompts": (8, 6.0, 6.0),
}
"""Prompts for a call, and how many times as fast as transformers fp32 and int8 should be."""


def photos(series: int) -> Iterator[Pixels]:
    """Give 640×480 pictures, all of them different, also from those of another series."""
    generator = np.random.default_rng(series)
    while True:
        yield generator.integers(0, 256, (480, 640, 3), np.uint8)


def prompts(series: int, number: int) -> Iterator[list[str]]:
    """Give lists of prompts of one length, all of them different, also from those of another series."""
    return ([f"the blue cup {start + i:06d}" for i in range(number)] for start in count(10_000 * series, number))


def random_checkpoint(folder: Path) -> Path:
    """Save a checkpoint of rd64-refined's size with random weights."""
    import torch
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPTokenizerFast, ViTImageProcessor

    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77).save_pretrained(
        folder
    )
    end = len(tokens) - 1
    torch.manual_seed(0)
    config = CLIPSegConfig(
        text_config={"bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end},
        vision_config={"patch_size": 16, "image_size": 352},
        reduce_dim=64,
        use_complex_transposed_convolution=True,
    )
    CLIPSegForImageSegmentation(config).save_pretrained(folder)
    size = {"height": 352, "width": 352}
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    ViTImageProcessor(size=size, image_mean=mean, image_std=std).save_pretrained(folder)
    return folder


def in_transformers(checkpoint: str) -> Callable[[Pixels, list[str]], Masks]:
    """Load the checkpoint in torch and return a call that masks."""
    import torch
    from transformers import CLIPSegForImageSegmentation, CLIPTokenizerFast, ViTImageProcessor

    torch.set_num_threads(THREADS)
    model = CLIPSegForImageSegmentation.from_pretrained(checkpoint).eval()
    tokenizer, processor = (kind.from_pretrained(checkpoint) for kind in (CLIPTokenizerFast, ViTImageProcessor))

    def masks(photo: Pixels, texts: list[str]) -> Masks:
        text = tokenizer(texts, padding=True, return_tensors="pt")
        images = processor([photo] * len(texts), return_tensors="pt")
        with torch.inference_mode():
            logits = model(**text, **images).logits.reshape(len(texts), 1, *images["pixel_values"].shape[2:])
            scores = torch.nn.functional.interpolate(logits.sigmoid(), photo.shape[:2], mode="bilinear")
            return list(((scores[:, 0] >= THRESHOLD).to(torch.uint8) * 255).numpy())

    return masks


def in_automask(bundle: str, precision: str) -> Callable[[Pixels, list[str]], Masks]:
    """Load the bundle and return a call that masks."""
    import automask

    segmenter = automask.load(bundle, device="cpu", precision=precision, threads=THREADS)

    def masks(photo: Pixels, texts: list[str]) -> Masks:
        return [result.mask for result in segmenter.mask(photo, texts, threshold=THRESHOLD, grow_mask=0)]

    return masks


def calls(case: str) -> Iterator[tuple[Pixels, list[str]]]:
    """Give the photo and the prompts of one call after the other."""
    series = list(CASES).index(case)
    pictures, texts = photos(series), prompts(series, CASES[case][0])
    fixed_picture, fixed_texts = next(pictures), next(texts)
    while True:
        yield (
            fixed_picture if case.startswith("same photo") else next(pictures),
            fixed_texts if case.endswith("cached prompt") else next(texts),
        )


def measure(contenders: dict[str, Callable[[Pixels, list[str]], Masks]], case: str, repeats: int) -> dict[str, float]:
    """Median milliseconds by contender, taken in turns, all with the same calls."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn, (photo, texts) in zip(range(-2, repeats), calls(case), strict=False):
        for name, masks in contenders.items():
            start = perf_counter()
            found = masks(photo, texts)
            if turn >= 0:
                times[name].append((perf_counter() - start) * 1e3)
            if [mask.shape for mask in found] != [photo.shape[:2]] * len(texts):
                raise SystemExit(f"{name} gave masks of the wrong size")
    return {name: median(ms) for name, ms in times.items()}


def cost(name: str, checkpoint: str, bundle: str) -> dict[str, float]:
    """Seconds to load and mask once, and the most memory that took, each in a process of its own."""
    command = [sys.executable, __file__, "--cost-of", name, "--model", checkpoint, "--bundle", bundle]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return said


def print_cost(name: str, checkpoint: str, bundle: str) -> None:
    """Measure this very process."""
    start = perf_counter()
    masks = in_transformers(checkpoint) if name == "transformers" else in_automask(bundle, name.rsplit(maxsplit=1)[-1])
    loaded = perf_counter() - start
    masks(next(photos(0)), next(prompts(0, 1)))
    print(
        json.dumps(
            {
                "load_s": loaded,
                "first_mask_s": perf_counter() - start,
                "peak_mb": peak_memory(),
            }
        )
    )


def peak_memory() -> float:
    """Most memory this process has held, in MB; getrusage would count what its parent held before it."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def report(ms: dict[str, dict[str, float]], costs: dict[str, dict[str, float]]) -> None:
    """Print both tables."""
    print(f"640×480 photos, milliseconds, {machine.line()}\n")
    print("| case | transformers | automask fp32 | automask int8 | fp32 faster by (target) | int8 faster by (target) |")
    print("|---|---|---|---|---|---|")
    for case, row in ms.items():
        theirs, fp32, int8 = row["transformers"], row["automask fp32"], row["automask int8"]
        _, fp32_target, int8_target = CASES[case]
        print(
            f"| {case} | {theirs:.0f} | {fp32:.0f} | {int8:.0f} | {theirs / fp32:.1f} ({fp32_target}) "
            f"| {theirs / int8:.1f} ({int8_target}) |"
        )
    print("\n| in a process of its own | load, s | load and first mask, s | peak memory, MB |\n|---|---|---|---|")
    for name, row in costs.items():
        print(f"| {name} | {row['load_s']:.1f} | {row['first_mask_s']:.1f} | {row['peak_mb']:.0f} |")


def run(checkpoint: str, bundle: str, repeats: int, target: Path | None) -> None:
    """Measure everything and print."""
    contenders = {
        "transformers": in_transformers(checkpoint),
        "automask fp32": in_automask(bundle, "fp32"),
        "automask int8": in_automask(bundle, "int8"),
    }
    ms = {case: measure(contenders, case, repeats) for case in CASES}
    costs = {name: cost(name, checkpoint, bundle) for name in contenders}
    report(ms, costs)
    if target:
        facts: dict[str, Any] = {"machine": machine.describe(), "ms": ms, "processes": costs}
        target.write_text(json.dumps(facts, indent=2) + "\n")


def main() -> None:
    """Make what is missing, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="checkpoint: folder or Hub id (default: random weights)")
    parser.add_argument("--bundle", help="its bundle, if it was exported already with fp32 and int8")
    parser.add_argument("--repeats", type=int, default=9, help="rounds (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--cost-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cost_of:
        print_cost(arguments.cost_of, arguments.model, arguments.bundle)
        return
    with tempfile.TemporaryDirectory() as work:
        checkpoint = arguments.model or str(random_checkpoint(Path(work, "checkpoint")))
        bundle = arguments.bundle or str(Path(work, "bundle"))
        if not arguments.bundle:
            command = [sys.executable, "-m", "automask", "export", "clipseg", "--model", checkpoint, "--output", bundle]
            subprocess.run([*command, "--precision", "fp32", "--precision", "int8"], check=True, stdout=sys.stderr)
        run(checkpoint, bundle, arguments.repeats, arguments.json)


if __name__ == "__main__":
    main()
