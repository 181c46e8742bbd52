"""Networks of each kind with attention, as files, and where their attentions' outputs are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_networks import countermeasure, nes2net
from transformers import WhisperConfig

from vivavoce_converters.networks.countermeasure import Countermeasure
from vivavoce_converters.networks.front_ends import WhisperFrontEnd
from vivavoce_converters.networks.layer_merging import Merge, MergeConfig
from vivavoce_converters.networks.perceptron import Perceptron, PerceptronConfig
from vivavoce_converters.networks.streaming import StreamingConfig, StreamingFrontEnd
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


def streaming() -> Countermeasure:
    encoder = StreamingFrontEnd(StreamingConfig(width=32, layers=1, heads=2, ffn=48))
    return Countermeasure(encoder, Perceptron(PerceptronConfig(2 * 32, 16)), Merge(MergeConfig("side-by-side", 2)))


NETWORKS: dict[str, Callable[[], Countermeasure]] = {
    "wav2vec 2.0": countermeasure,
    "whisper": lambda: Countermeasure(WhisperFrontEnd(WhisperConfig(**WHISPER)), nes2net(width=32, nest=(2, 2))),
    "streaming": streaming,
}


def exported(name: str, folders: pytest.TempPathFactory) -> Path:
    """A file with one of the networks, made once for all modules and processes of a run.

    It takes one window, which exports in a quarter of the time; that of a stream has to take further chunks besides.
    """
    base = folders.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    path = shared / f"{name}.onnx"
    if not path.exists():
        torch.manual_seed(0)
        made = folders.mktemp("models") / "float32.onnx"
        export_onnx(NETWORKS[name]().eval(), made, window=WINDOW, dynamic=name == "streaming")
        made.replace(path)  # Whole or not at all, should two processes make it.
    return path


def attended(graph: Graph) -> list[str]:
    """What the output projections of attention read."""
    return [
        one.input for one in products(graph, convolutions=False) if one.node.name.split("/")[0].endswith(("out", "out_proj"))
    ]
