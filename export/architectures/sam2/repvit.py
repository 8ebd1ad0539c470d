"""RepViT-M1, EdgeTAM's backbone.

transformers takes it from timm, which needs torchvision, which nothing else here does. Written from the paper (Wang et
al., "RepViT: Revisiting Mobile CNN From ViT Perspective", arXiv:2307.09283) and the names and shapes in EdgeTAM's
checkpoint.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

__all__ = ["RepVitConfig", "fuse"]

_WIDTHS = (48, 96, 192, 384)
_DEPTHS = (2, 2, 14, 2)


class RepVitConfig(PretrainedConfig):
    """The configuration of `RepVitBackbone`, which has no settings."""

    model_type = "automask_repvit_m1"


class RepVitBackbone(PreTrainedModel):
    """RepViT-M1 in the place of transformers' wrapper around timm's; the names of its weights are the same."""

    config_class = RepVitConfig
    main_input_name = "pixel_values"

    def __init__(self, config: RepVitConfig) -> None:
        super().__init__(config)
        self.timm_model = _RepVit()

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutput:  # noqa: ANN401 (transformers' own)
        """Return the features at strides 4, 8, 16 and 32 as ``last_hidden_state``."""
        return BaseModelOutput(last_hidden_state=self.timm_model(pixel_values))


AutoModel.register(RepVitConfig, RepVitBackbone)


class _RepVit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = _Stem(_WIDTHS[0])
        self.stages_0 = _Stage(_WIDTHS[0], _WIDTHS[0], _DEPTHS[0])
        self.stages_1 = _Stage(_WIDTHS[0], _WIDTHS[1], _DEPTHS[1])
        self.stages_2 = _Stage(_WIDTHS[1], _WIDTHS[2], _DEPTHS[2])
        self.stages_3 = _Stage(_WIDTHS[2], _WIDTHS[3], _DEPTHS[3])

    def forward(self, image: Tensor) -> list[Tensor]:
        features, x = [], self.stem(image)
        for stage in (self.stages_0, self.stages_1, self.stages_2, self.stages_3):
            x = stage(x)
            features.append(x)
        return features


class _ConvNorm(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.add_module("c", nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(outputs))


class _Stem(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = _ConvNorm(3, width // 2, 3, 2), _ConvNorm(width // 2, width, 3, 2)

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.conv2(nn.functional.gelu(self.conv1(image)))
        return output


class _Stage(nn.Module):
    def __init__(self, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.downsample = nn.Identity() if inputs == width else _Downsample(inputs, width)
        # Every second block, the first one included, weighs its channels.
        self.blocks = nn.Sequential(*[_Block(width, weighs=index % 2 == 0) for index in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.blocks(self.downsample(x))
        return output


class _Downsample(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.pre_block = _Block(inputs, weighs=False)
        self.spatial_downsample = _ConvNorm(inputs, inputs, 3, 2, groups=inputs)
        self.channel_downsample = _ConvNorm(inputs, width)
        self.ffn = _FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.channel_downsample(self.spatial_downsample(self.pre_block(x)))
        added: Tensor = self.ffn(x)
        return x + added


class _Block(nn.Module):
    def __init__(self, width: int, *, weighs: bool) -> None:
        super().__init__()
        self.token_mixer: nn.Module = _TokenMixer(width)
        self.se = _ChannelWeights(width) if weighs else nn.Identity()
        self.channel_mixer = _FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.se(self.token_mixer(x))
        added: Tensor = self.channel_mixer(x)
        return x + added


class _TokenMixer(nn.Module):
    """Three branches in training, one convolution afterwards."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.conv1 = _ConvNorm(width, width, 3, groups=width), _ConvNorm(width, width, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.conv(x) + self.conv1(x)
        return mixed + x


class _ChannelWeights(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = _round_to_eight(width // 4)
        self.fc1, self.fc2 = nn.Conv2d(width, narrow, 1), nn.Conv2d(narrow, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return x * weights


class _FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = _ConvNorm(width, 2 * width), _ConvNorm(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.conv2(nn.functional.gelu(self.conv1(x)))
        return output


def _round_to_eight(channels: int) -> int:
    """Return the nearest multiple of 8; the paper's channel weights have one as their narrow part."""
    rounded = max(8, (channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class _FusedMixer(nn.Module):
    def __init__(self, mixer: _TokenMixer) -> None:
        super().__init__()
        (wide, wide_bias), (narrow, narrow_bias) = _folded(mixer.conv), _folded(mixer.conv1)
        kernel = wide + nn.functional.pad(narrow, (1, 1, 1, 1))
        kernel[:, :, 1, 1] += 1  # the branch that leaves the input as it is
        width = kernel.shape[0]
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.conv.weight.data, self.conv.bias.data = kernel, wide_bias + narrow_bias  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.conv(x)
        return output


def _folded(layer: _ConvNorm) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution with the normalisation after it."""
    conv: Any = layer.get_submodule("c")
    norm: Any = layer.get_submodule("bn")
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return (conv.weight * scale.reshape(-1, 1, 1, 1)).detach(), (norm.bias - norm.running_mean * scale).detach()


def fuse(vision: nn.Module) -> None:
    """Replace the three branches of every token mixer in a network by the one convolution that they amount to."""
    for module in list(vision.modules()):
        if isinstance(module, _Block) and isinstance(module.token_mixer, _TokenMixer):
            module.token_mixer = _FusedMixer(module.token_mixer)
