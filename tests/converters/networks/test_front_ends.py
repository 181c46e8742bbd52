"""Front-ends against the transformers library that their encoders come from, and loading them from folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import front_end, noise
from torch.nn import functional as F
from transformers import (
    AutoConfig,
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
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from vivavoce.errors import ConfigurationError
from vivavoce_converters.networks.front_ends import LogMel, Wav2Vec2FrontEnd, WhisperFrontEnd, load_front_end, wav2vec2_config

WHISPER = {
    "d_model": 32,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 16,
    "max_source_positions": 100,
    "max_target_positions": 8,
    "vocab_size": 30,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


def encoder_config(kind: type, **changes: Any) -> Any:
    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "conv_dim": [8] * 7,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
        "vocab_size": 10,
    }
    return kind(**shape | changes)


@pytest.mark.parametrize("kind", [Wav2Vec2Config, WavLMConfig])
@pytest.mark.parametrize("large", [True, False])
def test_states_are_those_of_transformers(kind: type, large: bool) -> None:
    """`large` is the layout of XLS-R and WavLM-Large: layer norm in the stem, norms before the sublayers."""
    torch.manual_seed(0)
    config = encoder_config(kind, do_stable_layer_norm=large, feat_extract_norm="layer" if large else "group")
    encoder = Wav2Vec2FrontEnd.from_config(config)
    samples = noise(2, 4000)
    with torch.no_grad():
        output = encoder.model(samples, output_hidden_states=True)
        states = encoder.states(samples)
        last = encoder(samples)
    assert len(states) == encoder.depth + 1 == len(output.hidden_states)
    for found, expected in zip(states[:-1], output.hidden_states[:-1], strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(states[-1], output.last_hidden_state)
    torch.testing.assert_close(last, output.last_hidden_state)


def test_normalization_is_a_layer_norm_over_each_waveform() -> None:
    plain, normalizing = front_end(), front_end(normalize=True)
    normalizing.load_state_dict(plain.state_dict())
    samples = noise(2, 3000)
    with torch.no_grad():
        expected = plain(
            (samples - samples.mean(1, keepdim=True)) / (samples.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        )
        torch.testing.assert_close(normalizing(samples), expected, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(plain(samples), expected, atol=1e-2)


@settings(max_examples=15, deadline=None)
@given(samples=st.integers(400, 9000))
def test_fifty_frames_a_second(samples: int) -> None:
    with torch.no_grad():
        assert front_end()(noise(1, samples)).shape == (1, (samples - 400) // 320 + 1, 64)


def test_mel_bands_stand_beside_the_waveform() -> None:
    shape: dict[str, Any] = {"conv_channels": (8,) * 7, "width": 32, "layers": 1, "heads": 2, "ffn": 32}
    config = wav2vec2_config(**shape, position_kernel=8, position_groups=4, mel_branch=12)
    encoder = Wav2Vec2FrontEnd.from_config(config)
    assert encoder.model.feature_projection.projection.in_features == 8 + 2 * 12
    for samples in (400, 719, 720, 4001):
        with torch.no_grad():
            assert encoder(noise(2, samples)).shape == (2, (samples - 400) // 320 + 1, 32)


@pytest.mark.parametrize("mels", [80, 128])
def test_log_mel_is_whispers(mels: int) -> None:
    samples = noise(2, 8000).double().numpy()
    filters = mel_filter_bank(201, mels, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    for found, waveform in zip(LogMel(mels)(torch.from_numpy(samples).float()), samples, strict=True):
        log = spectrogram(waveform, window_function(400, "hann"), 400, 160, power=2.0, mel_filters=filters, log_mel="log10")[
            :, :-1
        ]
        expected = (np.maximum(log, log.max() - 8.0) + 4.0) / 4.0
        np.testing.assert_allclose(found.numpy(), expected, atol=2e-4)


def test_every_level_is_one_where_the_loudest_bin_is_given() -> None:
    encoder = WhisperFrontEnd(WhisperConfig(**WHISPER, loudest_bin=1.2)).student(1, None, 100)
    samples = noise(2, 16_000)
    with torch.no_grad():
        assert encoder.student(1, None, 50, 0.5).mel(samples).max() == pytest.approx((0.5 + 4) / 4)
        torch.testing.assert_close(encoder.mel(samples * 0.003), encoder.mel(samples), atol=1e-5, rtol=0)


def test_whisper_states_are_those_of_transformers() -> None:
    torch.manual_seed(0)
    encoder = WhisperFrontEnd(WhisperConfig(**WHISPER))
    samples = noise(2, 32_000)  # 200 spectrogram frames: the only length that the library's own encoder takes
    reference = WhisperEncoder(encoder.encoder.config).eval()
    reference.load_state_dict(encoder.encoder.state_dict())
    with torch.no_grad():
        states = encoder.states(samples)
        expected = reference(encoder.mel(samples), output_hidden_states=True)
    assert len(states) == 4
    torch.testing.assert_close(states[-1], expected.last_hidden_state)
    for found, wanted in zip(states[:-1], expected.hidden_states[:-1], strict=True):
        torch.testing.assert_close(found, wanted)
    assert encoder(samples[:, :8000]).shape == (2, 25, 32)


@pytest.mark.parametrize("wavlm", [False, True])
def test_truncation_keeps_the_first_layers_and_the_norm(wavlm: bool) -> None:
    encoder, samples = front_end(wavlm=wavlm), noise(1, 2000)
    with torch.no_grad():
        whole = encoder.states(samples)
        encoder.truncate(1)
        cut = encoder.states(samples)
    assert encoder.depth == encoder.model.config.num_hidden_layers == len(cut) - 1 == 1
    torch.testing.assert_close(cut[0], whole[0])
    torch.testing.assert_close(cut[1], encoder.model.encoder.layer_norm(whole[1]))


@pytest.mark.parametrize("layers", [0, 4])
def test_layers_that_are_not_there_cannot_be_kept(layers: int) -> None:
    with pytest.raises(ConfigurationError, match="Choose 1 to 2"):
        front_end().truncate(layers)
    with pytest.raises(ConfigurationError, match="Choose 1 to 3"):
        WhisperFrontEnd(WhisperConfig(**WHISPER)).truncate(layers)


# -------------------------------------------------------------------------------------------------- pre-trained encoders


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models as they are published: a wav2vec 2.0 with a CTC head on it, a WavLM, a whole Whisper in half precision."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("models")
    large = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
    models = {
        "wav2vec2": Wav2Vec2ForCTC(encoder_config(Wav2Vec2Config, **large)),
        "wavlm": WavLMModel(encoder_config(WavLMConfig, **large)),
        "whisper": WhisperForConditionalGeneration(WhisperConfig(**WHISPER)).half(),
        "hubert": HubertModel(encoder_config(HubertConfig)),
    }
    for name, model in models.items():
        model.save_pretrained(root / name)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(root / "wav2vec2")
    return {name: root / name for name in models}


@pytest.mark.parametrize("name", ["wav2vec2", "wavlm", "whisper"])
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
        whole = {"wav2vec2": Wav2Vec2ForCTC, "wavlm": WavLMModel}[name].from_pretrained(folders[name]).eval()
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
    with pytest.raises(ConfigurationError, match=r"hubert model\. Choose one of: wav2vec2, wavlm, whisper"):
        load_front_end(folders["hubert"])


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
