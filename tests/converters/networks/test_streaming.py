"""Students made for streams: chunk by chunk they score as in one piece, in torch, in ONNX and in the SDK."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming_networks import CONFIG, converted, model
from transformers import WhisperConfig

from vivavoce import Detector, Policy
from vivavoce.bench.overlap import overlap
from vivavoce.bundle import Bundle, Carry
from vivavoce.engines.incremental import Continuation
from vivavoce.errors import ConfigurationError
from vivavoce_converters.checkpoints.reference import TorchReference
from vivavoce_converters.distillation.recipe import Recipe
from vivavoce_converters.networks.countermeasure import load_countermeasure, save_countermeasure
from vivavoce_converters.networks.front_ends import WhisperFrontEnd
from vivavoce_converters.networks.stateful import carry
from vivavoce_converters.networks.streaming import DELAY, FRAME, StreamingConfig, StreamingFrontEnd

CHUNK = CONFIG.chunk * FRAME
WINDOW = 64_000


def voice(samples: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / 16_000
    pitch = np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.7 * time)) / 16_000
    sound = sum(np.sin(2 * np.pi * k * pitch) / k for k in range(1, 20)) * (1.1 + np.sin(2 * np.pi * 3 * time))
    return torch.from_numpy((0.05 * sound + 0.002 * rng.standard_normal(samples)).astype(np.float32))


@given(cuts=st.sets(st.integers(1, 11)))
@settings(max_examples=15, deadline=None)
def test_any_cut_between_chunks_gives_the_same_states(cuts: set[int]) -> None:
    front_end, samples = model().front_end, voice(12 * CHUNK)[None]
    assert isinstance(front_end, StreamingFrontEnd)
    past, parts = front_end.fresh(), []
    edges = [0, *sorted(cuts), 12]
    with torch.no_grad():
        for first, last in pairwise(edges):
            states, past = front_end.advance(samples[:, first * CHUNK : last * CHUNK], past)
            parts.append(states)
        whole = front_end.states(samples)
    for number, state in enumerate(whole):
        torch.testing.assert_close(torch.cat([part[number] for part in parts], dim=1), state, atol=1e-5, rtol=1e-4)


def test_a_frame_depends_on_no_more_than_the_context_says() -> None:
    network = model()
    known = carry(network)
    assert known == Carry(chunk=CHUNK, context=5 * CHUNK)
    samples = voice(12 * CHUNK)[None]
    other = torch.cat([0.3 * torch.randn(1, 12 * CHUNK - known.context - CHUNK), samples[:, -known.context - CHUNK :]], dim=1)
    with torch.no_grad():
        ends = [network.front_end.states(audio)[-1][:, -CONFIG.chunk :] for audio in (samples, other)]
        earlier = [network.front_end.states(audio)[-1][:, : CONFIG.chunk] for audio in (samples, other)]
    torch.testing.assert_close(*ends, atol=1e-5, rtol=1e-4)
    assert (earlier[0] - earlier[1]).abs().max() > 0.1


def test_starts_from_whispers_layers() -> None:
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=16, encoder_layers=3, encoder_attention_heads=2, encoder_ffn_dim=24, max_source_positions=300, num_mel_bins=20
    )
    teacher = WhisperFrontEnd(config)
    teacher.encoder.embed_positions.weight.data.zero_()
    samples = voice(WINDOW)[None]
    narrow = StreamingConfig(width=16, layers=2, heads=2, ffn=24, mels=20, chunk=200, chunks_back=1)
    late = torch.nn.functional.pad(samples, (DELAY, 0))[:, :WINDOW]
    with torch.no_grad():
        given, wanted = StreamingFrontEnd.like(teacher, narrow).states(samples), teacher.states(late)
    # One chunk of the whole window: nothing is left out, and only the floor of the spectrogram and the edges differ.
    assert float((given[1] - wanted[1])[:, 4:-4].abs().max()) < 0.05
    pruned = StreamingFrontEnd.like(teacher, StreamingConfig(width=16, layers=1, heads=2, ffn=8, mels=20))
    assert pruned.layers[0].inner.weight.shape == (8, 16)


def test_a_saved_student_is_the_same_and_is_not_cut(tmp_path: Path) -> None:
    for back_end in ("nes2net", "perceptron"):
        network = model(back_end)
        save_countermeasure(network, tmp_path / "student.safetensors")
        again, _ = load_countermeasure(tmp_path / "student.safetensors")
        samples = voice(WINDOW)[None]
        with torch.no_grad():
            assert torch.equal(network(samples), again(samples))
    with pytest.raises(ConfigurationError, match="fitted to all of its layers"):
        network.truncate(1)


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no 3 heads"):
        StreamingConfig(width=16, heads=3)


@pytest.fixture(scope="module", params=["perceptron", "nes2net"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return converted(request.param, tmp_path_factory)


def test_the_bundle_says_how_its_engine_goes_on(bundle: Bundle) -> None:
    (engine,) = bundle.manifest.engines
    layers = {"perceptron": 2, "Nes2Net-X": 1}[bundle.manifest.model.back_end]
    assert engine.carry == Carry(chunk=CHUNK, context=(2 * layers + 1) * CHUNK)


def test_a_batch_of_windows_scores_as_one_by_one(bundle: Bundle) -> None:
    engine = Detector(bundle.path).engine
    windows = np.stack([voice(WINDOW, seed).numpy() for seed in range(3)])
    alone = np.concatenate([engine.score(window[None]) for window in windows])
    np.testing.assert_allclose(engine.score(windows), alone, atol=1e-5)


@given(ends=st.sets(st.integers(0, 60), min_size=1), shift=st.integers(0, CHUNK - 1))
@settings(max_examples=15, deadline=None)
def test_a_windows_score_does_not_depend_on_which_others_were_asked_for(bundle: Bundle, ends: set[int], shift: int) -> None:
    engine = Detector(bundle.path).engine
    assert engine.incremental is not None
    signal = voice(WINDOW + 61 * CHUNK).numpy()

    def scores(chosen: list[int]) -> dict[int, float]:
        continuation = Continuation(engine, WINDOW)
        wanted = {}
        for number in chosen:
            end = WINDOW + number * CHUNK + shift
            wanted[number] = continuation.score(end - WINDOW, end, lambda first, last: signal[first:last])
        return wanted

    some, every = scores(sorted(ends)), scores(list(range(61)))
    assert some == pytest.approx({number: every[number] for number in ends}, abs=2e-4)


def test_a_signal_is_taken_to_have_repeated_its_first_window_before_it_began(bundle: Bundle) -> None:
    engine, signal = Detector(bundle.path).engine, voice(WINDOW + 3 * CHUNK).numpy()
    twice = np.concatenate([signal[:WINDOW], signal])
    for end in (WINDOW, WINDOW + 700, len(signal)):
        first = Continuation(engine, WINDOW).score(end - WINDOW, end, lambda first, last: signal[first:last])
        second = Continuation(engine, WINDOW).score(end, WINDOW + end, lambda first, last: twice[first:last])
        assert first == pytest.approx(second, abs=2e-4)
    alone = float(engine.score(signal[None, :WINDOW])[0])
    assert abs(Continuation(engine, WINDOW).score(0, WINDOW, lambda first, last: signal[first:last]) - alone) > 1e-3


def test_a_short_recording_is_tiled(bundle: Bundle) -> None:
    engine, signal = Detector(bundle.path).engine, voice(WINDOW // 2).numpy()
    tiled = np.resize(signal, WINDOW)
    score = Continuation(engine, WINDOW).score(0, len(signal), lambda first, last: signal[first:last])
    assert score == pytest.approx(Continuation(engine, WINDOW).score(0, WINDOW, lambda first, last: tiled[first:last]))


def test_a_front_end_hears_windows_after_themselves_as_streams_do() -> None:
    countermeasure = model()
    front_end, samples = countermeasure.front_end, voice(20 * CHUNK)[None]
    assert isinstance(front_end, StreamingFrontEnd)
    past = front_end.advance(samples, front_end.advance(samples, front_end.fresh())[1])[0]
    for repeated, continued in zip(front_end.repeated(samples), past, strict=True):
        torch.testing.assert_close(repeated, continued, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("hop", [0.1, 0.3])
def test_a_stream_ends_as_the_recording(bundle: Bundle, hop: float, tmp_path: Path) -> None:
    detector = Detector(bundle.path, speech_gate=False)
    signal = voice(13 * 16_000 + 1234).numpy()
    soundfile.write(tmp_path / "voice.wav", signal, 16_000, subtype="FLOAT")
    whole = detector.detect(tmp_path / "voice.wav")
    rng, at = np.random.default_rng(0), 0
    with detector.stream(sample_rate=16_000, policy=Policy(hop=hop, scores=True)) as stream:
        while at < len(signal):
            size = int(rng.integers(1, 9_000))
            stream.feed(signal[at : at + size])
            at += size
        result = stream.finish()
    assert result.score == pytest.approx(whole.score, abs=2e-4)
    assert [one.score for one in result.segments] == pytest.approx([one.score for one in whole.segments], abs=2e-4)


def test_the_original_tells_its_stems_share(bundle: Bundle) -> None:
    original = TorchReference(bundle.path, bundle.path.parent / "student.safetensors", threads=1)
    assert 0 < original.stem_share(voice(WINDOW)[None].numpy()) < 1


@pytest.mark.parametrize(
    ("kind", "stage", "fault"),
    [
        ("teacher", {"label_weight": 1.0, "fit": 1}, "leave fit out of stage"),
        ("streaming", {"label_weight": 0.0, "score_weight": 1.0}, "is not fitted"),
    ],
)
def test_a_recipe_whose_perceptron_cannot_be_fitted_is_refused(kind: str, stage: dict[str, float], fault: str) -> None:
    shape = {"kind": kind, "layers": 1} | ({"ffn": 8} if kind == "streaming" else {})
    stages = [{"name": "last", "steps": 1, "learning_rate": 1e-3, "feature_weight": 0.0, **stage}]
    with pytest.raises(ValueError, match=fault):
        Recipe.model_validate({"name": "toy", "student": shape, "teacher_layers": (1,), "stages": stages})


def test_the_cost_of_overlap_is_measured(bundle: Bundle) -> None:
    report = overlap(bundle.path, seconds=10, hop=0.5, repeats=1)
    assert min(dict(report.real_time_factor).values()) > 0
    assert report.engine.carries
    with pytest.raises(ConfigurationError, match="nothing to measure"):
        overlap(bundle.path, seconds=2)
