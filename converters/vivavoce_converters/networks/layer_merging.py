"""Merging: one feature of each frame from all the hidden states of an encoder. States are (batch, frames, width) each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vivavoce.errors import ConfigurationError

__all__ = ["Merge", "MergeConfig", "ScaledSum"]


@dataclass(frozen=True)
class MergeConfig:
    """`states` is the encoder's depth + 1; `bottleneck` and `width` are read by the kinds that learn such layers."""

    kind: Literal["weighted-sum", "scaled-sum", "sea", "attm", "side-by-side"]
    states: int
    width: int = 0
    bottleneck: int = 0


class WeightedSum(nn.Module):
    """One learned weight for each state, softmax-normalised (Yang et al., "SUPERB", Interspeech 2021, arXiv 2105.01051)."""

    def __init__(self, config: MergeConfig) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(config.states))

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        return _summed(states, self.weights.softmax(dim=0))

    def keep(self, states: list[int]) -> None:
        self.weights = nn.Parameter(self.weights[states])


class ScaledSum(nn.Module):
    """A weighted sum of states whose channels have each been brought to mean 0 and variance 1 over the training data.

    In Whisper's encoder a few channels are larger than the rest by orders of magnitude, and later states than earlier ones.
    """

    def __init__(self, config: MergeConfig) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(config.states * config.width, affine=False)
        self.weights = nn.Parameter(torch.zeros(config.states))

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        if not self.training:
            return self._with_known_scales(states)
        scaled = self.scale(torch.cat(list(states), dim=2).transpose(1, 2)).transpose(1, 2)
        return _summed(scaled.chunk(len(states), dim=2), self.weights.softmax(dim=0))

    def _with_known_scales(self, states: Sequence[Tensor]) -> Tensor:
        """The same with one factor and one offset for each channel: transposing costs more than the sum."""
        mean, variance = cast(Tensor, self.scale.running_mean), cast(Tensor, self.scale.running_var)
        factors = (variance + self.scale.eps).rsqrt().reshape(len(self.weights), -1) * self.weights.softmax(dim=0)[:, None]
        offset = (mean.reshape_as(factors) * factors).sum(dim=0)
        return _summed(states, factors) - offset

    def keep(self, states: list[int]) -> None:
        for name in ("running_mean", "running_var"):
            values: Tensor = getattr(self.scale, name)
            setattr(self.scale, name, values.reshape(len(self.weights), -1)[states].flatten())
        self.weights = nn.Parameter(self.weights[states])


class SqueezeExcitationAggregation(nn.Module):
    """SEA: the sum of the states, each under a gate computed from all their means over time and width (Guragain et al.,
    "Speech Foundation Model Ensembles for the CtrSVDD Challenge 2024", SLT 2024, arXiv 2409.02302)."""

    def __init__(self, config: MergeConfig) -> None:
        super().__init__()
        self.squeeze = nn.Linear(config.states, config.bottleneck, bias=False)
        self.excite = nn.Linear(config.bottleneck, config.states, bias=False)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        means = torch.stack([state.mean(dim=(1, 2)) for state in states], dim=1)
        gates = self.excite(self.squeeze(means).relu()).sigmoid()
        return _summed(states, gates.T[:, :, None, None])

    def keep(self, states: list[int]) -> None:
        self.squeeze.weight = nn.Parameter(self.squeeze.weight[:, states])
        self.excite.weight = nn.Parameter(self.excite.weight[states])


class AttentiveMerging(nn.Module):
    """AttM: gates for the states from a learned view of their means over time, then one projection of all of them (Pan et
    al., "Attentive Merging of Hidden Embeddings", Interspeech 2024, arXiv 2406.10283)."""

    def __init__(self, config: MergeConfig) -> None:
        super().__init__()
        self.view = nn.Parameter(torch.randn(config.width, 1) / config.width**0.5)
        self.squeeze = nn.Parameter(torch.randn(config.states, config.bottleneck) / config.states**0.5)
        self.excite = nn.Parameter(torch.randn(config.bottleneck, config.states) / config.bottleneck**0.5)
        self.projection = nn.Linear(config.width * config.states, config.width)

    def forward(self, each: Sequence[Tensor]) -> Tensor:
        states = torch.stack(tuple(each), dim=1)
        seen = F.silu(states.mean(dim=2) @ self.view).squeeze(2)
        gates = (F.silu(seen @ self.squeeze) @ self.excite).sigmoid()
        # The projection reads the channels of one frame with the state as the fastest index.
        gated = (states * gates[:, :, None, None]).permute(0, 2, 3, 1)
        merged: Tensor = self.projection(gated.flatten(2))
        return merged

    def keep(self, states: list[int]) -> None:
        raise ConfigurationError(
            "Attentive merging projects all layers at once, so its encoder cannot be cut. "
            "Keep all layers, or take a network that merges by weighted sum or SEA or reads the last layer."
        )


class SideBySide(nn.Module):
    """All states of a frame one after the other, (batch, frames, states * width): for a back-end that weighs each channel."""

    def __init__(self, config: MergeConfig) -> None:
        super().__init__()

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(states), dim=2)

    def keep(self, states: list[int]) -> None:
        raise ConfigurationError("The back-end was fitted to all of its encoder's states. Distil a smaller one.")


def _summed(states: Sequence[Tensor], factors: Tensor) -> Tensor:
    """The sum of the states, each times its factor, one after the other: stacked they are two more copies of them all."""
    merged = states[0] * factors[0]
    for state, factor in zip(states[1:], factors[1:], strict=True):
        merged = merged + state * factor
    return merged


Rule = WeightedSum | ScaledSum | SqueezeExcitationAggregation | AttentiveMerging | SideBySide
KINDS: dict[str, type[Rule]] = {
    "weighted-sum": WeightedSum,
    "scaled-sum": ScaledSum,
    "sea": SqueezeExcitationAggregation,
    "attm": AttentiveMerging,
    "side-by-side": SideBySide,
}


class Merge(nn.Module):
    """All hidden states, (batch, frames, width) each, to one of that shape, or of all their widths, by the rule that the
    configuration names."""

    def __init__(self, config: MergeConfig) -> None:
        super().__init__()
        self.config = config
        self.rule: Rule = KINDS[config.kind](config)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        return cast(Tensor, self.rule(states))

    def truncate(self, layers: int) -> None:
        """Fits the rule to an encoder cut to its first `layers` layers.

        The inputs of those layers keep their weights. The output keeps that of the whole encoder's output, because both
        come from the encoder's final norm. Raises ConfigurationError for attentive merging, which cannot be cut.
        """
        self.rule.keep([*range(layers), self.config.states - 1])
        self.config = replace(self.config, states=layers + 1)
