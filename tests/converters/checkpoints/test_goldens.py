"""Every golden of the official networks: read from a checkpoint as they write it, and scored like the original."""

from __future__ import annotations

import copy
import json
import runpy
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from vivavoce_converters.checkpoints.load import Description, load_checkpoint
from vivavoce_converters.networks.aasist import Aasist
from vivavoce_converters.networks.countermeasure import Countermeasure
from vivavoce_converters.steps.export import export_onnx

VARIANTS = (
    "asv5_wavlm_nes2net_x__astp_d1",
    "asv5_wavlm_nes2net_x__mean_d1",
    "asv5_wavlm_nes2net_x__mean_d2",
    "svdd_nes2net__attm_mean_d1",
    "svdd_nes2net__sea_astp_d1",
    "svdd_nes2net__sea_astp_d2",
    "svdd_nes2net__sea_mean_d1",
    "svdd_nes2net__sea_mean_d2",
    "svdd_nes2net_x__attm_mean_d1",
    "svdd_nes2net_x__sea_astp_d1",
    "svdd_nes2net_x__sea_astp_d2",
    "svdd_nes2net_x__sea_mean_d1",
    "svdd_nes2net_x__sea_mean_d2",
    "svdd_nes2net_x__weightedsum_mean_d1",
    "svdd_nes2net_x_selu__sea_astp_d1",
    "svdd_nes2net_x_selu__sea_astp_d2",
    "svdd_nes2net_x_selu__sea_mean_d1",
    "svdd_nes2net_x_selu__sea_mean_d2",
    "svdd_nes2net_x_selu__weightedsum_mean_d1",
    "w2v2_aasist",
    "w2v2_nes2net_x__astp_d1",
    "w2v2_nes2net_x__mean_d1",
    "w2v2_nes2net_x__mean_d2",
)
# Together one of each front-end, head, pooling, dilation, activation and merging. They are always tried, on the shortest inputs
# and a batch; the rest, and the export of any, take minutes.
ALWAYS = (
    "asv5_wavlm_nes2net_x__astp_d1",
    "svdd_nes2net__attm_mean_d1",
    "svdd_nes2net_x__weightedsum_mean_d1",
    "svdd_nes2net_x_selu__sea_astp_d2",
    "w2v2_aasist",
    "w2v2_nes2net_x__mean_d1",
)
INPUTS = ("noise_1s", "speech_1s", "quiet_dc_1s", "noise_4s", "speech_4s", "noise_7s", "speech_7s", "batch2_4s")
SHORTEST = ("speech_1s", "quiet_dc_1s", "batch2_4s")
FAMILIES = {"w2v2": "asvspoof2021", "asv5": "asvspoof5", "svdd": "ctrsvdd"}
TOLERANCE = 2e-5


@dataclass(frozen=True)
class Golden:
    """A golden, the network that was read from its checkpoint, and what it gives for each input tried: states to logits."""

    name: str
    data: dict[str, Any]
    model: Countermeasure
    description: Description
    inputs: dict[str, Tensor]
    outputs: dict[str, Any]
    states: dict[str, list[Tensor]]
    features: dict[str, Tensor]

    def logits(self, key: str) -> Tensor:
        with torch.no_grad():
            return self.model.back_end(self.features[key].transpose(1, 2))


@pytest.fixture(scope="module")
def synth(shared: Path) -> SimpleNamespace:
    """The script that re-creates the weights and the inputs."""
    return SimpleNamespace(**runpy.run_path(str(shared / "goldens" / "synth.py")))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def load(name: str, folder: Path, synth: SimpleNamespace, scratch: Path, keys: Collection[str]) -> Golden:
    data = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    path = scratch / "checkpoint.pth"
    torch.save({key: torch.from_numpy(value) for key, value in synth.make_state(data["state_dict"]).items()}, path)
    nes2net = {"dilation": data["official"]["args"]["dilation"], "activation": "selu" if "selu" in name else "relu"}
    model, description = load_checkpoint(path, **({} if name == "w2v2_aasist" else nes2net))
    path.unlink()
    inputs = {key: torch.from_numpy(value) for key, value in synth.inputs().items()}
    outputs = {key: output for key, output in data["outputs"].items() if key in keys}
    with torch.no_grad():
        states = {key: model.front_end.states(inputs[key]) for key in outputs}
        features = {key: model.merge(s) if model.merge else s[-1] for key, s in states.items()}
    return Golden(name, data, model, description, inputs, outputs, states, features)


@pytest.fixture(
    scope="module",
    params=[
        *(pytest.param((name, SHORTEST), id=name) for name in ALWAYS),
        *(pytest.param((name, INPUTS), id=f"{name}, every input", marks=pytest.mark.slow) for name in VARIANTS),
    ],
)
def golden(
    request: pytest.FixtureRequest, shared: Path, synth: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> Golden:
    name, keys = request.param
    return load(name, shared / "goldens", synth, tmp_path_factory.mktemp("golden"), keys)


def difference(found: Tensor, expected: Any) -> float:
    """The largest difference, relative to the largest expected value where that is above 1."""
    wanted = torch.tensor(expected, dtype=found.dtype)
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1))


def frames_difference(found: Tensor, expected: dict[str, Any]) -> float:
    """The same for frames (frames, channels): the stored ones by their first channels, the whole by its statistics."""
    assert list(found.shape) == expected["shape"]
    scale = max(1.0, abs(expected["min"]), abs(expected["max"]))
    largest = max(abs(float(getattr(found, name)()) - expected[name]) for name in ("mean", "std", "min", "max"))
    for index, channels in expected["frames"].items():
        largest = max(largest, float((found[int(index), : len(channels)] - torch.tensor(channels)).abs().max()))
    return largest / scale


def test_every_golden_is_here(shared: Path) -> None:
    assert {path.stem for path in (shared / "goldens").glob("*.json")} == set(VARIANTS)


def test_is_recognised(golden: Golden) -> None:
    data, description = golden.data, golden.description
    assert set(data["outputs"]) == set(golden.inputs) == set(INPUTS)
    assert description.family == FAMILIES[golden.name.split("_")[0]]
    assert description.layers == description.layers_stored == data["trunk"]["config"]["encoder_layers"]
    assert description.score == data["score"]["score"]
    assert description.normalization == ("layer" if data["trunk"]["kind"] == "s3prl" else "none")
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    dropped = {key: size for key, size in description.dropped.items() if not key.endswith(buffers)}
    assert description.parameters + sum(dropped.values()) == data["n_params_total"]
    in_back_end = sum(size for key, size in dropped.items() if not key.startswith("ssl_model."))
    assert description.back_end_parameters + in_back_end == data["n_params_backend"]


def test_logits(golden: Golden) -> None:
    worst = max(difference(golden.logits(key), output["logits"]) for key, output in golden.outputs.items())
    assert worst < TOLERANCE


def test_whole_network_is_its_parts(golden: Golden) -> None:
    with torch.no_grad():
        score = golden.model(golden.inputs["speech_1s"])
    assert score.shape == (1,)
    assert difference(score, golden.data["outputs"]["speech_1s"]["score"]) < TOLERANCE


def test_frames_of_the_encoder(golden: Golden) -> None:
    for key, output in golden.outputs.items():
        for found, expected in zip(golden.features[key], output["ssl"], strict=True):
            assert frames_difference(found, expected) < TOLERANCE, key


def test_every_hidden_state_that_is_merged(golden: Golden) -> None:
    for key, output in golden.outputs.items():
        assert ("hidden_states" in output) == (golden.model.merge is not None)
        for row, expected_states in enumerate(output.get("hidden_states", [])):
            for state, expected in zip(golden.states[key], expected_states, strict=True):
                for frame, values in ((0, expected["t0"]), (-1, expected["tlast"])):
                    assert difference(state[row, frame, : len(values)], values) < TOLERANCE, key
                assert float(state[row].std()) == pytest.approx(expected["std"], rel=1e-4)


def test_back_end_alone(golden: Golden, synth: SimpleNamespace) -> None:
    features, expected = torch.from_numpy(synth.backend_features()), golden.data["backend_only"]
    back_end, before_pooling = golden.model.back_end, []
    observed = back_end.norm_out if isinstance(back_end, Aasist) else back_end.activation
    hook = observed.register_forward_hook(lambda *call: before_pooling.append(call[2].flatten(1, -2)))
    with torch.no_grad():
        assert difference(back_end(features), expected["logits"]) < TOLERANCE
    hook.remove()
    with torch.no_grad():
        embedding = back_end.embed(features)
    assert difference(embedding[:, :8], expected["embedding_first8"]) < TOLERANCE
    assert difference(embedding.norm(dim=1), expected["embedding_norm"]) < TOLERANCE
    for found, stored in zip(before_pooling[-1], expected["pre_pool"], strict=True):
        assert frames_difference(found.T, stored) < TOLERANCE


def test_double_precision_agrees_to_nine_digits(golden: Golden) -> None:
    model = copy.deepcopy(golden.model).double()
    for key in [key for key in golden.outputs if key.endswith("_1s")]:
        with torch.no_grad():
            logits = model.logits(golden.inputs[key].double())
        assert difference(logits, golden.data["logits_float64"][key]) < 1e-8


def test_the_demo_tiles_or_cuts_a_clip_to_its_window(golden: Golden) -> None:
    printed = golden.data.get("easy_inference_demo_printed_score")
    assert (printed is None) == (golden.description.family == "asvspoof5")
    for clip in golden.outputs.keys() & {"speech_1s", "speech_7s"} if printed else ():
        window = np.resize(golden.inputs[clip][0].numpy(), (1, 64_000))
        with torch.no_grad():
            score = golden.model(torch.from_numpy(window))
        assert difference(score, [printed[f"{clip}/4s"]]) < TOLERANCE


@pytest.mark.slow
def test_onnx_scores_like_the_original(golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    export_onnx(golden.model, path, window=64_600, lengths=(16_000,))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for key, output in golden.outputs.items():
        (scores,) = session.run(["score"], {"samples": golden.inputs[key].numpy()})
        assert difference(torch.from_numpy(scores), output["score"]) < 1e-4, key


def _without_weight_norm(model: Countermeasure) -> None:
    norm = model.front_end.model.encoder.pos_conv_embed.conv.parametrizations.weight
    norm.original0.copy_(norm.original1.norm(dim=(0, 1), keepdim=True))


def _swapped_layer_norms(model: Countermeasure) -> None:
    layer = model.front_end.model.encoder.layers[0]
    layer.layer_norm, layer.final_layer_norm = layer.final_layer_norm, layer.layer_norm


def _swapped_key_and_value(model: Countermeasure) -> None:
    attention = model.front_end.model.encoder.layers[0].attention
    attention.k_proj, attention.v_proj = attention.v_proj, attention.k_proj


def _other_normalization(model: Countermeasure) -> None:
    model.front_end.normalize = not model.front_end.normalize


def _last_state_before_the_norm(model: Countermeasure) -> None:
    model.front_end.model.encoder.layer_norm = torch.nn.Identity()


def _state_as_slowest_index(model: Countermeasure) -> None:
    projection = model.merge.rule.projection
    weight = projection.weight.unflatten(1, (model.front_end.width, -1))
    projection.weight.copy_(weight.transpose(1, 2).flatten(1))


MISTAKES: dict[str, tuple[Callable[[Countermeasure], None], ...]] = {
    "w2v2_nes2net_x__mean_d1": (
        _without_weight_norm,
        _swapped_layer_norms,
        _swapped_key_and_value,
        _other_normalization,
        _last_state_before_the_norm,
    ),
    "svdd_nes2net__attm_mean_d1": (
        _other_normalization,
        _last_state_before_the_norm,
        _state_as_slowest_index,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("golden", [(name, ("quiet_dc_1s",)) for name in MISTAKES], indirect=True, ids=MISTAKES)
def test_porting_mistakes_are_seen(golden: Golden, synth: SimpleNamespace) -> None:
    for make in MISTAKES[golden.name]:
        model = copy.deepcopy(golden.model)
        with torch.no_grad():
            make(model)
            logits = model.logits(golden.inputs["quiet_dc_1s"])
        assert difference(logits, golden.data["outputs"]["quiet_dc_1s"]["logits"]) > 20 * TOLERANCE, make.__name__
    back_end = copy.deepcopy(golden.model.back_end)
    for block in back_end.blocks:
        for conv in block.nest.convs:
            conv.dilation, conv.padding = (2, *conv.dilation[1:]), (2, *conv.padding[1:])
    with torch.no_grad():
        frames = back_end.frames(torch.from_numpy(synth.backend_features()))
    assert frames_difference(frames[0].T, golden.data["backend_only"]["pre_pool"][0]) > 20 * TOLERANCE
