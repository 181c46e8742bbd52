"""The whole network: a front-end, an optional merging of its hidden states, and a back-end that gives the score."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Wav2Vec2Config, WavLMConfig, WhisperConfig

from vivavoce.errors import ConfigurationError

from .frontends import Wav2Vec2FrontEnd, WhisperFrontEnd
from .nes2net import Nes2Net, Nes2NetConfig

__all__ = ["Countermeasure", "load_countermeasure", "save_countermeasure"]

FORMAT = "vivavoce-countermeasure/1"


class Countermeasure(nn.Module):
    """A spoofing countermeasure: samples (batch, n) at 16 kHz in [-1, 1] to one score each, higher = more bona fide.

    The score is the last logit: with two logits they are (spoof, bona fide) and the official code reports the second alone.
    """

    def __init__(self, front_end: nn.Module, back_end: nn.Module, merge: nn.Module | None = None) -> None:
        super().__init__()
        self.front_end = front_end
        self.merge = merge
        self.back_end = back_end

    def features(self, samples: Tensor) -> Tensor:
        """What the back-end reads, (batch, frames, width)."""
        if self.merge is None:
            return cast(Tensor, self.front_end(samples))
        return cast(Tensor, self.merge(self.front_end.states(samples)))

    def logits(self, samples: Tensor) -> Tensor:
        """(batch, 1) or (batch, 2)."""
        return cast(Tensor, self.back_end(self.features(samples).transpose(1, 2)))

    def forward(self, samples: Tensor) -> Tensor:
        """The score, (batch,)."""
        return self.logits(samples)[:, -1]


def save_countermeasure(model: Countermeasure, path: Path, *, provenance: Mapping[str, Any] | None = None) -> None:
    """Writes weights and shape to one safetensors file, under a temporary name first.

    `provenance` is any JSON object that says how the weights came to be; it is kept in the file's metadata.
    """
    front_end = model.front_end
    assert isinstance(front_end, Wav2Vec2FrontEnd | WhisperFrontEnd) and isinstance(model.back_end, Nes2Net)
    shape = {"front_end": _describe(front_end), "back_end": asdict(model.back_end.config)}
    metadata = {"format": FORMAT, "shape": json.dumps(shape), "provenance": json.dumps(dict(provenance or {}))}
    partial = path.with_name(path.name + ".part")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, partial, metadata=metadata)
    os.replace(partial, path)


def load_countermeasure(path: Path) -> tuple[Countermeasure, dict[str, Any]]:
    """The network in evaluation mode, and its provenance, from a file that `save_countermeasure` wrote.

    Raises ConfigurationError where the file is of another kind; tensors that do not fit the shape are an error of torch.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ConfigurationError(f"{path} is not a countermeasure of this library. Expected the format {FORMAT}.")
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    shape = json.loads(metadata["shape"])
    back_end = shape["back_end"] | {"nest": tuple(shape["back_end"]["nest"])}
    model = Countermeasure(_front_end(shape["front_end"]), Nes2Net(Nes2NetConfig(**back_end)))
    model.load_state_dict(state, strict=True)
    return model.eval(), json.loads(metadata["provenance"])


def _describe(front_end: Wav2Vec2FrontEnd | WhisperFrontEnd) -> dict[str, Any]:
    if isinstance(front_end, WhisperFrontEnd):
        return {"kind": "whisper", "config": front_end.encoder.config.to_diff_dict()}
    kind = "wavlm" if isinstance(front_end.model.config, WavLMConfig) else "wav2vec2"
    return {"kind": kind, "normalize": front_end.normalize, "config": front_end.model.config.to_diff_dict()}


def _front_end(shape: Mapping[str, Any]) -> nn.Module:
    if shape["kind"] == "whisper":
        return WhisperFrontEnd(WhisperConfig(**shape["config"]))
    config_type = WavLMConfig if shape["kind"] == "wavlm" else Wav2Vec2Config
    return Wav2Vec2FrontEnd.from_config(config_type(**shape["config"]), normalize=shape["normalize"])


def parameters(module: nn.Module) -> int:
    """How many trainable numbers a module holds."""
    return sum(p.numel() for p in module.parameters())


def multiply_accumulates(module: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates of the convolutions and linear layers in one forward pass, as the field counts them."""
    total = 0

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        weight = cast(Tensor, layer.weight)
        positions = output.numel() // weight.shape[0]
        total += positions * weight.numel()

    layers = (nn.Conv1d, nn.Conv2d, nn.Linear)
    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, layers)]
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return total
