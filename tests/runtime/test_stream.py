"""Streams: the same result and the same events however the signal is cut, in bounded memory, from many threads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from bundles import WINDOW, make_bundle
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from speaking import RATE, detector_with, speech

from vivavoce import AudioError, BundleError, ConfigurationError, Detector, Event, Policy, Result
from vivavoce.audio import Samples
from vivavoce.listening import windows
from vivavoce.listening.speech_gate import CHUNK, SpeechGate
from vivavoce.sources import Lost

HOP = WINDOW // 2
# From a sound to the decision about it: the gate's chunk, a step, what the resampler holds back, and a chunk that is being fed.
DELAY = CHUNK / RATE + 0.032 + 0.04 + 0.01


@pytest.fixture(scope="module")
def detector(tiny_bundle: Path) -> Detector:
    return Detector(tiny_bundle)


def run(
    detector: Detector, pieces: Iterable[NDArray[Any] | Lost], *, sample_rate: int = RATE, channels: int = 1, **policy: Any
) -> tuple[list[Event], Result]:
    with detector.stream(sample_rate=sample_rate, channels=channels, policy=Policy(**policy)) as stream:
        events = [event for piece in pieces for event in stream.feed(piece)]
    return events, stream.finish()


def of_kind(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event.kind == kind]


@settings(max_examples=30, deadline=None)
@given(
    rate=st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000]),
    channels=st.integers(1, 8),
    dtype=st.sampled_from([np.int16, np.float32]),
    seconds=st.floats(0, 3.5),
    cuts=st.lists(st.floats(0, 1), max_size=12),
    interleaved=st.booleans(),
)
def test_result_is_that_of_the_whole_recording_whatever_the_chunks(
    detector: Detector, rate: int, channels: int, dtype: Any, seconds: float, cuts: list[float], interleaved: bool
) -> None:
    mono = soxr.resample(speech(seconds), RATE, rate)
    gains = np.linspace(1, 0.5, channels)
    signal = np.clip(mono[:, None] * gains, -1, 1 - 2**-15)
    samples = (signal * 32_768).astype(np.int16) if dtype is np.int16 else signal.astype(np.float32)
    assume(not 0 < len(samples) < channels)  # Of an array with fewer samples than channels the other axis is time.
    pieces = np.split(samples, sorted(int(cut * len(samples)) for cut in cuts))
    shaped = (piece.reshape(-1) if interleaved and i % 2 else piece for i, piece in enumerate(pieces))
    _, result = run(detector, shaped, sample_rate=rate, channels=channels)
    assert result == detector.detect((samples, rate))
    assert all(0 <= one.start < one.end <= result.duration + 1 / RATE for one in result.segments)
    assert list(result.segments) == sorted(result.segments, key=lambda one: (one.start, one.end))


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 5 * RATE), max_size=10), st.sampled_from([0.1, 0.3, 0.5, 1.0, 1.7]))
def test_events_do_not_depend_on_the_chunks(detector: Detector, cuts: list[int], hop: float) -> None:
    signal = np.concatenate([speech(3), np.zeros(RATE * 3 // 2, np.float32), speech(1)])
    signal[1000] = np.nan
    policy = {"hop": hop, "scores": True, "alarm_after": 2}
    assert run(detector, np.split(signal, sorted(cuts)), **policy) == run(detector, [signal], **policy)


def test_single_samples_are_chunks_too(detector: Detector) -> None:
    signal = speech(1.5)
    assert run(detector, signal[:, None]) == run(detector, [signal])


def test_windows_that_grid_and_watch_share_are_scored_once(tiny_bundle: Path) -> None:
    fake, engine = detector_with(tiny_bundle, lambda window: 1.0)
    events, result = run(fake, [speech(10.5)], scores=True)
    grid = [(one.start, one.end) for one in result.segments]
    watched = [(event.start, event.time) for event in of_kind(events, "score")]
    assert len(grid) == 20
    assert set(watched) == {window for window in grid[:-1] if window[1] >= watched[0][1]}
    assert engine.windows == len(grid)


def test_verdicts_begin_with_enough_speech_and_come_every_hop(tiny_bundle: Path) -> None:
    fake, _ = detector_with(tiny_bundle, lambda window: -1.0)
    events, _ = run(fake, [speech(8)], hop=0.5)
    times = [event.time for event in of_kind(events, "verdict")]
    assert 2.0 <= times[0] <= 3.0
    np.testing.assert_allclose(np.diff(times), 0.5)
    assert [event.changed for event in of_kind(events, "verdict")] == [True] + [False] * (len(times) - 1)


@pytest.mark.parametrize("rate", [RATE, 48_000])
@pytest.mark.parametrize("hop", [0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("begin", [0.0, 3.3])
def test_spoof_is_reported_within_a_hop_of_its_first_two_seconds_of_speech(
    tiny_bundle: Path, rate: int, hop: float, begin: float
) -> None:
    fake, _ = detector_with(tiny_bundle, lambda window: -1.0)
    signal = np.concatenate([np.zeros(round(begin * RATE), np.float32), speech(6)])
    heard = SpeechGate().feed(signal).cumsum() * CHUNK
    spoken = (int(np.argmax(heard >= 2 * RATE)) + 1) * CHUNK / RATE
    stream = fake.stream(sample_rate=rate, policy=Policy(hop=hop))
    at, verdicts = 0.0, []
    for chunk in chunks_of(soxr.resample(signal, RATE, rate), rate // 100):
        at += 0.01
        if verdicts := of_kind(stream.feed(chunk), "verdict"):
            break
    assert verdicts[0].verdict == "spoof"
    assert spoken - CHUNK / RATE <= at <= spoken + hop + DELAY
    assert verdicts[0].time <= at <= verdicts[0].time + DELAY


def test_nothing_is_scored_while_nobody_speaks(tiny_bundle: Path) -> None:
    fake, engine = detector_with(tiny_bundle, lambda window: 1.0)
    rng = np.random.default_rng(0)
    room = [rng.normal(0, 0.02, RATE).astype(np.float32) for _ in range(20)]
    events, result = run(fake, [*room, np.zeros(20 * RATE, np.float32)])
    assert (engine.windows, events, result.reason) == (0, [], "no speech")


def test_window_with_little_speech_is_scored_for_the_result_but_gives_no_verdict(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "long", audio={"window": 4 * RATE, "hop": RATE, "minimum_speech": 1.5})
    fake, _ = detector_with(bundle, lambda window: 1.0)
    events, result = run(fake, [speech(4), np.zeros(4 * RATE, np.float32)])
    assert [event.time for event in of_kind(events, "verdict")] == [3, 4, 5, 6]
    assert [one.end for one in result.segments] == [4, 5, 6, 7]


def test_turns_of_speech_are_events(detector: Detector) -> None:
    pause = np.zeros(3 * RATE, np.float32)
    events, _ = run(detector, [pause, speech(4), pause, speech(2), pause])
    turns = [event for event in events if event.kind.startswith("speech")]
    assert [event.kind for event in turns] == ["speech-started", "speech-ended"] * 2
    for started, ended, begin, end in ((*turns[:2], 3, 7), (*turns[2:], 10, 12)):
        assert started.start == started.time == ended.start
        assert begin <= started.time <= begin + 0.3
        assert end - 0.5 <= ended.time <= end + 0.3


def loudness_sign(window: Samples) -> float:
    """Tells two talkers apart by an offset that changes nothing about their speech."""
    return 1.0 if window.mean() > 0 else -1.0


def talker(seconds: float, offset: float) -> Samples:
    return speech(seconds) * np.float32(0.5) + np.float32(offset)


def test_next_speaker_after_a_pause_is_judged_afresh(tiny_bundle: Path) -> None:
    fake, _ = detector_with(tiny_bundle, loudness_sign)
    pause = np.zeros(6 * RATE, np.float32)
    events, _ = run(fake, [talker(4, 0.05), pause, talker(4, 0.05), pause, talker(4, -0.05)], clear_after=2)
    news = [(event.verdict, event.changed) for event in of_kind(events, "verdict") if event.changed]
    assert [verdict for verdict, _ in news] == ["bonafide", "bonafide", "spoof"]
    again = [event for event in of_kind(events, "verdict") if 10 < event.time < 14]
    assert again[0].start >= 9, "windows of the first turn do not count in the second"
    assert again[0].time >= 12, "two seconds of speech come first again"


@pytest.mark.parametrize("forget_after", [math.inf, 7.0])
def test_short_pause_is_not_a_new_speaker(tiny_bundle: Path, forget_after: float) -> None:
    fake, _ = detector_with(tiny_bundle, loudness_sign)
    pause = np.zeros(6 * RATE, np.float32)
    events, _ = run(fake, [talker(4, 0.05), pause, talker(4, 0.05)], forget_after=forget_after)
    assert [event.changed for event in of_kind(events, "verdict")].count(True) == 1


def test_audio_that_never_arrived_keeps_the_time_and_is_counted(detector: Detector) -> None:
    events, result = run(detector, [speech(3), Lost(RATE * 2), speech(3), Lost(0, "overflow")])
    assert [(event.kind, event.start, event.time, event.lost) for event in events if event.kind in ("gap", "overflow")] == [
        ("gap", 3.0, 5.0, 2.0),
        ("overflow", 8.0, 8.0, 0.0),
    ]
    assert (result.duration, result.missing) == (8.0, 2.0)
    assert result.segments == detector.detect((np.concatenate([speech(3), np.zeros(2 * RATE), speech(3)]), RATE)).segments


def test_long_gap_costs_no_inference(tiny_bundle: Path) -> None:
    fake, engine = detector_with(tiny_bundle, lambda window: 1.0)
    _, result = run(fake, [speech(3), Lost(600 * RATE), speech(3)])
    assert (result.duration, result.missing) == (606, 600)
    assert engine.windows < 20


@pytest.mark.parametrize("value", [math.nan, -math.inf, 1e6])
def test_samples_that_are_no_audio_are_silence_to_a_stream_and_spoil_nothing_else(detector: Detector, value: float) -> None:
    bad, silence = np.full(RATE, value, np.float32), np.zeros(RATE, np.float32)
    events, result = run(detector, [speech(3), bad, speech(3), bad[:1], speech(1), bad])
    without, expected = run(detector, [speech(3), silence, speech(3), silence[:1], speech(1), silence])
    np.testing.assert_allclose([event.time for event in of_kind(events, "invalid")], [3, 7, 8], atol=0.04)
    assert [event for event in events if event.kind != "invalid"] == without
    assert result == replace(expected, missing=2 + 1 / RATE)
    assert result.reason is None


def test_stream_of_nothing_but_invalid_samples_says_so(detector: Detector) -> None:
    assert run(detector, [np.full(RATE, np.nan, np.float32)])[1].reason == "not finite"
    assert run(detector, [speech(3) * 40_000])[1].reason == "out of range"


def test_every_sample_is_accounted_for(detector: Detector) -> None:
    rng = np.random.default_rng(1)
    pieces: list[NDArray[Any] | Lost] = []
    for _ in range(40):
        n = int(rng.integers(0, 5000))
        chunk = speech(n / RATE).copy()
        chunk[: int(rng.integers(0, 3))] = np.nan
        pieces += [chunk, Lost(int(rng.integers(0, 500)))]
    _, result = run(detector, pieces)
    lost = sum(piece.frames for piece in pieces if isinstance(piece, Lost))
    arrays = [piece for piece in pieces if not isinstance(piece, Lost)]
    bad = sum(int(np.isnan(piece).sum()) for piece in arrays)
    assert round(result.duration * RATE) == sum(map(len, arrays)) + lost
    assert round(result.missing * RATE) == bad + lost


def test_empty_chunks_change_nothing(detector: Detector) -> None:
    empty = np.zeros(0, np.float32)
    assert run(detector, [empty, speech(2), empty.reshape(0, 1), empty]) == run(detector, [speech(2)])
    assert run(detector, [empty])[1].reason == "empty"


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (np.zeros((4, 3), np.float32), r"\(4, 3\) does not fit a stream of 2 channels"),
        (np.zeros(3, np.float32), r"\(3,\) does not fit a stream of 2 channels"),
        (np.zeros((2, 2, 2), np.float32), "does not fit"),
        (np.float32(1), "does not fit"),
        (np.zeros((4, 2), np.uint16), "uint16 are not supported"),
    ],
)
def test_chunk_that_does_not_fit_is_refused_and_leaves_the_stream_as_it_was(
    detector: Detector, chunk: Any, message: str
) -> None:
    stereo = np.repeat(speech(2)[:, None], 2, axis=1)
    stream = detector.stream(sample_rate=RATE, channels=2)
    stream.feed(stereo)
    with pytest.raises(AudioError, match=message):
        stream.feed(chunk)
    assert stream.finish() == detector.detect((stereo, RATE))


@pytest.mark.parametrize(
    ("rate", "channels"), [(7999, 1), (192_001, 1), (RATE, 0), (RATE, 65), (RATE, "2"), (16_000.5, 1), ("16000", 1)]
)
def test_stream_of_impossible_format_is_refused(detector: Detector, rate: Any, channels: int) -> None:
    with pytest.raises(ConfigurationError, match=r"from 8000|1 to 64"):
        detector.stream(sample_rate=rate, channels=channels)


def test_finished_stream_keeps_its_result_and_can_be_reset(detector: Detector) -> None:
    stream = detector.stream(sample_rate=RATE)
    stream.feed(speech(2))
    result = stream.finish()
    assert stream.finish() is result
    with pytest.raises(ConfigurationError, match="finished"):
        stream.feed(speech(1))
    with pytest.raises(ConfigurationError, match="finished"):
        stream.feed(Lost(5))
    stream.reset()
    assert stream.finish().reason == "empty"
    stream.reset()
    stream.feed(speech(2))
    assert stream.finish() == result


def test_context_manager_finishes_unless_something_went_wrong(detector: Detector) -> None:
    with detector.stream(sample_rate=RATE) as stream:
        stream.feed(speech(2))
    with pytest.raises(ConfigurationError, match="finished"):
        stream.feed(speech(2))
    with pytest.raises(RuntimeError), detector.stream(sample_rate=RATE) as stream:
        raise RuntimeError
    assert stream.feed(speech(0.1)) == []


def test_engine_that_fails_once_costs_one_window_and_no_audio(tiny_bundle: Path) -> None:
    answers = iter([1.0, math.nan])
    fake, _ = detector_with(tiny_bundle, lambda window: next(answers, 1.0))
    stream = fake.stream(sample_rate=RATE)
    with pytest.raises(BundleError, match="not finite"):
        stream.feed(speech(6))
    result = stream.finish()
    assert result.duration == 6
    assert [one.start for one in result.segments] == [0.0, *(i / 2 for i in range(2, 11))]


def chunks_of(signal: Samples, size: int) -> Iterator[Samples]:
    return (signal[start : start + size] for start in range(0, len(signal), size))


def test_hundred_streams_from_eight_threads_are_as_if_one_after_another(tmp_path: Path) -> None:
    detector = Detector(make_bundle(tmp_path / "quick", audio={"window": WINDOW, "hop": HOP, "first_verdict": 1.0}))
    signals = [speech(30)[3 * i * RATE :][: 3 * RATE // 2] for i in range(10)]

    def follow(i: int) -> tuple[list[Event], Result]:
        return run(detector, chunks_of(signals[i % 10], 900 + 37 * i), hop=0.25, scores=True)

    expected = [follow(i) for i in range(10)]
    assert any(of_kind(events, "verdict") for events, _ in expected)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(follow, range(100))) == expected * 10


def test_streams_may_take_turns_in_one_thread(detector: Detector) -> None:
    streams = [detector.stream(sample_rate=RATE) for _ in range(5)]
    signals = [speech(2 + i / 3) for i in range(5)]
    for start in range(0, 4 * RATE, 1000):
        for stream, signal in zip(streams, signals, strict=True):
            stream.feed(signal[start : start + 1000])
    assert [stream.finish() for stream in streams] == [detector.detect((signal, RATE)) for signal in signals]


def state_size(thing: Any, seen: set[int]) -> int:
    """Bytes and items held by an object of ours, everything that it refers to included."""
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        return thing.nbytes + (state_size(thing.base, seen) if thing.base is not None else 0)
    if isinstance(thing, list | tuple | set) or type(thing).__name__ == "deque":
        return 8 + sum(state_size(item, seen) for item in thing)
    inner = list(getattr(thing, "__dict__", {}).values())
    inner += [getattr(thing, name) for name in getattr(type(thing), "__slots__", ()) if hasattr(thing, name)]
    return 8 + sum(state_size(item, seen) for item in inner)


def test_memory_of_a_stream_is_bounded(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty minutes without the gate's network, so that every window is scored, and as many segments as fill ten of them."""
    kept = 10 * 60 * RATE // HOP
    monkeypatch.setattr(windows, "KEPT_SEGMENTS", kept)
    fake, engine = detector_with(tiny_bundle, lambda window: 1.0, speech_gate=False)
    stream = fake.stream(sample_rate=48_000, policy=Policy(scores=True))
    minute = np.repeat(speech(60), 3)
    sizes = []
    for _ in range(20):
        stream.feed(minute)
        sizes.append(state_size(stream._follower, set()))
    result = stream.finish()
    assert engine.windows >= 2 * kept - 1
    assert len(result.segments) == kept
    assert result.segments[-1].end == pytest.approx(20 * 60)
    assert sizes[5] < sizes[9]
    assert max(sizes[10:]) <= sizes[10] + 16_000
    assert max(sizes) < 250_000


def test_recording_keeps_every_segment(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "KEPT_SEGMENTS", 3)
    fake, _ = detector_with(tiny_bundle, lambda window: 1.0, speech_gate=False)
    recorded = fake.detect((speech(10), RATE))
    _, streamed = run(fake, [speech(10)])
    assert len(recorded.segments) == 19
    assert streamed == replace(recorded, segments=recorded.segments[-3:])


def test_policy_without_a_hop_uses_the_bundles(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "slow", audio={"window": WINDOW, "hop": 3 * HOP, "first_verdict": 0.5})
    fake, _ = detector_with(bundle, lambda window: 1.0)
    events, _ = run(fake, [speech(8)])
    assert set(np.diff([event.time for event in of_kind(events, "verdict")])) == {3 * HOP / RATE}
