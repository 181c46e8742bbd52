"""Networks of each kind with attention, as files, and where their attentions' outputs are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_once import made_once
from streaming_networks import converted
from tiny_networks import countermeasure, nes2net
from transformers import WhisperConfig

from vivavoce_converters.networks.countermeasure import Countermeasure
from vivavoce_converters.networks.front_ends import WhisperFrontEnd
from vivavoce_converters.onnx_graph.graph import Graph
from vivavoce_converters.quantization.plan.products import products
from vivavoce_converters.steps.export import export_onnx

WINDOW = 32_000
WHISPER: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "num_mel_bins": 80,
    "max_source_positions": 200,
}


WINDOWED: dict[str, Callable[[], Countermeasure]] = {
    "wav2vec 2.0": countermeasure,
    "whisper": lambda: Countermeasure(WhisperFrontEnd(WhisperConfig(**WHISPER)), nes2net(width=32, nest=(2, 2))),
}
NETWORKS = (*WINDOWED, "streaming")


def exported(name: str, folders: pytest.TempPathFactory) -> Path:
    """A file with one of the networks. It takes one window, which exports in a quarter of the time, or chunks of a stream."""
    if name not in WINDOWED:
        return converted("perceptron", folders).path / "float32.onnx"

    def make(path: Path) -> None:
        torch.manual_seed(0)
        export_onnx(WINDOWED[name]().eval(), path, window=WINDOW, dynamic=False)

    return made_once(f"{name}.onnx", make, folders)


def attended(graph: Graph) -> list[str]:
    """What the output projections of attention read."""
    return [
        one.input for one in products(graph, convolutions=False) if one.node.name.split("/")[0].endswith(("out", "out_proj"))
    ]
