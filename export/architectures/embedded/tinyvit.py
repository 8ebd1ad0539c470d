"""MobileSAM's image encoder: TinyViT-5M with SAM's neck, for inference only.

Written from the TinyViT paper (Wu et al., ECCV 2022, arXiv 2207.10666) and from the names and shapes in MobileSAM's
checkpoint (Zhang et al., arXiv 2306.14289). Batch normalisation is folded into the convolutions on loading, and every
spatial size is a Python integer, so that the exported graph has no shape arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ImageEncoder", "encoder_state", "fold_batch_norm"]

_HEAD_DIM = 32
_BN_EPS = 1e-5
# The classifier of the pretraining, which SAM does not use.
_UNUSED = ("head.", "norm_head.")


class ImageEncoder(nn.Module):
    """TinyViT and SAM's neck: an image to its embedding.

    Parameters
    ----------
    size
        Side of the square input in pixels, a multiple of 32.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbed(64)
        quarter, eighth, sixteenth = size // 4, size // 8, size // 16
        self.layers = nn.ModuleList(
            [
                _Stage([_MBConv(64) for _ in range(2)], _Downsample(64, 128, stride=2)),
                _Stage([_Block(128, eighth, 7) for _ in range(2)], _Downsample(128, 160, stride=2)),
                # SAM keeps a stride of 16, so the last step changes only the channels.
                _Stage([_Block(160, sixteenth, 14) for _ in range(6)], _Downsample(160, 320, stride=1)),
                _Stage([_Block(320, sixteenth, 7) for _ in range(2)], None),
            ]
        )
        self.neck = nn.Sequential(
            nn.Conv2d(320, 256, 1, bias=False),
            _ChannelNorm(256, eps=1e-6),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            _ChannelNorm(256, eps=1e-6),
        )
        if quarter * 4 != size or sixteenth * 16 != size:
            raise ValueError(f"size must be a multiple of 32, got {size!r}")

    def forward(self, image: Tensor) -> Tensor:
        """Encode normalised RGB, (batch, 3, size, size), to (batch, 256, size / 16, size / 16)."""
        x = self.patch_embed(image)
        for stage in self.layers:
            x = stage(x)
        return self.neck(x)


class _PatchEmbed(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            nn.Conv2d(3, channels // 2, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.seq(x)


class _Stage(nn.Module):
    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class _MBConv(nn.Module):
    """Inverted bottleneck with a fourfold expansion; the activation follows the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels * 4
        self.conv1 = nn.Conv2d(channels, hidden, 1)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.conv3 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.gelu(self.conv1(x))
        y = functional.gelu(self.conv2(y))
        return functional.gelu(x + self.conv3(y))


class _Downsample(nn.Module):
    def __init__(self, channels: int, out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 1)
        self.conv2 = nn.Conv2d(out, out, 3, stride=stride, padding=1, groups=out)
        self.conv3 = nn.Conv2d(out, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.conv1(x))
        return self.conv3(functional.gelu(self.conv2(x)))


class _Block(nn.Module):
    """Window attention, a depthwise convolution that mixes neighbouring windows, then the MLP."""

    def __init__(self, channels: int, side: int, window: int) -> None:
        super().__init__()
        self.attn = _WindowAttention(channels, window)
        self.local_conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.mlp = _MLP(channels)
        self.channels, self.side, self.window = channels, side, window
        self.count = -(-side // window)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = x + self._attend(x)
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.mlp(x)
        return x.permute(0, 3, 1, 2)

    def _attend(self, x: Tensor) -> Tensor:
        # The padding takes part in the attention (its tokens become the norm's bias), as in training.
        n, w, pad = self.count, self.window, self.count * self.window - self.side
        x = functional.pad(x, (0, 0, 0, pad, 0, pad))
        x = x.reshape(-1, n, w, n, w, self.channels).transpose(2, 3).reshape(-1, w * w, self.channels)
        x = self.attn(x)
        x = x.reshape(-1, n, n, w, w, self.channels).transpose(2, 3).reshape(-1, n * w, n * w, self.channels)
        return x[:, : self.side, : self.side]


class _WindowAttention(nn.Module):
    bias_index: Tensor

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.heads, self.tokens, self.channels = channels // _HEAD_DIM, window * window, channels
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, channels * 3)
        self.proj = nn.Linear(channels, channels)
        self.attention_biases = nn.Parameter(torch.zeros(self.heads, self.tokens))
        self.register_buffer("bias_index", _offsets(window), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        # The checkpoint's qkv rows are in the order (head, q or k or v, channel).
        qkv = self.qkv(self.norm(x)).reshape(-1, self.tokens, self.heads, 3, _HEAD_DIM)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind(0)
        scores = (q * _HEAD_DIM**-0.5) @ k.transpose(-2, -1) + self.attention_biases[:, self.bias_index]
        mixed = scores.softmax(-1) @ v
        return self.proj(mixed.transpose(1, 2).reshape(-1, self.tokens, self.channels))


class _MLP(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, channels * 4)
        self.fc2 = nn.Linear(channels * 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(self.norm(x))))


class _ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (batch, channels, height, width)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _offsets(window: int) -> Tensor:
    """Return the index into a head's bias table for each (query, key): |row distance| * window + |column distance|."""
    axis = torch.arange(window)
    rows, columns = (part.reshape(-1) for part in torch.meshgrid(axis, axis, indexing="ij"))
    return (rows[:, None] - rows).abs() * window + (columns[:, None] - columns).abs()


def fold_batch_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fold every ``X.c`` convolution with its ``X.bn`` into one convolution ``X`` with a bias.

    Parameters
    ----------
    state
        Tensors by name. Those without a batch normalisation stay unchanged.
    """
    folded: dict[str, Tensor] = {}
    for name, value in state.items():
        if ".bn." in name:
            continue
        if not name.endswith(".c.weight"):
            folded[name] = value
            continue
        stem = name.removesuffix(".c.weight")
        gamma, beta, mean, var = (
            state[f"{stem}.bn.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / torch.sqrt(var + _BN_EPS)
        folded[f"{stem}.weight"] = (value.double() * scale[:, None, None, None]).float()
        folded[f"{stem}.bias"] = (beta - mean * scale).float()
    return folded


def encoder_state(checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder's part of a MobileSAM checkpoint, for `ImageEncoder.load_state_dict`."""
    prefix = "image_encoder."
    own = {k.removeprefix(prefix): v for k, v in checkpoint.items() if k.startswith(prefix)}
    return fold_batch_norm({k: v for k, v in own.items() if not k.startswith(_UNUSED)})
