"""The whole network: a front-end, an optional merging of its hidden states, and a back-end that gives the score."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Wav2Vec2Config, WavLMConfig, WhisperConfig

from vivavoce.errors import ConfigurationError
from vivavoce.files import placing

from .aasist import Aasist, AasistConfig
from .front_ends import Wav2Vec2FrontEnd, WhisperFrontEnd
from .layer_merging import Merge, MergeConfig
from .nes2net import Nes2Net, Nes2NetConfig
from .perceptron import Perceptron, PerceptronConfig
from .streaming import StreamingConfig, StreamingFrontEnd

__all__ = [
    "FORMAT",
    "AnyFrontEnd",
    "BackEnd",
    "Countermeasure",
    "load_countermeasure",
    "load_strictly",
    "parameters",
    "save_countermeasure",
]

FORMAT = "vivavoce-countermeasure/1"
AnyFrontEnd = Wav2Vec2FrontEnd | WhisperFrontEnd | StreamingFrontEnd
BackEnd = Nes2Net | Aasist | Perceptron


class Countermeasure(nn.Module):
    """A spoofing countermeasure: samples (batch, n) at 16 kHz in [-1, 1] to one score each, higher = more bona fide.

    The score is the last logit: with two logits they are (spoof, bona fide) and the official code reports the second alone.
    Raises ConfigurationError for a back-end of more logits.
    """

    def __init__(self, front_end: AnyFrontEnd, back_end: BackEnd, merge: Merge | None = None) -> None:
        super().__init__()
        if back_end.config.logits not in (1, 2):
            raise ConfigurationError(f"{back_end.config.logits} logits are no countermeasure's. Choose a back-end of 1 or 2.")
        self.front_end = front_end
        self.merge = merge
        self.back_end = back_end

    def read(self, states: Sequence[Tensor]) -> Tensor:
        """What the back-end reads of each frame, (batch, frames, n)."""
        return states[-1] if self.merge is None else cast(Tensor, self.merge(states))

    def judge(self, frames: Tensor) -> Tensor:
        """(batch, 1) or (batch, 2) from what `read` gives."""
        return cast(Tensor, self.back_end(frames.transpose(1, 2)))

    def features(self, samples: Tensor) -> Tensor:
        """What the back-end reads of each frame of `samples`, as `read` gives it."""
        return self.read(self.front_end.states(samples))

    def logits(self, samples: Tensor) -> Tensor:
        """(batch, 1) or (batch, 2)."""
        return self.judge(self.features(samples))

    def forward(self, samples: Tensor) -> Tensor:
        """The score, (batch,)."""
        return self.logits(samples)[:, -1]

    def truncate(self, layers: int) -> None:
        """Cuts the encoder to its first `layers` layers; its final norm stays as the norm of the new output.

        Raises ConfigurationError where there are fewer layers, or the merging cannot be cut.
        """
        if layers == self.front_end.depth:
            return
        if isinstance(self.front_end, StreamingFrontEnd):
            raise ConfigurationError("A distilled student has been fitted to all of its layers. Distil a smaller one.")
        if self.merge is not None and 1 <= layers < self.front_end.depth:
            self.merge.truncate(layers)
        self.front_end.truncate(layers)


def save_countermeasure(model: Countermeasure, path: Path, *, provenance: Mapping[str, Any] | None = None) -> None:
    """Writes weights and shape to one safetensors file, under a temporary name first.

    `provenance` is any JSON object that says how the weights came to be; it is kept in the file's metadata.
    """
    metadata = {"format": FORMAT, "shape": json.dumps(_describe(model)), "provenance": json.dumps(dict(provenance or {}))}
    with placing(path) as partial:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, partial, metadata=metadata)


def load_countermeasure(path: Path) -> tuple[Countermeasure, dict[str, Any]]:
    """The network in evaluation mode, and its provenance, from a file that `save_countermeasure` wrote.

    Raises ConfigurationError where the file is of another kind, or its tensors do not fit its shape.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ConfigurationError(f"{path} is not a countermeasure of this library. Expected the format {FORMAT}.")
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    try:
        model, provenance = _build(json.loads(metadata["shape"])), json.loads(metadata["provenance"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"The shape in {path} cannot be built. Get the file again. The cause: {error!r}") from error
    load_strictly(model, state, path)
    return model.eval(), provenance


def load_strictly(
    model: nn.Module, state: Mapping[str, Tensor], source: Path, name: Callable[[str], str] = lambda key: key
) -> None:
    """Copies every tensor of `state` into the model, whose key k is called `name(k)` there.

    Raises ConfigurationError, naming the tensors, where one is missing, left over, of another shape or not finite; the
    model is then unchanged.
    """
    expected = {name(key): tensor for key, tensor in model.state_dict().items()}
    common = expected.keys() & state.keys()
    shapes = {key: (tuple(state[key].shape), tuple(expected[key].shape)) for key in common}
    faults = {
        "missing": sorted(expected.keys() - state.keys()),
        "not of this network": sorted(state.keys() - expected.keys()),
        "of another shape": sorted(f"{key} {a} for {b}" for key, (a, b) in shapes.items() if a != b),
        "not finite": sorted(key for key in common if not state[key].isfinite().all()),
    }
    listed = [f"{len(keys)} {fault} ({_first(keys)})" for fault, keys in faults.items() if keys]
    if listed:
        raise ConfigurationError(
            f"{source} does not hold the network that it seems to hold. Tensors: {'; '.join(listed)}. "
            f"Give the complete checkpoint, with the options that it was trained with."
        )
    with torch.no_grad():
        for key, tensor in expected.items():
            tensor.copy_(state[key])


def _first(keys: Sequence[str], count: int = 4) -> str:
    return ", ".join(keys[:count]) + (", …" if len(keys) > count else "")


def _describe(model: Countermeasure) -> dict[str, Any]:
    """The shape of the network as a JSON object, from which `_build` makes it again."""
    front_end, back_end = model.front_end, model.back_end
    encoder: dict[str, Any]
    if isinstance(front_end, StreamingFrontEnd):
        encoder = {"kind": "streaming", "config": asdict(front_end.config)}
    elif isinstance(front_end, WhisperFrontEnd):
        encoder = {"kind": "whisper", "config": front_end.encoder.config.to_diff_dict()}
    else:
        config = front_end.model.config
        kind = "wavlm" if isinstance(config, WavLMConfig) else "wav2vec2"
        encoder = {"kind": kind, "normalize": front_end.normalize, "config": config.to_diff_dict()}
    head = asdict(back_end.config)
    if not isinstance(back_end, Nes2Net):
        head["kind"] = "aasist" if isinstance(back_end, Aasist) else "perceptron"
    merge = asdict(model.merge.config) if model.merge else None
    return {"front_end": encoder, "merge": merge, "back_end": head}


def _build(shape: Mapping[str, Any]) -> Countermeasure:
    encoder, head, merge = shape["front_end"], dict(shape["back_end"]), shape.get("merge")
    front_end: AnyFrontEnd
    if encoder["kind"] == "streaming":
        front_end = StreamingFrontEnd(StreamingConfig(**encoder["config"]))
    elif encoder["kind"] == "whisper":
        front_end = WhisperFrontEnd(WhisperConfig(**encoder["config"]))
    else:
        config = (WavLMConfig if encoder["kind"] == "wavlm" else Wav2Vec2Config)(**encoder["config"])
        front_end = Wav2Vec2FrontEnd.from_config(config, normalize=encoder["normalize"])
    return Countermeasure(front_end, _back_end(head), Merge(MergeConfig(**merge)) if merge else None)


def _back_end(shape: dict[str, Any]) -> BackEnd:
    if shape["kind"] == "perceptron":
        return Perceptron(PerceptronConfig(shape["width"], shape["hidden"]))
    if shape["kind"] == "aasist":
        return Aasist(AasistConfig(width=shape["width"], logits=shape["logits"]))
    return Nes2Net(Nes2NetConfig(**shape | {"nest": tuple(shape["nest"])}))


def parameters(module: nn.Module) -> int:
    """How many trainable numbers a module holds."""
    return sum(p.numel() for p in module.parameters())
