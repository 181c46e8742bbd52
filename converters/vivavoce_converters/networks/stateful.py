"""A countermeasure on a streaming front-end in the form that is exported: it takes the past and gives the past that follows."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from vivavoce.bundle import Carry

from .countermeasure import Countermeasure
from .perceptron import Perceptron
from .streaming import FRAME, Past, StreamingFrontEnd

__all__ = ["StatefulCountermeasure", "carry"]


class StatefulCountermeasure(Countermeasure):
    """Scores the window of `window` samples that ends with the samples given, (batch, n) of whole chunks.

    The pasts are of a batch of one, and begin as `fresh` gives them; with those, n is one window at least.
    """

    def __init__(self, model: Countermeasure, window: int) -> None:
        super().__init__(model.front_end, model.back_end, model.merge)
        chunk = self.streaming.config.chunk
        # A mean over the window is the mean of its chunks' means, which are a fraction of the frames.
        self.pooled = chunk if isinstance(model.back_end, Perceptron) else 1
        self.frames, self.past = window // FRAME // self.pooled, (window // FRAME - chunk) // self.pooled
        self.eval()

    @property
    def streaming(self) -> StreamingFrontEnd:
        return cast(StreamingFrontEnd, self.front_end)

    def fresh(self) -> dict[str, Tensor]:
        """The past of a beginning by its inputs' names."""
        past = self.streaming.fresh()
        frames = torch.zeros(1, self.past, self.back_end.config.width)
        fresh = {"past_samples": past.samples, "past_heard": past.heard, "past_frames": frames}
        for name, caches in {"keys": past.keys, "values": past.values}.items():
            # One frame stands for all that was not heard; zeros for each of them would be a tenth of a small model's file.
            fresh |= {f"past_{name}_{layer}": cache[:, :, -1:] for layer, cache in enumerate(caches)}
        return fresh

    def forward(  # type: ignore[override]
        self, samples: Tensor, past_samples: Tensor, past_heard: Tensor, past_frames: Tensor, *caches: Tensor
    ) -> tuple[Tensor, ...]:
        depth, unheard = len(caches) // 2, past_heard.shape[1] - caches[0].shape[2]

        def each(past: Tensor) -> Tensor:
            return past.expand(samples.shape[0], *past.shape[1:])

        known = [each(F.pad(cache, (0, 0, unheard, 0))) for cache in caches]
        given = Past(each(past_samples), each(past_heard), tuple(known[:depth]), tuple(known[depth:]))
        states, past = self.streaming.advance(samples, given)
        read = self.read(states)
        if self.pooled > 1:
            read = read.reshape(samples.shape[0], -1, self.pooled, read.shape[2]).mean(dim=2)
        frames = torch.cat([each(past_frames), read], dim=1)
        score = self.judge(frames[:, -self.frames :])[:, -1]
        return score, past.samples, past.heard, frames[:, -past_frames.shape[1] :], *past.keys, *past.values


def carry(model: Countermeasure) -> Carry | None:
    """How the model's exported form goes on from what it has computed; None where it scores whole windows only."""
    if not isinstance(model.front_end, StreamingFrontEnd):
        return None
    config = model.front_end.config
    chunk = config.chunk * FRAME
    # Each layer reaches some chunks back, and the first of them reads a few samples of the chunk before it.
    return Carry(chunk=chunk, context=(config.layers * config.chunks_back + 1) * chunk)
