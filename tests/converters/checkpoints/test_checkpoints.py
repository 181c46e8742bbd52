"""Checkpoints: each official family is recognised and read; anything else is one clear error, and nothing is executed."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tiny_networks import LAYERS, WIDTH, countermeasure, nes2net, noise
from torch import Tensor
from transformers import WhisperConfig

from vivavoce.errors import ConfigurationError
from vivavoce_converters.checkpoints import CheckpointError, load_checkpoint
from vivavoce_converters.checkpoints.official import ASVSPOOF_5, ASVSPOOF_2021, CTRSVDD, Family, defaults, official_name
from vivavoce_converters.networks.countermeasure import Countermeasure, load_countermeasure, parameters, save_countermeasure
from vivavoce_converters.networks.front_ends import WhisperFrontEnd

State = dict[str, Tensor]
# What each official code builds, at toy size; the dilation is the one that it trains with.
OFFICIAL: dict[str, tuple[Family, dict[str, Any]]] = {
    "XLS-R, Nes2Net-X": (ASVSPOOF_2021, {"dilation": 2, "logits": 2}),
    "XLS-R, Nes2Net-X, ASTP": (ASVSPOOF_2021, {"dilation": 2, "logits": 2, "pooling": "astp"}),
    "XLS-R, AASIST": (ASVSPOOF_2021, {"aasist": True}),
    "WavLM, Nes2Net-X": (ASVSPOOF_5, {"wavlm": True, "logits": 2}),
    "s3prl, SEA, Nes2Net": (CTRSVDD, {"wavlm": True, "normalize": True, "merge": "sea", "kind": "nes2net"}),
    "s3prl, weighted sum, Nes2Net-X": (CTRSVDD, {"wavlm": True, "normalize": True, "merge": "weighted-sum"}),
    "s3prl, AttM, Nes2Net-X": (CTRSVDD, {"wavlm": True, "normalize": True, "merge": "attm", "se_ratio": 2}),
}
XLSR = "XLS-R, Nes2Net-X"


def official_state(name: str) -> tuple[State, Countermeasure, Family]:
    """A state dict in official names, and the network that it is of."""
    family, shape = OFFICIAL[name]
    model = countermeasure(**shape)
    state = {official_name(key, model, family): tensor.clone() for key, tensor in model.state_dict().items()}
    assert len(state) == len(model.state_dict())
    return state, model, family


def score(model: Countermeasure) -> Tensor:
    with torch.no_grad():
        return model(noise(2, 6_000))


@pytest.fixture
def xlsr(tmp_path: Path) -> tuple[Path, State]:
    """The path to write to, and a good state dict to spoil."""
    return tmp_path / "checkpoint.pth", official_state(XLSR)[0]


@pytest.mark.parametrize("name", OFFICIAL)
def test_each_family_is_recognised_and_scores_the_same(name: str, tmp_path: Path) -> None:
    state, expected, family = official_state(name)
    torch.save(state, tmp_path / "checkpoint.pth")
    model, description = load_checkpoint(tmp_path / "checkpoint.pth")
    assert torch.equal(score(model), score(expected))
    assert not model.training
    assert (description.family, description.window) == (family.name, family.window)
    assert description.normalization == ("layer" if family is CTRSVDD else "none")
    assert description.score == f"logits[:, {expected.back_end.config.logits - 1}]"
    assert description.merge == OFFICIAL[name][1].get("merge")
    assert (description.layers, description.layers_stored) == (LAYERS, LAYERS)
    assert description.parameters == parameters(expected)
    assert description.back_end.startswith("AASIST" if "AASIST" in name else "Nes2Net")
    assert description.assumed["normalize"] == (family is CTRSVDD)


def test_the_facts_that_no_tensor_tells_are_options(xlsr: tuple[Path, State]) -> None:
    path, state = xlsr
    torch.save(state, path)
    assert load_checkpoint(path)[1].assumed == {"normalize": False, "heads": 1, "dilation": 2, "activation": "relu"}
    options = {"normalize": True, "heads": 4, "dilation": 1, "activation": "selu"}
    model, description = load_checkpoint(path, **options)
    assert description.assumed == options
    assert description.back_end == "Nes2Net-X-SELU"
    assert description.normalization == "layer"
    shape = {"dilation": 1, "logits": 2, "activation": "selu", "normalize": True}
    expected = countermeasure(**shape)
    expected.front_end.model.config.num_attention_heads = 4
    for layer in expected.front_end.model.encoder.layers:
        layer.attention.num_heads, layer.attention.head_dim, layer.attention.scaling = 4, WIDTH // 4, (WIDTH // 4) ** -0.5
    assert torch.equal(score(model), score(expected))


def test_an_option_that_the_network_has_no_use_for_is_refused(tmp_path: Path) -> None:
    for name, options in (
        ("XLS-R, AASIST", {"dilation": 1}),
        (XLSR, {"max_distance": 400}),
        ("WavLM, Nes2Net-X", {"heads": 2}),
    ):
        torch.save(official_state(name)[0], tmp_path / "checkpoint.pth")
        with pytest.raises(CheckpointError, match=f"without {next(iter(options))}. Its options: normalize, "):
            load_checkpoint(tmp_path / "checkpoint.pth", **options)


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        (XLSR, {"heads": 3}, f"A width of {WIDTH} cannot have 3 heads"),
        (XLSR, {"dilation": 0}, "A dilation of 0"),
        (XLSR, {"activation": "gelu"}, "Choose one of: relu, selu"),
        ("WavLM, Nes2Net-X", {"max_distance": 8}, "Choose more than 8; WavLM has 800"),
    ],
)
def test_an_option_that_cannot_be_is_refused(name: str, option: dict[str, Any], message: str, tmp_path: Path) -> None:
    torch.save(official_state(name)[0], tmp_path / "checkpoint.pth")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "checkpoint.pth", **option)


def _before(prefix: str, state: State) -> State:
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


WRAPPINGS: dict[str, Callable[[State], Any]] = {
    "DataParallel": lambda state: {f"module.{key}": tensor for key, tensor in state.items()},
    "resume file": lambda state: {
        "epoch": 3,
        "model_state_dict": state,
        "optimizer_state_dict": {"param_groups": [{"lr": 1e-6}]},
    },
    "Lightning": lambda state: {"state_dict": state, "callbacks": {}, "hparams": {"seed": 1}},
    "fairseq": lambda state: {"args": None, "cfg": {"model": "x"}, "model": state},
    "DataParallel, resumed": lambda state: {"model_state_dict": {f"module.{key}": tensor for key, tensor in state.items()}},
    "torch.compile": lambda state: _before("_orig_mod.", state),
    "compiled, then parallel": lambda state: _before("module._orig_mod.", state),
    "parallel, then compiled": lambda state: _before("_orig_mod.module.", state),
    "AveragedModel": lambda state: {"n_averaged": torch.tensor(5), **_before("module.", state)},
    "Lightning, by an attribute": lambda state: {"epoch": 3, "state_dict": _before("model.", state)},
    "all of them": lambda state: {"state_dict": {**_before("model.module._orig_mod.", state), "n_averaged": torch.tensor(1)}},
    "EMA": lambda state: {"model_ema": {"num_updates": torch.tensor(9), **_before("module.", state)}},
    "weight norm since torch 2.1": lambda state: {
        key.replace(".weight_g", ".parametrizations.weight.original0").replace(
            ".weight_v", ".parametrizations.weight.original1"
        ): tensor
        for key, tensor in state.items()
    },
    "half precision": lambda state: {key: t.half() if t.is_floating_point() else t for key, t in state.items()},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("zipped", [True, False])
def test_wrapped_state_dicts(wrapping: str, zipped: bool, xlsr: tuple[Path, State]) -> None:
    path, state = xlsr
    torch.save(WRAPPINGS[wrapping](state), path, _use_new_zipfile_serialization=zipped)
    loaded = load_checkpoint(path)[0].state_dict()
    expected = official_state(XLSR)[1].state_dict()
    for key, tensor in expected.items():
        assert torch.equal(loaded[key], tensor.half().float() if wrapping == "half precision" and tensor.dim() else tensor)


def test_torchscript_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "scripted.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("scripted/data.pkl", "scripted/code/__torch__.py", "scripted/constants.pkl"):
            archive.writestr(name, b"")
    with pytest.raises(CheckpointError, match=r"TorchScript.*nothing of it was executed. Save the state dict"):
        load_checkpoint(path)


def test_safetensors_in_official_names(xlsr: tuple[Path, State]) -> None:
    path, state = xlsr
    save_file(state, path)
    assert torch.equal(score(load_checkpoint(path)[0]), score(official_state(XLSR)[1]))


def test_leftovers_are_dropped_and_listed(tmp_path: Path) -> None:
    state, expected, _ = official_state("XLS-R, AASIST")
    extra = {
        "ssl_model.model.mask_emb": torch.zeros(WIDTH),
        "ssl_model.model.quantizer.vars": torch.zeros(1, 4, 2),
        "ssl_model.model.quantizer.weight_proj.weight": torch.zeros(4, 8),
        "ssl_model.model.project_q.bias": torch.zeros(4),
        "ssl_model.model.final_proj.weight": torch.zeros(4, WIDTH),
        "encoder.1.0.bn1.running_mean": torch.zeros(32),
    }
    torch.save(state | extra, tmp_path / "checkpoint.pth")
    model, description = load_checkpoint(tmp_path / "checkpoint.pth")
    assert description.dropped == {key: tensor.numel() for key, tensor in extra.items()}
    assert torch.equal(score(model), score(expected))


# ------------------------------------------------------------------------------------------------------------- refusals


FC = "Nested_Res2Net_TDNN.fc.bias"
NORM = "ssl_model.model.encoder.layers.1.fc2.weight"
FAULTS: dict[str, tuple[Callable[[State], State], str]] = {
    "missing": (lambda s: {k: t for k, t in s.items() if k != FC}, rf"1 missing \({FC}\)"),
    "several missing": (lambda s: {k: t for k, t in s.items() if ".layers.1.self_attn" not in k}, r"10 missing \(.*, …\)"),
    "left over": (lambda s: s | {"loss.weight": torch.zeros(2)}, r"1 not of this network \(loss\.weight\)"),
    "mis-shaped": (lambda s: s | {NORM: torch.zeros(3, 3)}, rf"1 of another shape \({NORM} \(3, 3\) for \({WIDTH}, 48\)\)"),
    "not a number": (lambda s: s | {FC: torch.full((2,), torch.nan)}, rf"1 not finite \({FC}\)"),
    "two at once": (
        lambda s: {k: t for k, t in s.items() if k != FC} | {"loss.weight": torch.zeros(2)},
        r"1 missing .*; 1 not of this network",
    ),
    "another stem": (
        lambda s: {k: t for k, t in s.items() if "conv_layers.6." not in k},
        r"ssl_model\.model\.feature_extractor\.conv_layers\.6\.0\.weight is missing",
    ),
    "a scalar for a matrix": (
        lambda s: s | {"Nested_Res2Net_TDNN.fc.weight": torch.tensor(1.0)},
        "fc.weight is missing, empty or of too few",
    ),
    "three classes": (
        lambda s: s | {"Nested_Res2Net_TDNN.fc.weight": torch.zeros(3, WIDTH), FC: torch.zeros(3)},
        "3 logits are no countermeasure's",
    ),
    "an encoder alone": (
        lambda s: {k: t for k, t in s.items() if k.startswith("ssl_model")},
        "lack a back-end that is known. Known are Nes2Net",
    ),
    "a back-end alone": (lambda s: {k: t for k, t in s.items() if k.startswith("Nested")}, "lack an encoder that is known"),
    "another network": (lambda s: {"conv1.weight": torch.zeros(2, 2)}, r"conv1\.weight.* lack an encoder that is known"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_tensors_at_fault_are_named(fault: str, xlsr: tuple[Path, State]) -> None:
    path, state = xlsr
    change, message = FAULTS[fault]
    torch.save(change(state), path)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


@pytest.mark.parametrize("name", OFFICIAL)
def test_any_tensor_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    state = official_state(name)[0]
    # Layers and blocks are alike: the first and the last of each kind stand for the others.
    kinds = {re.sub(r"\d+", "0", key): key for key in state}
    for missing in {*kinds.values(), *{re.sub(r"\d+", "0", key): key for key in reversed(state)}.values()}:
        save_file({key: tensor for key, tensor in state.items() if key != missing}, tmp_path / "checkpoint.safetensors")
        with pytest.raises(CheckpointError, match=re.escape(missing)):
            load_checkpoint(tmp_path / "checkpoint.safetensors")


def test_an_empty_tensor_is_named(xlsr: tuple[Path, State]) -> None:
    path, state = xlsr
    name = "ssl_model.model.encoder.pos_conv.0.weight_v"
    torch.save(state | {name: torch.zeros(WIDTH, 0, 16)}, path)
    with pytest.raises(CheckpointError, match=f"{re.escape(name)} is missing, empty"):
        load_checkpoint(path)


def test_the_widest_xls_r_have_sixteen_heads_too() -> None:
    assert defaults({"ssl_model.model.post_extract_proj.weight": torch.zeros(1280, 1)}, ASVSPOOF_2021)["heads"] == 16


class Planted:
    """A pickle that would write a file as it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_executed(zipped: bool, xlsr: tuple[Path, State], tmp_path: Path) -> None:
    path, state = xlsr
    torch.save(
        {"model_state_dict": state, "extra": Planted(tmp_path / "executed")}, path, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(CheckpointError, match="nothing of it was executed"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Planted(tmp_path / "executed")))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not (tmp_path / "executed").exists()


def test_a_pickled_module_is_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match=r"torch\.save\(model\.state_dict\(\), path\)"):
        load_checkpoint(tmp_path / "whole.pth")


def wav() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(1_000), 16_000, format="WAV")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content", [wav(), b"", b"PK", b"\x80", b"text\n" * 9, bytes(64), (2**62).to_bytes(8, "little") + b"{}"]
)
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"neither a torch file nor safetensors|damaged or incomplete"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["none.pth", "."])
def test_no_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no file"):
        load_checkpoint(tmp_path / name)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}, torch.zeros(3), {"state_dict": {"a": 1}}, {1: torch.zeros(3)}])
def test_a_torch_file_without_a_state_dict(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "checkpoint.pth")
    with pytest.raises(CheckpointError, match=r"no state dict\. Save one"):
        load_checkpoint(tmp_path / "checkpoint.pth")


@pytest.fixture(scope="module")
def good_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The smallest readable file of each form (of no family: reading it ends in the error that says so)."""
    state = {"conv1.weight": torch.arange(6.0).reshape(2, 3)}
    folder = tmp_path_factory.mktemp("forms")
    torch.save(state, folder / "zip")
    torch.save(state, folder / "legacy", _use_new_zipfile_serialization=False)
    save_file(state, folder / "safetensors")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@settings(max_examples=150, deadline=None)
@given(data=st.data(), form=st.sampled_from(["zip", "legacy", "safetensors"]))
def test_damage_is_always_our_error(
    data: st.DataObject, form: str, good_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(good_files[form])
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_an_archive_whose_names_are_not_text_is_damaged(good_files: dict[str, bytes], tmp_path: Path) -> None:
    head, directory, listed = good_files["zip"].partition(b"PK\x01\x02")
    path = tmp_path / "damaged.pth"
    path.write_bytes(head + directory + listed.replace(b"zip/data.pkl", b"\x80ip/data.pkl", 1))
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


# ------------------------------------------------------------------------------------------------------------ truncation


def test_the_first_layers_of_a_checkpoint(xlsr: tuple[Path, State]) -> None:
    path, state = xlsr
    torch.save(state, path)
    whole, _ = load_checkpoint(path)
    model, description = load_checkpoint(path, layers=1)
    assert (description.layers, description.layers_stored) == (1, LAYERS)
    assert description.parameters == parameters(model) < parameters(whole)
    samples = noise(1, 4_000)
    with torch.no_grad():
        expected = whole.front_end.model.encoder.layer_norm(whole.front_end.states(samples)[1])
        torch.testing.assert_close(model.features(samples), expected)


@pytest.mark.parametrize("layers", [0, LAYERS + 1])
def test_layers_that_are_not_there(layers: int, xlsr: tuple[Path, State]) -> None:
    path, state = xlsr
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=f"Choose 1 to {LAYERS}"):
        load_checkpoint(path, layers=layers)


@pytest.mark.parametrize("name", ["s3prl, SEA, Nes2Net", "s3prl, weighted sum, Nes2Net-X"])
def test_a_merge_is_cut_with_its_encoder(name: str, tmp_path: Path) -> None:
    torch.save(official_state(name)[0], tmp_path / "checkpoint.pth")
    model, description = load_checkpoint(tmp_path / "checkpoint.pth", layers=1)
    assert model.merge is not None
    assert (description.layers, model.merge.config.states) == (1, 2)
    assert score(model).isfinite().all()
    save_countermeasure(model, tmp_path / "cut.safetensors")
    assert torch.equal(score(load_countermeasure(tmp_path / "cut.safetensors")[0]), score(model))


def test_attentive_merging_is_not_cut(tmp_path: Path) -> None:
    torch.save(official_state("s3prl, AttM, Nes2Net-X")[0], tmp_path / "checkpoint.pth")
    with pytest.raises(CheckpointError, match="projects all layers at once"):
        load_checkpoint(tmp_path / "checkpoint.pth", layers=1)
    assert load_checkpoint(tmp_path / "checkpoint.pth", layers=LAYERS)[1].layers == LAYERS


# ------------------------------------------------------------------------------------------------- this library's own files


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_converted_network_is_saved_and_loaded_whole(name: str, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    _, model, _ = official_state(name)
    save_countermeasure(model, path, provenance={"dev_eer": 0.01})
    assert [file.name for file in tmp_path.iterdir()] == ["network.safetensors"]
    loaded, description = load_checkpoint(path)
    assert torch.equal(score(loaded), score(model))
    assert (description.family, description.provenance) == ("vivavoce", {"dev_eer": 0.01})
    assert (description.layers, description.assumed, description.dropped) == (LAYERS, {}, {})
    with pytest.raises(CheckpointError, match=r"says its own shape\. Leave out dilation"):
        load_checkpoint(path, dilation=1)


def test_a_whisper_student(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = WhisperFrontEnd(WhisperConfig(d_model=WIDTH, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32))
    model = Countermeasure(encoder, nes2net()).eval()
    save_countermeasure(model, tmp_path / "network.safetensors")
    loaded, description = load_checkpoint(tmp_path / "network.safetensors")
    assert description.front_end == "Whisper"
    assert torch.equal(score(loaded), score(model))


def test_a_spoiled_file_of_ours_is_named(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    model = countermeasure()
    with torch.no_grad():
        model.back_end.head.bias.fill_(torch.inf)
    save_countermeasure(model, path)
    with pytest.raises(CheckpointError, match=r"1 not finite \(back_end\.head\.bias\)"):
        load_checkpoint(path)
    with pytest.raises(ConfigurationError, match="not finite"):
        load_countermeasure(path)


@pytest.mark.parametrize(
    "shape", ["{", "{}", '{"front_end": {"kind": "wav2vec2", "config": {}, "normalize": false}, "back_end": {"kind": "x"}}']
)
def test_a_shape_that_cannot_be_built(shape: str, tmp_path: Path) -> None:
    metadata = {"format": "vivavoce-countermeasure/1", "shape": shape, "provenance": "{}"}
    save_file({"a": torch.zeros(1)}, tmp_path / "network.safetensors", metadata=metadata)
    with pytest.raises(CheckpointError, match="cannot be built"):
        load_checkpoint(tmp_path / "network.safetensors")
