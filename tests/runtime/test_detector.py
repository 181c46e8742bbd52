"""The detector on whole recordings: the grid of windows, what is undecided and why, and how it is set up."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import soundfile
import soxr
from bundles import WINDOW, make_bundle, raw_score
from hypothesis import given, settings
from hypothesis import strategies as st
from speaking import RATE, detector_with, speech

from vivavoce import AudioError, BundleError, ConfigurationError, Detector
from vivavoce.audio import Samples
from vivavoce.listening.speech_gate import CHUNK, SpeechGate
from vivavoce.listening.windows import WINDOW_SPEECH

HOP = WINDOW // 2


@pytest.fixture(scope="module")
def detector(tiny_bundle: Path) -> Detector:
    return Detector(tiny_bundle)


def windows_of(samples: Samples) -> list[tuple[int, int, Samples]]:
    """The grid as docs/bundle.md has it: (start, end, samples tiled up to one window)."""
    starts = [start for start in range(0, len(samples), HOP) if start + WINDOW <= len(samples)]
    if not starts:
        return [(0, len(samples), np.tile(samples, -(-WINDOW // len(samples)))[:WINDOW])]
    if starts[-1] + WINDOW < len(samples):
        starts.append(len(samples) - WINDOW)
    return [(start, start + WINDOW, samples[start : start + WINDOW]) for start in starts]


def speech_mask(samples: Samples) -> np.ndarray[Any, Any]:
    gate = SpeechGate()
    return np.repeat(np.concatenate([gate.feed(samples), gate.finish()]), CHUNK)[: len(samples)]


@settings(max_examples=25, deadline=None)
@given(st.integers(RATE, 5 * RATE), st.integers(0, 20 * RATE), st.booleans())
def test_windows_follow_the_grid_and_are_weighted_by_their_speech(
    tiny_bundle: Path, length: int, offset: int, gated: bool
) -> None:
    samples = speech(25)[offset : offset + length]
    mask = speech_mask(samples) if gated else np.ones(length, np.bool_)
    expected = [
        (start / RATE, end / RATE, 2.0 * raw_score(window), mask[start:end].sum())
        for start, end, window in windows_of(samples)
        if mask[start:end].sum() >= WINDOW_SPEECH * RATE
    ]
    result = Detector(tiny_bundle, speech_gate=gated).detect((samples, RATE))
    if mask.sum() < RATE:
        assert result.verdict == "undecided"
        return
    assert [(one.start, one.end) for one in result.segments] == [entry[:2] for entry in expected]
    scores, weights = (np.array([entry[i] for entry in expected]) for i in (2, 3))
    np.testing.assert_allclose([one.score for one in result.segments], scores, atol=1e-4)
    assert result.score == pytest.approx(float((scores * weights).sum() / weights.sum()), abs=1e-4)
    assert result.speech == pytest.approx(mask.sum() / RATE)
    assert result.verdict == ("bonafide" if result.score is not None and result.score >= 0 else "spoof")


def test_signal_as_long_as_a_window_has_one_segment_and_a_shorter_one_is_tiled(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "brief", audio={"window": WINDOW, "hop": HOP, "minimum_speech": 0.5})
    seen: list[Samples] = []
    fake, _ = detector_with(bundle, lambda window: seen.append(window) or 1.0, speech_gate=False)
    short = speech(0.6)
    assert [(one.start, one.end) for one in fake.detect((speech(1), RATE)).segments] == [(0, 1)]
    assert [(one.start, one.end) for one in fake.detect((short, RATE)).segments] == [(0, 0.6)]
    np.testing.assert_array_equal(seen[1], np.concatenate([short, short])[:WINDOW])


def sine(seconds: float, level: float = 0.3) -> Samples:
    return (level * np.sin(0.1 * np.arange(round(seconds * RATE)))).astype(np.float32)


def noise(seconds: float) -> Samples:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def spoilt(value: float) -> Samples:
    samples = speech(4).copy()
    samples[RATE] = value
    return samples


UNDECIDED: dict[str, tuple[Callable[[], Samples], str]] = {
    "no samples": (lambda: np.zeros(0, np.float32), "empty"),
    "two samples": (lambda: np.array([0.5, -0.5], np.float32), "too short"),
    "a constant offset": (lambda: np.full(RATE, 0.5, np.float32), "silent"),
    "NaN": (lambda: spoilt(math.nan), "not finite"),
    "infinity": (lambda: spoilt(-math.inf), "not finite"),
    "NaN alone": (lambda: np.full(RATE, np.nan, np.float32), "not finite"),
    "integers as floats": (lambda: speech(4) * 32_768, "out of range"),
    "zeros": (lambda: np.zeros(4 * RATE, np.float32), "silent"),
    "speech at -100 dB": (lambda: speech(4) * np.float32(1e-5), "silent"),
    "half a second": (lambda: speech(0.5), "too short"),
    "white noise": (lambda: noise(4), "no speech"),
    "a sine": (lambda: sine(4), "no speech"),
    "a chord": (lambda: (sine(4) + sine(4)[::-1] ** 3) / 2, "no speech"),
    "a word in noise": (lambda: np.concatenate([speech(0.7), noise(4) / 10]), "too little speech"),
    "speech, overloaded": (lambda: np.clip(50 * speech(6) / np.abs(speech(6)).max(), -1, 1), "clipped"),
}


@pytest.mark.parametrize("case", UNDECIDED)
def test_audio_that_cannot_be_judged_is_undecided_for_a_reason(detector: Detector, case: str) -> None:
    make, reason = UNDECIDED[case]
    result = detector.detect((make(), RATE))
    assert (result.verdict, result.reason) == ("undecided", reason)
    assert (result.score, result.probability, result.segments) == (None, None, ())
    assert result.remedy
    assert result.duration == len(make()) / RATE


@pytest.mark.parametrize("gain", [0.02, 1, 5])
def test_speech_that_is_quiet_or_mildly_clipped_is_judged(detector: Detector, gain: float) -> None:
    samples = np.clip(gain * speech(4) / np.abs(speech(4)).max(), -1, 1)
    assert detector.detect((samples, RATE)).reason is None


@pytest.mark.parametrize("rate", [8000, 11_025, 44_100, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_any_rate_and_number_of_channels_is_judged_alike(detector: Detector, rate: int, channels: int) -> None:
    samples = soxr.resample(speech(4), RATE, rate)
    result = detector.detect((np.repeat(samples[:, None], channels, axis=1), rate))
    expected = detector.detect((speech(4), RATE))
    assert result.verdict == expected.verdict
    assert result.score == pytest.approx(expected.score, abs=0.5)
    assert result.duration == pytest.approx(4, abs=1e-3)


def test_file_object_bytes_and_array_give_the_same_result(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "call.flac"
    soundfile.write(path, speech(3), RATE)
    samples, rate = soundfile.read(path, dtype="int16")
    expected = detector.detect(path)
    assert expected.segments
    assert detector.detect(path.read_bytes()) == expected
    assert detector.detect((samples, rate)) == expected


def test_probability_is_the_score_at_the_prior(tmp_path: Path) -> None:
    calibration = {"scale": 2.0, "offset": -1.0, "prior": 0.8, "corpus": "made up", "bonafide": 1, "spoof": 1}
    calibrated, _ = detector_with(make_bundle(tmp_path / "a", calibration=calibration), lambda window: 0.25)
    result = calibrated.detect((speech(2), RATE))
    assert result.score == pytest.approx(-0.5)
    assert result.probability == pytest.approx(1 / (1 + math.exp(0.5) / 4))
    raw, _ = detector_with(make_bundle(tmp_path / "b", calibration=None), lambda window: 0.25)
    result = raw.detect((speech(2), RATE))
    assert (result.score, result.probability) == (0.25, None)


@pytest.mark.parametrize(("score", "probability"), [(400, 1.0), (-400, 0.0)])
def test_extreme_scores_have_a_probability(tiny_bundle: Path, score: float, probability: float) -> None:
    extreme, _ = detector_with(tiny_bundle, lambda window: score)
    assert extreme.detect((speech(2), RATE)).probability == pytest.approx(probability)


def test_score_that_is_not_a_number_is_an_error_and_no_verdict(tiny_bundle: Path) -> None:
    broken, _ = detector_with(tiny_bundle, lambda window: math.nan)
    with pytest.raises(BundleError, match="score nan, which is not finite"):
        broken.detect((speech(2), RATE))


def test_operating_point_by_name_by_number_and_by_default(tiny_bundle: Path) -> None:
    assert Detector(tiny_bundle).threshold == 0.0
    assert Detector(tiny_bundle, operating_point="fpr=1%").threshold == 1.5
    assert Detector(tiny_bundle, operating_point=-3).threshold == -3.0
    assert Detector(tiny_bundle, operating_point=0).threshold == 0.0


def test_threshold_itself_is_bona_fide(tiny_bundle: Path) -> None:
    for threshold, verdict in ((1.0, "bonafide"), (math.nextafter(1.0, 2), "undecided")):
        fake, _ = detector_with(tiny_bundle, lambda window: 0.5, operating_point=threshold)
        result = fake.detect((speech(2), RATE))
        assert (result.score, result.verdict, result.threshold) == (1.0, verdict, threshold)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operating_point": "fpr=2%"}, "Choose eer, fpr=1%, or a number"),
        ({"operating_point": ""}, "Choose eer"),
        ({"operating_point": True}, "Choose eer"),
        ({"operating_point": math.nan}, "Give a finite number"),
        ({"operating_point": math.inf}, "Give a finite number"),
        ({"operating_point": 10**400}, "Give a finite number"),
        ({"threads": 0}, "Give 1 to 1024"),
        ({"threads": 10**6}, "Give 1 to 1024"),
        ({"device": "abacus"}, "auto"),
        ({"precision": "float16"}, "float32"),
    ],
)
def test_setting_that_cannot_be_used_names_the_choices(tiny_bundle: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Detector(tiny_bundle, **options)


def test_precision_picks_one_of_several_engines(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "both", precisions=("int8", "float32"))
    assert Detector(bundle).engine.file.precision == "int8"
    assert Detector(bundle, precision="float32").engine.file.file == "float32.onnx"


def test_session_options_are_used_as_they_are(tiny_bundle: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    Detector(tiny_bundle, session_options=options)
    assert (tmp_path / "optimized.onnx").stat().st_size > 0


def test_bundle_may_be_deleted_once_it_is_open(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    opened = Detector(folder)
    shutil.rmtree(folder)
    assert opened.detect((speech(2), RATE)).verdict != "undecided"


def test_one_detector_serves_many_threads(detector: Detector) -> None:
    recordings = [speech(2 + i / 4)[i * 1000 :] for i in range(12)]
    expected = [detector.detect((samples, RATE)) for samples in recordings]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda samples: detector.detect((samples, RATE)), recordings)) == expected


def test_what_is_no_audio_raises(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("not a recording")
    for source in (tmp_path / "notes.wav", b"", (np.zeros(3, np.uint16), RATE), (speech(1), 4000)):
        with pytest.raises(AudioError):
            detector.detect(source)


def test_embedded_bundle_judges_speech_in_three_lines() -> None:
    result = Detector().detect((speech(5), RATE))
    assert result.verdict in ("bonafide", "spoof")
    assert result.segments


@pytest.mark.parametrize("jobs", [1, 3])
def test_many_sources_give_results_in_order_and_errors_in_their_place(detector: Detector, jobs: int) -> None:
    voices = [speech(seconds) for seconds in (2, 1, 1, 1.5)]
    sources = [(voice, RATE) for voice in voices]
    found = list(detector.detect_many([*sources[:2], b"no audio", None, *sources[2:]], jobs=jobs))  # type: ignore[list-item]
    assert [type(one) for one in found[2:4]] == [AudioError, AudioError]
    assert found[:2] + found[4:] == [detector.detect(voice, RATE) for voice in voices]
    both = np.stack([voices[1], voices[1]], axis=1)
    (each,) = detector.detect_many([(both, RATE)], jobs=jobs, channel="each")
    assert isinstance(each, tuple)
    assert [one.channel for one in each] == [0, 1]


@pytest.mark.parametrize("jobs", [1, 2])
def test_many_sources_are_taken_as_they_are_needed(detector: Detector, jobs: int) -> None:
    taken: list[int] = []

    def endless() -> Iterator[tuple[Samples, int]]:
        while True:
            taken.append(1)
            yield speech(1), RATE

    answers = detector.detect_many(endless(), jobs=jobs)
    next(answers)
    answers.close()
    assert len(taken) <= 3 * jobs + 1
    for wrong in (0, 1.5, "2"):
        with pytest.raises(ConfigurationError, match="jobs"):
            detector.detect_many([], jobs=wrong)  # type: ignore[arg-type]
