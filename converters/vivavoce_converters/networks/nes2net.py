"""Nes2Net and Nes2Net-X: nested Res2Net back-ends that read foundation-model features without reducing their dimension.

T. Liu, D.-T. Truong, R. K. Das, K. A. Lee, H. Li, "Nes2Net: A Lightweight Nested Architecture for Foundation Model Driven
Speech Anti-spoofing", IEEE T-IFS 20, 2025 (arXiv 2504.05657), section III. Features are (batch, width, frames) throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vivavoce.errors import ConfigurationError

__all__ = ["AdditiveNest", "AttentiveStatistics", "Nes2Net", "Nes2NetConfig", "WeightedNest"]


CHOICES = {"kind": ("nes2net", "nes2net-x"), "activation": ("relu", "selu"), "pooling": ("mean", "astp")}


@dataclass(frozen=True)
class Nes2NetConfig:
    """The shape of a Nes2Net back-end; the defaults are Nes2Net-X as published for XLS-R (511,014 parameters).

    `nest` is (outer splits, inner splits): the width must be divisible by their product. `kind` "nes2net" adds each split to
    the running sum; "nes2net-x" keeps every earlier split as a column and learns their weights. `dilation` is that of the
    inner convolutions, `se_ratio` the bottleneck of the squeeze-excitation, `logits` 1 (bona fide) or 2 (spoof, bona fide).
    """

    width: int = 1024
    kind: Literal["nes2net", "nes2net-x"] = "nes2net-x"
    activation: Literal["relu", "selu"] = "relu"
    pooling: Literal["mean", "astp"] = "mean"
    nest: tuple[int, int] = (8, 8)
    dilation: int = 1
    se_ratio: int = 1
    logits: int = 1

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise ConfigurationError(f"{value!r} is no {name} of Nes2Net. Choose one of: {', '.join(choices)}.")
        if self.dilation < 1:
            raise ConfigurationError(f"A dilation of {self.dilation} cannot be used. Choose 1 or more; 1 and 2 are published.")
        outer, inner = self.nest
        if outer < 2 or inner < 2 or self.width % (outer * inner):
            raise ConfigurationError(
                f"A width of {self.width} cannot be nested {outer} x {inner} times. "
                f"Choose at least 2 x 2 splits whose product divides the width."
            )


def _activation(name: str) -> nn.Module:
    return nn.SELU() if name == "selu" else nn.ReLU()


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate computed from the mean over time. Its inner activation is ReLU in every variant."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv1d(width, bottleneck, 1)
        self.excite = nn.Conv1d(bottleneck, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.squeeze(x.mean(dim=2, keepdim=True)).relu()
        scaled: Tensor = x * self.excite(gate).sigmoid()
        return scaled


class AdditiveNest(nn.Module):
    """The inner nest of Nes2Net: each split is added to the output of the one before it; the last split passes through."""

    def __init__(self, width: int, splits: int, dilation: int, activation: str) -> None:
        super().__init__()
        self.split = width // splits
        self.convs = nn.ModuleList(
            nn.Conv1d(self.split, self.split, 3, dilation=dilation, padding=dilation) for _ in range(splits - 1)
        )
        self.activation = _activation(activation)
        self.norms = nn.ModuleList(nn.BatchNorm1d(self.split) for _ in range(splits - 1))

    def forward(self, x: Tensor) -> Tensor:
        *splits, last = torch.split(x, self.split, dim=1)
        outputs: list[Tensor] = []
        for split, conv, norm in zip(splits, self.convs, self.norms, strict=True):
            running = split if not outputs else outputs[-1] + split
            outputs.append(norm(self.activation(conv(running))))
        return torch.cat([*outputs, last], dim=1)


class WeightedNest(nn.Module):
    """The inner nest of Nes2Net-X: splits seen so far stay apart as columns, and each output is their learned weighted sum.

    It starts from the last split, so step i convolves i + 2 columns along time with one kernel; the last split also passes
    through unchanged.
    """

    def __init__(self, width: int, splits: int, dilation: int, activation: str) -> None:
        super().__init__()
        self.split = width // splits
        self.convs = nn.ModuleList(
            nn.Conv2d(self.split, self.split, (3, 1), dilation=(dilation, 1), padding=(dilation, 0)) for _ in range(splits - 1)
        )
        self.activation = _activation(activation)
        self.norms = nn.ModuleList(nn.BatchNorm2d(self.split) for _ in range(splits - 1))
        self.column_weights = nn.ParameterList(torch.full((1, 1, 1, i + 2), 1 / (i + 2)) for i in range(splits - 1))

    def forward(self, x: Tensor) -> Tensor:
        *splits, last = torch.split(x.unsqueeze(-1), self.split, dim=1)
        columns = last
        outputs = []
        for split, conv, norm, weights in zip(splits, self.convs, self.norms, self.column_weights, strict=True):
            columns = norm(self.activation(conv(torch.cat([columns, split], dim=-1))))
            # A product of one output: in ONNX Runtime multiplying and summing take four times as long, that of a vector 15.
            outputs.append((columns @ weights.reshape(-1, 1)).squeeze(-1))
        return torch.cat([*outputs, last.squeeze(-1)], dim=1)


class Res2Block(nn.Module):
    """1x1 convolution, inner nest, 1x1 convolution, squeeze-excitation, residual. Activation comes before each norm."""

    def __init__(self, width: int, config: Nes2NetConfig) -> None:
        super().__init__()
        nest = WeightedNest if config.kind == "nes2net-x" else AdditiveNest
        self.conv_in = nn.Conv1d(width, width, 1)
        self.norm_in = nn.BatchNorm1d(width)
        self.nest = nest(width, config.nest[1], config.dilation, config.activation)
        self.conv_out = nn.Conv1d(width, width, 1)
        self.norm_out = nn.BatchNorm1d(width)
        self.excitation = SqueezeExcitation(width, width // config.se_ratio)
        self.activation = _activation(config.activation)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm_in(self.activation(self.conv_in(x)))
        y = self.norm_out(self.activation(self.conv_out(self.nest(y))))
        residual: Tensor = self.excitation(y) + x
        return residual


class AttentiveStatistics(nn.Module):
    """Attention-weighted mean and standard deviation over time: (batch, width, frames) to (batch, 2 * width)."""

    def __init__(self, width: int, bottleneck: int = 128) -> None:
        super().__init__()
        self.linear1 = nn.Conv1d(width, bottleneck, 1)
        self.linear2 = nn.Conv1d(bottleneck, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.linear2(self.linear1(x).tanh()).softmax(dim=2)
        mean = (weights * x).sum(dim=2, keepdim=True)
        # Centred: the difference of two sums leaves rounding noise in channels that hardly vary, and the root enlarges it.
        variance = (weights * (x - mean).square()).sum(dim=2)
        return torch.cat([mean.squeeze(2), variance.clamp(min=1e-10).sqrt()], dim=1)


class Nes2Net(nn.Module):
    """A nested Res2Net back-end: features (batch, width, frames), at least one frame, to logits (batch, 1 or 2)."""

    def __init__(self, config: Nes2NetConfig) -> None:
        super().__init__()
        self.config = config
        outer = config.nest[0]
        self.split = config.width // outer
        self.blocks = nn.ModuleList(Res2Block(self.split, config) for _ in range(outer - 1))
        self.norms = nn.ModuleList(nn.BatchNorm1d(self.split) for _ in range(outer - 1))
        self.norm = nn.BatchNorm1d(config.width)
        self.activation = _activation(config.activation)
        self.pooling = AttentiveStatistics(config.width) if config.pooling == "astp" else None
        self.head = nn.Linear(config.width * (2 if self.pooling else 1), config.logits)

    def frames(self, features: Tensor) -> Tensor:
        """Frame-level activations before pooling, (batch, width, frames)."""
        *splits, last = torch.split(features, self.split, dim=1)
        outputs: list[Tensor] = []
        for split, block, norm in zip(splits, self.blocks, self.norms, strict=True):
            running = split if not outputs else outputs[-1] + split
            outputs.append(norm(self.activation(block(running))))
        activated: Tensor = self.activation(self.norm(torch.cat([*outputs, last], dim=1)))
        return activated

    def embed(self, features: Tensor) -> Tensor:
        """The pooled embedding, (batch, width) for mean pooling and (batch, 2 * width) for attentive statistics."""
        frames = self.frames(features)
        embedding: Tensor = self.pooling(frames) if self.pooling else frames.mean(dim=2)
        return embedding

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(self.embed(features))
        return logits
