"""Script for the converter's own Python: converts a Paddle model to ONNX, and runs it in Paddle for parity.

Usage: ``paddle_worker.py FOLDER IMAGE.npy``. FOLDER holds ``model.pdmodel`` and ``model.pdiparams``; writes
``picodet.onnx`` and ``picodet.npz`` (scores, boxes) there. It needs numpy < 2, so it is never imported.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import numpy as np


def convert(folder: Path) -> None:
    """Write the whole model, post-processing included; `detector` removes that later."""
    paddle2onnx = import_module("paddle2onnx")
    # The first opset with HardSwish as one node.
    paddle2onnx.export(
        str(folder / "model.pdmodel"), str(folder / "model.pdiparams"), str(folder / "picodet.onnx"), opset_version=14
    )


def reference(folder: Path, image: Path) -> None:
    """Write the class scores and boxes that are the inputs of Paddle's non-maximum suppression."""
    paddle = import_module("paddle")
    paddle.enable_static()
    executor = paddle.static.Executor(paddle.CPUPlace())
    program, _, _ = paddle.static.load_inference_model(str(folder / "model"), executor)
    suppression = next(op for op in program.global_block().ops if op.type == "multiclass_nms3")
    names = [suppression.input(part)[0] for part in ("Scores", "BBoxes")]
    feed = {"image": np.load(image), "scale_factor": np.ones((1, 2), np.float32)}
    scores, boxes = executor.run(program, feed=feed, fetch_list=names)
    np.savez(folder / "picodet.npz", scores=scores, boxes=boxes)


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
    reference(Path(sys.argv[1]), Path(sys.argv[2]))
