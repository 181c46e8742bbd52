"""Front-ends against the transformers library that their encoders come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_networks import WHISPER, encoder_config, front_end, noise
from transformers import (
    Wav2Vec2Config,
    WavLMConfig,
    WhisperConfig,
)
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from vivavoce.errors import ConfigurationError
from vivavoce_converters.networks.front_ends import LogMel, Wav2Vec2FrontEnd, WhisperFrontEnd, wav2vec2_config


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
