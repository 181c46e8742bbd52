"""A Whisper-shaped front-end made for streams: every frame is computed once, whatever the overlap of the windows.

It differs from Whisper's encoder where that looks at the whole window: the spectrogram has a fixed floor instead of one that
follows the loudest bin, the convolutions read the past alone, positions are relative distances, and attention reaches a
bounded number of chunks back. What a chunk needs of the past is a state of fixed size, so the network runs on a whole window
or on one chunk at a time with the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.whisper.modeling_whisper import WhisperEncoderLayer

from vivavoce.errors import ConfigurationError

from .front_ends import LogMel, WhisperFrontEnd

__all__ = ["DELAY", "FRAME", "Past", "StreamingConfig", "StreamingFrontEnd"]

FRAME = 320
"""Samples a frame."""
REACH = 720
"""Samples before a chunk that its first frame is computed from: the spectrogram's 240, and three of its hops."""
DELAY = 200
"""Samples by which frames lag those of Whisper, which reads ahead as far as it looks back."""
UNHEARD = -1e4
"""Added to the attention scores of what lies before a stream's beginning."""


@dataclass(frozen=True)
class StreamingConfig:
    """`chunk` is how many frames of 20 ms are computed at a time; attention reaches `chunks_back` chunks into the past."""

    width: int = 512
    layers: int = 2
    heads: int = 8
    ffn: int = 2048
    mels: int = 80
    chunk: int = 25
    chunks_back: int = 3

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigurationError(f"A width of {self.width} has no {self.heads} heads. Choose a divisor of it.")


class Past(NamedTuple):
    """What a chunk is computed from besides itself. All but the first axis are as `fresh` gives them."""

    samples: Tensor
    """(batch, 720)"""
    heard: Tensor
    """(batch, past frames): 0 for what was heard, a large negative number for what was not."""
    keys: tuple[Tensor, ...]
    """(batch, heads, past frames, width / heads) for each layer."""
    values: tuple[Tensor, ...]
    """Like the keys."""


class StreamingFrontEnd(nn.Module):
    """The encoder: samples (batch, n) at 16 kHz to hidden states (batch, frames, width), 50 frames a second.

    What does not fill a chunk at the end is left out.
    """

    def __init__(self, config: StreamingConfig) -> None:
        super().__init__()
        self.config = config
        self.width, self.depth = config.width, config.layers
        self.mel = LogMel(config.mels, ceiling=False, floor=1e-8, padding=(0, 0))
        self.conv1 = nn.Conv1d(config.mels, config.width, 3)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2)
        self.layers = nn.ModuleList(StreamingLayer(config) for _ in range(config.layers))
        self.layer_norm = nn.LayerNorm(config.width)
        self.eval()

    @classmethod
    def like(cls, teacher: WhisperFrontEnd, config: StreamingConfig) -> StreamingFrontEnd:
        """One with the weights of Whisper's stem and first layers; of a narrower feed-forward, the neurons that weigh most."""
        made, encoder = cls(config), teacher.encoder
        made.conv1.load_state_dict(encoder.conv1.state_dict())
        made.conv2.load_state_dict(encoder.conv2.state_dict())
        made.layer_norm.load_state_dict(encoder.layer_norm.state_dict())
        for layer, source in zip(made.layers, encoder.layers, strict=False):
            cast(StreamingLayer, layer).take(cast(WhisperEncoderLayer, source))
        return made

    def fresh(self) -> Past:
        """The past of a stream's beginning, for a batch of one."""
        config = self.config
        frames = config.chunk * config.chunks_back
        caches = (torch.zeros(1, config.heads, frames, config.width // config.heads),) * config.layers
        return Past(torch.zeros(1, REACH), torch.full((1, frames), UNHEARD), caches, caches)

    def states(self, samples: Tensor) -> list[Tensor]:
        """`depth + 1` hidden states of windows that begin with nothing heard."""
        last, heard, keys, values = self.fresh()

        def each(past: Tensor) -> Tensor:
            return past.to(samples.device).expand(len(samples), *past.shape[1:])

        return self.advance(samples, Past(each(last), each(heard), tuple(map(each, keys)), tuple(map(each, values))))[0]

    def repeated(self, samples: Tensor) -> list[Tensor]:
        """The hidden states of windows that follow upon themselves, as runtimes take a signal to begin."""
        chunk = self.config.chunk * FRAME
        before = samples[:, -(self.config.layers * self.config.chunks_back + 1) * chunk :]
        frames = before.shape[1] // chunk * self.config.chunk
        return [state[:, frames:] for state in self.states(torch.cat([before, samples], dim=1))]

    def advance(self, samples: Tensor, past: Past) -> tuple[list[Tensor], Past]:
        """The hidden states of further samples, and the past of those that follow."""
        chunk = self.config.chunk * FRAME
        samples = torch.cat([past.samples, samples[:, : samples.shape[1] // chunk * chunk]], dim=1)
        x = F.gelu(self.conv2(F.gelu(self.conv1(self.mel(samples))))).transpose(1, 2)
        heard = torch.cat([past.heard, torch.zeros_like(x[:, :, 0])], dim=1)
        states, keys, values = [x], [], []
        for layer, *known in zip(self.layers, past.keys, past.values, strict=True):
            x, key, value = layer(states[-1], *known, heard)
            states.append(x)
            keys.append(key)
            values.append(value)
        states[-1] = self.layer_norm(states[-1])
        return states, Past(samples[:, -REACH:], heard[:, -past.heard.shape[1] :], tuple(keys), tuple(values))

    def forward(self, samples: Tensor) -> Tensor:
        """The last hidden state."""
        return self.states(samples)[-1]


class StreamingLayer(nn.Module):
    """A pre-norm transformer layer whose frames attend to their own chunk and to those before it, by relative distance."""

    def __init__(self, config: StreamingConfig) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        self.chunk, self.back = config.chunk, config.chunks_back
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.value, self.out = (nn.Linear(width, width) for _ in range(3))
        self.key = nn.Linear(width, width, bias=False)
        self.inner, self.outer = nn.Linear(width, config.ffn), nn.Linear(config.ffn, width)
        keys = self.chunk * (self.back + 1)
        self.distances = nn.Parameter(torch.zeros(self.heads, keys + self.chunk - 1))
        index = torch.arange(keys)[None, :] - torch.arange(self.chunk)[:, None] + self.chunk - 1
        self.register_buffer("index", index, persistent=False)
        self.index: Tensor

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, heard: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The layer's output, and the keys and values for the frames that follow."""
        normed, before = self.norm1(x), keys.shape[2]
        keys = torch.cat([keys, self._by_head(self.key(normed))], dim=2)
        values = torch.cat([values, self._by_head(self.value(normed))], dim=2)
        x = x + self._attend(self._by_head(self.query(normed)), keys, values, heard)
        return x + self.outer(F.gelu(self.inner(self.norm2(x)))), keys[:, :, -before:], values[:, :, -before:]

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor, heard: Tensor) -> Tensor:
        chunked = _chunked(query, self.chunk)
        scores = chunked @ self._reach(keys).transpose(3, 4) * query.shape[3] ** -0.5
        scores = scores + self.distances[:, self.index][None, :, None]
        scores = scores + self._reach(heard[:, None, :, None]).transpose(3, 4)
        mixed = (scores.softmax(dim=4) @ self._reach(values)).flatten(2, 3)
        attended: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return attended

    def _by_head(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def _reach(self, known: Tensor) -> Tensor:
        """(batch, heads, past + frames, n) to (batch, heads, chunks, what each chunk may attend to, n)."""
        chunks = _chunked(known, self.chunk)
        count = chunks.shape[2] - self.back
        # One gathering instead of a slice for each chunk that is reached and their concatenation: half the copying.
        wanted = torch.arange(count, device=known.device)[:, None] + torch.arange(self.back + 1, device=known.device)
        gathered = chunks.index_select(2, wanted.flatten())
        return gathered.reshape(*known.shape[:2], count, (self.back + 1) * self.chunk, known.shape[3])

    def take(self, source: WhisperEncoderLayer) -> None:
        """Takes a Whisper layer's weights, and of its feed-forward neurons those that reach furthest into the output."""
        attention = source.self_attn
        pairs: Sequence[tuple[nn.Module, nn.Module]] = (
            (self.norm1, source.self_attn_layer_norm),
            (self.norm2, source.final_layer_norm),
            (self.query, attention.q_proj),
            (self.key, attention.k_proj),
            (self.value, attention.v_proj),
            (self.out, attention.out_proj),
        )
        for own, other in pairs:
            own.load_state_dict(other.state_dict())
        kept = _strongest(source, self.inner.out_features)
        with torch.no_grad():
            self.inner.weight.copy_(source.fc1.weight[kept])
            self.inner.bias.copy_(source.fc1.bias[kept])
            self.outer.weight.copy_(source.fc2.weight[:, kept])
            self.outer.bias.copy_(source.fc2.bias)


def _chunked(x: Tensor, chunk: int) -> Tensor:
    """(batch, heads, frames, n) to (batch, heads, chunks, chunk, n)."""
    return x.reshape(x.shape[0], x.shape[1], -1, chunk, x.shape[3])


def _strongest(layer: WhisperEncoderLayer, count: int) -> Tensor:
    """The feed-forward neurons with the largest mean square on normalised inputs times the norm of what they write."""
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(2000, layer.fc1.in_features, generator=generator)
        inputs = noise * layer.final_layer_norm.weight + layer.final_layer_norm.bias
        strength = F.gelu(layer.fc1(inputs)).square().mean(0) * layer.fc2.weight.square().sum(0)
    return strength.topk(count).indices.sort().values
