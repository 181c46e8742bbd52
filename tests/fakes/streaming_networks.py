"""A small network for streams with each back-end, and the bundle that it converts to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_once import made_once

from vivavoce.bundle import Bundle
from vivavoce_converters.networks.countermeasure import Countermeasure, save_countermeasure
from vivavoce_converters.networks.layer_merging import Merge, MergeConfig
from vivavoce_converters.networks.nes2net import Nes2Net, Nes2NetConfig
from vivavoce_converters.networks.perceptron import Perceptron, PerceptronConfig
from vivavoce_converters.networks.streaming import StreamingConfig, StreamingFrontEnd
from vivavoce_converters.steps.convert import convert

CONFIG = StreamingConfig(width=32, layers=2, heads=2, ffn=48, mels=20, chunk=5, chunks_back=2)


def model(back_end: str = "perceptron") -> Countermeasure:
    """Two layers before a perceptron, one before a Nes2Net: each is a quarter of the time that an export takes."""
    torch.manual_seed(0)
    front_end = StreamingFrontEnd(CONFIG if back_end == "perceptron" else replace(CONFIG, layers=1))
    for layer in front_end.layers:
        torch.nn.init.normal_(layer.distances)
    states = front_end.depth + 1
    if back_end == "nes2net":
        head, merge = Nes2Net(Nes2NetConfig(width=CONFIG.width, nest=(2, 2))), MergeConfig("weighted-sum", states)
        torch.nn.init.normal_(head.head.weight, std=5.0)
        return Countermeasure(front_end, head, Merge(merge)).eval()
    perceptron = Perceptron(PerceptronConfig(states * CONFIG.width, 8))
    torch.nn.init.normal_(perceptron.inner.weight, std=0.3)
    return Countermeasure(front_end, perceptron, Merge(MergeConfig("side-by-side", states))).eval()


def converted(back_end: str, folders: pytest.TempPathFactory) -> Bundle:
    """The network's bundle, with the checkpoint that it was made from beside it as student.safetensors."""

    def make(folder: Path) -> None:
        folder.mkdir()
        save_countermeasure(model(back_end), folder / "student.safetensors")
        convert(folder / "student.safetensors", folder / "bundle")

    return Bundle(made_once(f"streaming {back_end}", make, folders) / "bundle")
