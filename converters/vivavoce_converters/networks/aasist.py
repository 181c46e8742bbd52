"""AASIST as a back-end for foundation-model features: the baseline that reduces them to 128 dimensions first.

J. Jung et al., "AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph Attention Networks", ICASSP 2022
(arXiv 2110.01200); H. Tak et al., "Automatic speaker verification spoofing and deepfake detection using wav2vec 2.0 and data
augmentation", Odyssey 2022 (arXiv 2202.12233). Features are (batch, width, frames); graphs are (batch, nodes, channels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Aasist", "AasistConfig", "GraphPool"]

REDUCED = 128
BANDS = REDUCED // 3
CHANNELS = ((1, 32), (32, 32), (32, 64), (64, 64), (64, 64), (64, 64))
NODE, HIDDEN = 64, 32
HOMOGENEOUS_TEMPERATURE, HETEROGENEOUS_TEMPERATURE = 2.0, 100.0


@dataclass(frozen=True)
class AasistConfig:
    """The shape of the back-end: everything but the width of the features and the number of logits is as published."""

    width: int = 1024
    logits: int = 2


class ResidualBlock(nn.Module):
    """Two convolutions over bands and frames, with a shortcut; the norm before the first one is not part of the network."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, (2, 3), padding=(1, 1))
        self.norm = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, (2, 3), padding=(0, 1))
        self.shortcut = nn.Conv2d(inputs, outputs, (1, 3), padding=(0, 1)) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(F.selu(self.norm(self.conv1(x))))
        return y + cast(Tensor, self.shortcut(x))


class Projection(nn.Module):
    """What attention gathers and what a node itself holds, each through a linear layer, added."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.attended = nn.Linear(inputs, outputs)
        self.own = nn.Linear(inputs, outputs)

    def forward(self, attention: Tensor, nodes: Tensor, own: Tensor) -> Tensor:
        projected: Tensor = self.attended(attention @ nodes) + self.own(own)
        return projected


def _pairs(nodes: Tensor) -> Tensor:
    """Products of all pairs of nodes, (batch, nodes, nodes, channels)."""
    return nodes.unsqueeze(2) * nodes.unsqueeze(1)


class GraphAttention(nn.Module):
    """Attention among the nodes of one graph (section 2.2)."""

    def __init__(self, inputs: int, outputs: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.pair = nn.Linear(inputs, outputs)
        self.scorer = nn.Parameter(torch.randn(outputs, 1) / outputs**0.5)
        self.project = Projection(inputs, outputs)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, nodes: Tensor) -> Tensor:
        attention = (self.pair(_pairs(nodes)).tanh() @ self.scorer).squeeze(-1) / self.temperature
        x = self.project(attention.softmax(dim=-1), nodes, nodes)
        return F.selu(self.norm(x.transpose(1, 2)).transpose(1, 2))


class HeterogeneousAttention(nn.Module):
    """Attention among the nodes of two graphs and a master node that gathers from both (section 2.3)."""

    def __init__(self, inputs: int, outputs: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.temporal, self.spectral = nn.Linear(inputs, inputs), nn.Linear(inputs, inputs)
        self.pair, self.master_pair = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)
        self.within_temporal = nn.Parameter(torch.randn(outputs, 1) / outputs**0.5)
        self.within_spectral = nn.Parameter(torch.randn(outputs, 1) / outputs**0.5)
        self.across = nn.Parameter(torch.randn(outputs, 1) / outputs**0.5)
        self.to_master = nn.Parameter(torch.randn(outputs, 1) / outputs**0.5)
        self.project, self.master_project = Projection(inputs, outputs), Projection(inputs, outputs)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, temporal: Tensor, spectral: Tensor, master: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Graphs (batch, nodes, inputs) and the master (batch, 1, inputs), to the same with `outputs` channels."""
        sizes = [temporal.shape[1], spectral.shape[1]]
        nodes = torch.cat([self.temporal(temporal), self.spectral(spectral)], dim=1)
        to_master = (self.master_pair(nodes * master).tanh() @ self.to_master).squeeze(-1) / self.temperature
        master = self.master_project(to_master.softmax(dim=-1).unsqueeze(1), nodes, master)
        attention = (self._attention(self.pair(_pairs(nodes)).tanh(), sizes) / self.temperature).softmax(dim=-1)
        x = self.project(attention, nodes, nodes)
        x = F.selu(self.norm(x.transpose(1, 2)).transpose(1, 2))
        temporal, spectral = torch.split(x, sizes, dim=1)
        return temporal, spectral, master

    def _attention(self, pairs: Tensor, sizes: list[int]) -> Tensor:
        """One weight vector for pairs within each graph, one for pairs across: (batch, nodes, nodes)."""
        (tt, ts), (st, ss) = (torch.split(row, sizes, dim=2) for row in torch.split(pairs, sizes, dim=1))
        upper = torch.cat([tt @ self.within_temporal, ts @ self.across], dim=2)
        lower = torch.cat([st @ self.across, ss @ self.within_spectral], dim=2)
        return torch.cat([upper, lower], dim=1).squeeze(-1)


class GraphPool(nn.Module):
    """Keeps the better half of the nodes, at least one, best first, each scaled by its score."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.score = nn.Linear(channels, 1)

    def forward(self, nodes: Tensor) -> Tensor:
        scores = self.score(nodes).sigmoid()
        kept = torch.sym_max(nodes.shape[1] // 2, 1)  # type: ignore[no-untyped-call]
        best = scores.topk(kept, dim=1).indices.expand(-1, -1, nodes.shape[2])
        return cast(Tensor, nodes * scores).gather(1, best)


class Branch(nn.Module):
    """Two heterogeneous attentions with pooling between them; the second one refines the first."""

    def __init__(self) -> None:
        super().__init__()
        self.master = nn.Parameter(torch.randn(1, 1, NODE))
        self.first = HeterogeneousAttention(NODE, HIDDEN, HETEROGENEOUS_TEMPERATURE)
        self.pool_spectral, self.pool_temporal = GraphPool(HIDDEN), GraphPool(HIDDEN)
        self.second = HeterogeneousAttention(HIDDEN, HIDDEN, HETEROGENEOUS_TEMPERATURE)

    def forward(self, temporal: Tensor, spectral: Tensor) -> tuple[Tensor, ...]:
        temporal, spectral, master = self.first(temporal, spectral, self.master)
        graphs = (self.pool_temporal(temporal), self.pool_spectral(spectral), master)
        return tuple(before + after for before, after in zip(graphs, self.second(*graphs), strict=True))


class Aasist(nn.Module):
    """Features (batch, width, frames), at least three frames, to logits (batch, 1 or 2)."""

    def __init__(self, config: AasistConfig) -> None:
        super().__init__()
        self.config = config
        self.reduce = nn.Linear(config.width, REDUCED)
        self.norm_in = nn.BatchNorm2d(1)
        self.blocks = nn.Sequential(*(ResidualBlock(*channels) for channels in CHANNELS))
        self.norm_out = nn.BatchNorm2d(NODE)
        self.attention = nn.Sequential(
            nn.Conv2d(NODE, 2 * NODE, 1), nn.SELU(), nn.BatchNorm2d(2 * NODE), nn.Conv2d(2 * NODE, NODE, 1)
        )
        self.positions = nn.Parameter(torch.randn(1, BANDS, NODE))
        self.graph_spectral = GraphAttention(NODE, NODE, HOMOGENEOUS_TEMPERATURE)
        self.graph_temporal = GraphAttention(NODE, NODE, HOMOGENEOUS_TEMPERATURE)
        self.pool_spectral, self.pool_temporal = GraphPool(NODE), GraphPool(NODE)
        self.branches = nn.ModuleList(Branch() for _ in range(2))
        self.head = nn.Linear(5 * HIDDEN, config.logits)

    def encode(self, features: Tensor) -> Tensor:
        """The encoder's map before the graphs, (batch, 64, 42 bands, frames // 3)."""
        reduced = self.reduce(features.transpose(1, 2)).transpose(1, 2).unsqueeze(1)
        x = F.selu(self.norm_in(F.max_pool2d(reduced, 3)))
        return F.selu(self.norm_out(self.blocks(x)))

    def embed(self, features: Tensor) -> Tensor:
        """The readout, (batch, 160): maximum and mean of both graphs, and the master node."""
        x = self.encode(features)
        attention = self.attention(x)
        spectral = (x * attention.softmax(dim=3)).sum(dim=3).transpose(1, 2) + self.positions
        temporal = (x * attention.softmax(dim=2)).sum(dim=2).transpose(1, 2)
        spectral = self.pool_spectral(self.graph_spectral(spectral))
        temporal = self.pool_temporal(self.graph_temporal(temporal))
        graphs = zip(*(branch(temporal, spectral) for branch in self.branches), strict=True)
        temporal, spectral, master = (torch.maximum(first, second) for first, second in graphs)
        readout = [temporal.abs().amax(1), temporal.mean(1), spectral.abs().amax(1), spectral.mean(1), master.squeeze(1)]
        return torch.cat(readout, dim=1)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(self.embed(features))
        return logits
