"""The edges of masks: how well each mode follows the truth, what it costs, and soft alpha beside pymatting.

Three parts. *Agreement*: IoU, the IoU of the bands along both outlines (Cheng et al.: Boundary IoU, CVPR 2021; 2 % of
the diagonal wide), and the IoU of the pixels within 3 pixels of the true outline, for every thing that is found in
photos with ground truth; `quality.py` describes the folder. *Time*: `Segmenter.mask` on a new photo, and its stage
`postprocess`. *Alpha*: `matte` and the closed form of Levin et al. (pymatting) on photos that `harness/scenes.py`
composites; the closed form gets the band in which `matte` works as its trimap.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import automask
from automask.matting import edge_radius, matte, refine
from automask.parameters import Edges
from automask.postprocess import grow
from harness.options import MissingRequirementError, RunOptions, requires
from harness.photos import PROMPTS, photo, unseen
from harness.scenes import Scene, scenes
from harness.tables import digits, format_spread, table
from harness.timing import measure_in_turns

from .quality import UNLABELLED

Bits = NDArray[np.bool_]

MODES: tuple[Edges, ...] = ("model", "fast", "fine")
SIZES = {"0.3": (640, 480), "12": (4000, 3000)}
NEAR = 3  # pixels
_BAND = 0.02  # of the diagonal
_RUNS = 15  # of a method on a scene


def agreement(mask: NDArray[np.uint8], labels: NDArray[np.uint8], label: int) -> dict[str, float]:
    """Return IoU, boundary IoU and the IoU near the true outline, of a mask and the pixels of one label."""
    labelled, truth = labels != UNLABELLED, labels == label
    found = (mask > 0) & labelled
    width = max(1, round(_BAND * float(np.hypot(*mask.shape))))
    near = (_dilate(truth, NEAR) & _dilate(~truth, NEAR)) & labelled
    return {
        "iou": _iou(found, truth),
        "boundary": _iou(_inner_band(found, width), _inner_band(truth, width)),
        "near": _iou(found & near, truth & near),
    }


def _iou(one: Bits, other: Bits) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def _inner_band(bits: Bits, width: int) -> Bits:
    """Return what lies within `width` pixels of the outside; beyond the image is outside too, as in the paper."""
    padded = np.pad(~bits, 1, constant_values=True)
    return bits & _dilate(padded, width)[1:-1, 1:-1]


def _dilate(bits: Bits, radius: int) -> Bits:
    return grow(np.where(bits, np.uint8(255), np.uint8(0)), radius) > 0


def measure_agreement(segmenter: automask.Segmenter, data: Path) -> dict[str, Any]:
    """Return the mean agreement of each mode, over the things that the model finds."""
    scores: dict[str, list[dict[str, float]]] = defaultdict(list)
    for pair in json.loads((data / "pairs.json").read_text()):
        if pair["kind"] != "thing":
            continue
        truth = data / "masks" / Path(pair["image"]).with_suffix(".png")
        labels = np.asarray(cv2.imread(str(truth), cv2.IMREAD_UNCHANGED), np.uint8)
        try:
            results = {
                mode: segmenter.mask(data / "images" / pair["image"], pair["prompt"], grow_mask=0, edges=mode)
                for mode in MODES
            }
        except automask.UnknownPromptError:
            continue
        if not results["model"].is_empty:
            for mode, result in results.items():
                scores[mode].append(agreement(result.mask, labels, pair["label"]))
    return {
        "pairs": len(scores["model"]),
        "modes": {mode: {key: mean(one[key] for one in ones) for key in ones[0]} for mode, ones in scores.items()},
    }


def measure_time(segmenter: automask.Segmenter, options: RunOptions) -> list[dict[str, Any]]:
    """Return milliseconds of a new photo and of its stage `postprocess` by size and mode."""

    def job(jpeg: bytes, mode: Edges) -> Callable[[int], Mapping[str, float]]:
        def work(_: int) -> Mapping[str, float]:
            new, start = unseen(jpeg), perf_counter()
            result = segmenter.mask(new, PROMPTS[0], grow_mask=0, edges=mode)
            return {"photo": 1e3 * (perf_counter() - start), "postprocess": result.timings["postprocess"]}

        return work

    cases = []
    for megapixels in options.pick(list(SIZES), ["0.3"]):
        jpeg = photo(*SIZES[megapixels])
        ms = measure_in_turns({mode: job(jpeg, mode) for mode in MODES}, options.pick(25, 1), warm=options.warm)
        cases.append({"megapixels": megapixels, "ms": ms})
    return cases


def measure_alpha(options: RunOptions) -> dict[str, dict[str, dict[str, float]]]:
    """Return milliseconds and errors by scene and method; the closed form only if pymatting is installed."""
    width, height = options.pick(SIZES["0.3"], (64, 48))
    radius = edge_radius(height, width)
    methods: dict[str, Callable[[Scene], NDArray[Any]]] = {
        "as drawn": lambda scene: scene.mask,
        'edges="fast"': lambda scene: refine(scene.mask, scene.image, radius),
        'alpha="soft"': lambda scene: matte(scene.mask, scene.image, radius),
    }
    try:
        methods["closed form"] = _closed_form(radius)
    except MissingRequirementError as reason:
        print(f"edges: the closed form is left out: {reason}", flush=True)
    drawn = scenes(width, height)
    for method in methods.values():  # compiled and loaded before the clock starts
        method(next(iter(drawn.values())))
    return {
        name: {method: _errors(scene, estimate) for method, estimate in methods.items()}
        for name, scene in drawn.items()
    }


def _closed_form(radius: int) -> Callable[[Scene], NDArray[Any]]:
    """Return the closed form of pymatting on the trimap of a mask: unknown within `radius` of its outline."""
    with requires("pymatting"):
        from pymatting import estimate_alpha_cf

    def estimate(scene: Scene) -> NDArray[Any]:
        trimap = np.full(scene.mask.shape, 0.5)
        trimap[grow(scene.mask, radius) == 0], trimap[grow(~scene.mask, radius) == 0] = 0, 1
        return 255 * np.asarray(estimate_alpha_cf(scene.image / 255, trimap))

    return estimate


def _errors(scene: Scene, estimate: Callable[[Scene], NDArray[Any]]) -> dict[str, float]:
    """Return milliseconds of the fastest run, the sum of absolute differences in thousands, the MSE of soft pixels."""
    runs = []
    for _ in range(_RUNS):
        start = perf_counter()
        alpha = estimate(scene)
        runs.append(1e3 * (perf_counter() - start))
    difference = alpha / 255 - scene.alpha
    soft = (scene.alpha > 0) & (scene.alpha < 1)
    return {
        "ms": min(runs),
        "sad": float(np.abs(difference).sum() / 1e3),
        "mse": float(np.square(difference[soft]).mean()),
    }


def measure(options: RunOptions) -> dict[str, Any]:
    """Measure time and alpha, and agreement where there are photos with ground truth."""
    segmenter = automask.load(device="cpu")
    found: dict[str, Any] = {"time": measure_time(segmenter, options), "alpha": measure_alpha(options)}
    if options.data is None:
        print("edges: agreement is skipped: it needs photos with ground truth: --data DIR, or make bench DATA=DIR")
    else:
        found["agreement"] = measure_agreement(segmenter, options.data)
    return found


def markdown(figures: dict[str, Any]) -> str:
    """Format the figures that `measure` returned."""
    parts = [_format_time(figures["time"]), _format_alpha(figures["alpha"])]
    if "agreement" in figures:
        parts.insert(0, _format_agreement(figures["agreement"]))
    return "\n".join(parts)


def _format_agreement(found: dict[str, Any]) -> str:
    rows = [
        [f'`edges="{mode}"`', *(f"{scores[key]:.4f}" for key in ("iou", "boundary", "near"))]
        for mode, scores in found["modes"].items()
    ]
    columns = ["", "IoU", "boundary IoU (2 % of the diagonal)", f"IoU within {NEAR} pixels of the true outline"]
    return f"**Agreement with the truth** (mean over the {found['pairs']} things that are found)\n\n" + table(
        columns, rows
    )


def _format_time(cases: list[dict[str, Any]]) -> str:
    rows = []
    for case in cases:
        plain = case["ms"]["model"]
        for mode, ms in case["ms"].items():
            ratio = ms["photo"]["median"] / plain["photo"]["median"]
            more = ms["postprocess"]["median"] - plain["postprocess"]["median"]
            rows.append(
                [
                    case["megapixels"],
                    f'`edges="{mode}"`',
                    format_spread(ms["photo"]),
                    f"{ratio:.2f}",
                    format_spread(ms["postprocess"]),
                    digits(more),
                ]
            )
    columns = ["megapixels", "", "new photo, ms", 'of `"model"`', "drawing the mask, ms", 'more than `"model"`, ms']
    return "**Time of the modes** (embedded model, one object)\n\n" + table(columns, rows)


def _format_alpha(found: dict[str, dict[str, dict[str, float]]]) -> str:
    rows = [
        [scene, method, digits(one["ms"]), digits(one["sad"]), f"{one['mse']:.4f}"]
        for scene, methods in found.items()
        for method, one in methods.items()
    ]
    return (
        "**Soft alpha beside the closed form** (pymatting; composited photos of 0.3 megapixels with known alpha; "
        "the fastest of many runs)\n\n"
        + table(["scene", "method", "ms", "SAD, thousands", "MSE of the soft pixels"], rows)
    )
