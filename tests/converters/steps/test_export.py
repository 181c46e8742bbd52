"""Exported files: they score like torch at any length and batch, say nothing of the machine, and appear whole or not at all."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_networks import countermeasure, noise
from torch import Tensor, nn

from vivavoce_converters.networks.countermeasure import Countermeasure
from vivavoce_converters.steps import export
from vivavoce_converters.steps.export import ExportError, ExportReport, export_onnx

WINDOW = 8_000


@dataclass(frozen=True)
class Exported:
    model: Countermeasure
    before: dict[str, Tensor]
    report: ExportReport
    path: Path

    def differences(self, *shapes: tuple[int, int]) -> list[float]:
        """|ONNX Runtime - torch| / max(1, |torch|) on noise of these (batch, samples)."""
        session = onnxruntime.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])
        found = []
        for shape in shapes:
            samples = noise(*shape, seed=shape[1])
            with torch.no_grad():
                expected = copy.deepcopy(self.model).eval()(samples).numpy()
            (scores,) = session.run(["score"], {"samples": samples.numpy()})
            assert scores.shape == expected.shape
            found.append(float(np.max(np.abs(scores - expected) / np.maximum(1, np.abs(expected)))))
        return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A model that was left in training mode, as a training loop may leave it."""
    model = countermeasure(nest=(2, 4)).train()
    before = copy.deepcopy(model.state_dict())
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    return Exported(model, before, export_onnx(model, path, window=WINDOW), path)


def test_scores_like_torch_at_lengths_and_batches_it_was_not_tried_on(exported: Exported) -> None:
    assert max(exported.differences((1, 400), (2, 719), (5, 4_321), (1, 40_000))) < 1e-5


def test_the_report_says_what_was_tried(exported: Exported) -> None:
    report = exported.report
    assert (report.lengths, report.batches) == ((8_000, 4_001, 10_000), (1, 3))
    assert 0 <= report.difference < 1e-5
    assert (report.opset, report.ir_version, report.files) == (20, 10, (exported.path,))
    assert report.producer == f"pytorch {torch.__version__}"
    assert list(exported.path.parent.iterdir()) == [exported.path]


def test_interface(exported: Exported) -> None:
    session = onnxruntime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [("samples", "tensor(float)", ["batch", "samples"])]
    assert [(o.name, o.type, o.shape) for o in session.get_outputs()] == [("score", "tensor(float)", ["batch"])]


def test_an_old_runtime_can_read_it(exported: Exported) -> None:
    """ONNX Runtime 1.18 reads IR version 10 and opset 21, in the standard domain and its own."""
    model = onnx.load(exported.path)
    assert model.ir_version <= 10
    assert [(domain.domain, domain.version) for domain in model.opset_import] == [("", 20)]
    assert not model.functions


def test_norms_and_activations_stay_one_node(exported: Exported) -> None:
    nodes = Counter(node.op_type for node in onnx.load(exported.path).graph.node)
    modules = Counter(type(module) for module in exported.model.modules())
    assert nodes["LayerNormalization"] == modules[nn.LayerNorm]
    assert nodes["BatchNormalization"] == modules[nn.BatchNorm1d] + modules[nn.BatchNorm2d]
    layers = exported.model.front_end.depth
    assert nodes["Gelu"] == 7 + 1 + layers  # the stem, the positions and the feed-forwards
    assert nodes["Softmax"] == layers


def test_nothing_is_left_of_training_masks_and_weight_norm(exported: Exported) -> None:
    graph = onnx.load(exported.path).graph
    unwanted = {"Dropout", "Cast", "Where", "Expand", "Range", "ReduceL2", "Identity", "If"}
    assert not unwanted & {node.op_type for node in graph.node}
    weights = [tensor for tensor in graph.initializer if list(tensor.dims) == [64, 16, 16]]
    assert len(weights) == 1  # the positional convolution, 64 channels in 4 groups over 16 frames


def test_the_file_says_nothing_of_the_machine(exported: Exported) -> None:
    content = exported.path.read_bytes()
    assert str(Path(export.__file__).parent).encode() not in content
    assert b".py" not in content
    assert b"stack_trace" not in content


def test_the_callers_model_is_left_as_it_was(exported: Exported) -> None:
    after = exported.model.state_dict()
    assert exported.model.training
    assert after.keys() == exported.before.keys()
    assert all(torch.equal(after[key], exported.before[key]) for key in after)
    with torch.no_grad():
        assert exported.model(noise(2, 2_000)).isfinite().all()


@pytest.mark.slow
def test_wavlm_merged_and_aasist(tmp_path: Path) -> None:
    """The dynamic parts of the other networks: gated relative positions, a merge, a choice of graph nodes."""
    path = tmp_path / "model.onnx"
    model = countermeasure(wavlm=True, normalize=True, merge="sea", aasist=True)
    report = export_onnx(model, path, window=WINDOW)
    assert max(Exported(model, {}, report, path).differences((1, 1_040), (2, 5_000), (1, 32_000))) < 1e-4


class Unsteady(Countermeasure):
    """A network that no file can score like."""

    def forward(self, samples: Tensor) -> Tensor:
        return super().forward(samples) + torch.rand(samples.shape[0])


def test_a_file_that_scores_otherwise_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the one before")
    steady = countermeasure(kind="nes2net", nest=(2, 2))
    with pytest.raises(ExportError, match=r"differs from the original by \d\.\de[+-]\d\d"):
        export_onnx(Unsteady(steady.front_end, steady.back_end), path, window=2_000, dynamic=False)
    assert path.read_bytes() == b"the one before"
    assert list(tmp_path.iterdir()) == [path]


class Undecided(Countermeasure):
    """A network whose operators depend on what it hears."""

    def forward(self, samples: Tensor) -> Tensor:
        return super().forward(samples if samples.sum() > 0 else -samples)


def test_a_network_that_torch_cannot_trace_is_an_error_of_ours(tmp_path: Path) -> None:
    one = countermeasure(kind="nes2net", nest=(2, 2))
    with pytest.raises(ExportError, match="torch could not export"):
        export_onnx(Undecided(one.front_end, one.back_end), tmp_path / "model.onnx", window=2_000, dynamic=False)
    assert not list(tmp_path.iterdir())


def test_a_length_that_the_network_cannot_take_is_told_before_anything_is_traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.onnx, "export", None)
    with pytest.raises(ExportError, match="cannot score 100 samples"):
        export_onnx(countermeasure(kind="nes2net", nest=(2, 2)), tmp_path / "model.onnx", window=2_000, lengths=(100,))
    assert not list(tmp_path.iterdir())


def test_a_fixed_file_takes_its_window_alone_and_large_weights_stand_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "INLINE_BYTES", 0)
    path = tmp_path / "model.onnx"
    model = countermeasure(kind="nes2net", nest=(2, 2))
    report = export_onnx(model, path, window=2_000, dynamic=False)
    assert (report.lengths, report.batches, report.opset) == ((2_000,), (1,), 20)
    assert report.files == (path, tmp_path / "model.onnx.data")
    assert set(tmp_path.iterdir()) == set(report.files)
    assert path.stat().st_size < report.files[1].stat().st_size
    assert onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_inputs()[0].shape == [1, 2_000]
    assert Exported(model, {}, report, path).differences((1, 2_000))[0] < 1e-5
