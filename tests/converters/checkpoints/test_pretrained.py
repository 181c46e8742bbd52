"""Pre-trained encoders: loaded from folders as they are published, and the front-end of a student by one line of a recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from loudness_corpus import make_corpus
from safetensors.torch import save_file
from tiny_networks import WHISPER, encoder_config, noise
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperForConditionalGeneration,
)
from typer.testing import CliRunner

from vivavoce.commands.app import build
from vivavoce.errors import ConfigurationError
from vivavoce_converters.checkpoints.load import load_checkpoint
from vivavoce_converters.checkpoints.pretrained import load_front_end
from vivavoce_converters.distillation.distill import build_student
from vivavoce_converters.distillation.recipe import TeacherShape
from vivavoce_converters.networks import perceptron
from vivavoce_converters.networks.front_ends import Wav2Vec2FrontEnd, WhisperFrontEnd


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models as they are published: wav2vec 2.0 with a CTC head on it, WavLM, HuBERT, Whisper in half precision."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("models")
    large = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
    models = {
        "wav2vec2": Wav2Vec2ForCTC(encoder_config(Wav2Vec2Config, **large)),
        "wavlm": WavLMModel(encoder_config(WavLMConfig, **large)),
        "whisper": WhisperForConditionalGeneration(WhisperConfig(**WHISPER)).half(),
        "hubert": HubertModel(encoder_config(HubertConfig)),
        "data2vec": Data2VecAudioModel(encoder_config(Data2VecAudioConfig)),
    }
    for name, model in models.items():
        model.save_pretrained(root / name)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(root / "wav2vec2")
    return {name: root / name for name in models}


@pytest.mark.parametrize("name", ["wav2vec2", "wavlm", "hubert", "whisper"])
def test_a_folder_gives_the_encoder_with_its_weights(name: str, folders: dict[str, Path]) -> None:
    encoder = load_front_end(folders[name])
    with torch.no_grad():
        state = encoder(noise(1, 6400))
    assert state.dtype == torch.float32
    assert not encoder.training
    if isinstance(encoder, WhisperFrontEnd):
        whole = WhisperForConditionalGeneration.from_pretrained(folders[name]).float()
        for key, tensor in whole.model.encoder.state_dict().items():
            torch.testing.assert_close(encoder.encoder.state_dict()[key], tensor)
    else:
        assert encoder.normalize == (name == "wav2vec2")
        whole = (
            {"wav2vec2": Wav2Vec2ForCTC, "wavlm": WavLMModel, "hubert": HubertModel}[name].from_pretrained(folders[name]).eval()
        )
        samples = noise(1, 6400)
        with torch.no_grad():
            heard = F.layer_norm(samples, samples.shape[1:]) if encoder.normalize else samples
            expected = getattr(whole, "wav2vec2", whole)(heard).last_hidden_state
        torch.testing.assert_close(state, expected, atol=1e-5, rtol=1e-5)


def test_options_of_loading(folders: dict[str, Path]) -> None:
    encoder = load_front_end(folders["wav2vec2"], layers=2, normalize=False)
    assert isinstance(encoder, Wav2Vec2FrontEnd)
    assert (encoder.depth, encoder.normalize) == (2, False)
    assert load_front_end(str(folders["whisper"]), layers=1).depth == 1
    with pytest.raises(ConfigurationError, match="Choose 1 to 3"):
        load_front_end(folders["wavlm"], layers=9)


def test_another_kind_of_model_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigurationError, match=r"data2vec-audio model\. Choose one of: wav2vec2, hubert, wavlm, whisper"):
        load_front_end(folders["data2vec"])


def test_missing_tensors_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    config = json.loads((folders["wavlm"] / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}), encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes((folders["wavlm"] / "model.safetensors").read_bytes())
    with pytest.raises(ConfigurationError, match=r"lacks \d+ tensors \(encoder.layers.3"):
        load_front_end(tmp_path)


def test_a_folder_without_safetensors_is_read_as_tensors_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folders["wavlm"] / "config.json").read_bytes())
    torch.save(WavLMModel.from_pretrained(folders["wavlm"]).state_dict(), tmp_path / "pytorch_model.bin")
    expected = load_front_end(folders["wavlm"]).state_dict()
    for key, tensor in load_front_end(tmp_path).state_dict().items():
        assert torch.equal(tensor, expected[key])


def test_pickles_with_code_and_damaged_files_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folders["wavlm"] / "config.json").read_bytes())
    state = WavLMModel.from_pretrained(folders["wavlm"]).state_dict()
    torch.save({**state, "code": Planted(tmp_path / "executed")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        load_front_end(tmp_path)
    assert not (tmp_path / "executed").exists()
    (tmp_path / "model.safetensors").write_bytes((folders["wavlm"] / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        load_front_end(tmp_path)


class Planted:
    """A pickle that would write a file as it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_only_an_id_may_reach_the_network(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def from_pretrained(name: str, *, local_files_only: bool) -> Any:
        asked.append((name, local_files_only))
        raise OSError("not there")

    monkeypatch.setattr(AutoConfig, "from_pretrained", from_pretrained)
    for source in (folders["wavlm"], "facebook/wav2vec2-xls-r-300m"):
        with pytest.raises(ConfigurationError, match="not there"):
            load_front_end(source)
    assert asked == [(str(folders["wavlm"]), True), ("facebook/wav2vec2-xls-r-300m", False)]
    for source in ("wavlm-large", "./wavlm-large", "a/b/c", folders["wavlm"] / "config.json"):
        with pytest.raises(ConfigurationError, match="There is no folder"):
            load_front_end(source)
    assert len(asked) == 2


def test_whispers_encoder_in_one_file(folders: dict[str, Path], tmp_path: Path) -> None:
    encoder = WhisperFrontEnd(WhisperConfig(**WHISPER | {"d_model": 128}))
    save_file(encoder.encoder.state_dict(), tmp_path / "encoder.safetensors")
    again = load_front_end(tmp_path / "encoder.safetensors", layers=2)
    assert again.depth == 2
    with torch.no_grad():
        assert torch.equal(again.states(noise(1, 4000))[1], encoder.states(noise(1, 4000))[1])
    for path in (tmp_path / "other.safetensors", folders["wavlm"] / "model.safetensors"):
        with pytest.raises(ConfigurationError, match="does not hold Whisper's encoder"):
            load_front_end(path)


RECIPE = """
name = "from the hub"
teacher = "{teacher}"
teacher_layers = [1, 2]
batch = 4
evaluate_every = 1

[student]
kind = "teacher"
layers = 2
back_end = "perceptron"

[[stages]]
name = "perceptron"
steps = 1
learning_rate = 1e-6
feature_weight = 0.0
label_weight = 1.0
train = "back-end"
fit = 1
"""


@pytest.mark.parametrize("kind", ["hubert", "wavlm", "wav2vec2"])
def test_a_line_of_a_recipe_makes_its_first_layers_a_front_end(
    kind: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perceptron, "STEPS", 5)
    recipe, corpus = tmp_path / "recipe.toml", make_corpus(tmp_path / "corpus", bonafide=4, spoof=4, subsets=("train", "dev"))
    recipe.write_text(RECIPE.format(teacher=folders[kind].as_posix()), encoding="utf-8")
    out = tmp_path / "run"
    told = CliRunner().invoke(build(), ["distill", str(recipe), "--corpus", str(corpus), "--out", str(out)])
    assert told.exit_code == 0, told.output
    student, _ = load_checkpoint(out / "student.safetensors")
    teacher, samples = load_front_end(folders[kind]), noise(1, 6400)
    with torch.no_grad():
        found, wanted = student.front_end.states(samples), teacher.states(samples)
    assert (student.front_end.depth, len(found)) == (2, 3)
    assert torch.equal(found[1], wanted[1])


def test_what_only_whisper_has_is_refused_of_others(folders: dict[str, Path]) -> None:
    shape = TeacherShape(kind="teacher", layers=1, back_end="perceptron", loudest_bin=1.2)
    with pytest.raises(ConfigurationError, match="loudest_bin"):
        build_student(shape, load_front_end(folders["hubert"]))
