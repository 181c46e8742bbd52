"""Mixing: what no ear would hear is taken off, and no voice is lost among channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import RATE, tone
from speaking import speech

from vivavoce import Detector, Event, Result
from vivavoce.audio import load
from vivavoce.decoding.arrays import Samples
from vivavoce.decoding.mixing import Mixer, to_mono
from vivavoce.sources import ChunkSource, Lost


def mixed(samples: Samples) -> Samples:
    mixer = Mixer(samples.shape[1])
    return np.concatenate([mixer.step(step) for step in np.split(samples, range(512, len(samples), 512))])


@pytest.fixture(scope="module")
def voice() -> Samples:
    return speech(4)


def test_one_channel_without_an_offset_stays_to_the_last_bit(voice: Samples) -> None:
    np.testing.assert_array_equal(load((voice, RATE), RATE), voice)


@pytest.mark.parametrize(("level", "offset"), [(1, 0.9), (0.1, 0.3), (0.01, 0.02), (0.03, -0.1), (0.001, 0.005)])
def test_offset_is_gone_and_the_voice_is_not(voice: Samples, level: float, offset: float) -> None:
    quiet = (level * voice / np.abs(voice).max()).astype(np.float32)
    heard = mixed((quiet + np.float32(offset))[:, None])
    rms = float(np.sqrt((quiet**2).mean()))
    assert abs(float(heard[RATE:].mean())) < 0.1 * abs(offset) + rms
    assert np.corrcoef(heard, quiet)[0, 1] > 0.9
    assert np.abs(np.diff(heard)).max() < np.abs(np.diff(quiet)).max() + 0.05 * abs(offset)


@pytest.mark.parametrize("others", [[-1.0], [-0.99], [0.0] * 63, [0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
def test_voice_that_the_mean_would_lose_is_heard(voice: Samples, others: list[float]) -> None:
    heard = mixed(np.stack([voice, *(voice * np.float32(one) for one in others)], axis=1))
    np.testing.assert_allclose(heard, voice, atol=1e-6)


@pytest.mark.parametrize("right", [1.0, 0.0, 0.3])
def test_mean_is_the_mix_where_it_keeps_the_voice(voice: Samples, right: float) -> None:
    both = np.stack([voice, voice * np.float32(right)], axis=1)
    np.testing.assert_array_equal(mixed(both), to_mono(both))


def test_call_of_two_is_the_mean_of_both(voice: Samples) -> None:
    call = np.stack([voice, np.roll(voice, 2 * RATE)], axis=1)
    np.testing.assert_array_equal(mixed(call), to_mono(call))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 40_000), max_size=6), st.sampled_from([-1.0, 0.5]), st.sampled_from([0.0, 0.4]))
def test_mix_does_not_depend_on_the_chunks(tiny_bundle: Path, cuts: list[int], right: float, offset: float) -> None:
    detector = Detector(tiny_bundle)
    both = np.stack([speech(2), right * speech(2)], axis=1).astype(np.float32) + np.float32(offset)
    stream = detector.stream(RATE, 2)
    for chunk in np.split(both, sorted(min(cut, len(both)) for cut in cuts)):
        stream.feed(chunk)
    assert stream.finish() == detector.detect(both, RATE)


def test_each_channel_is_judged_by_itself(tiny_bundle: Path, voice: Samples) -> None:
    detector = Detector(tiny_bundle)
    both = np.stack([voice, 0.05 * voice], axis=1).astype(np.float32)
    each = detector.detect(both, RATE, channel="each")
    assert [one.channel for one in each] == [0, 1]
    assert each == tuple(detector.detect(both, RATE, channel=number) for number in (0, 1))
    for number, one in enumerate(each):
        alone = detector.detect(both[:, number], RATE)
        assert (one.score, one.verdict) == (alone.score, alone.verdict)
    assert each[0].score != each[1].score


def results(events: list[Event]) -> list[Result]:
    return [event.result for event in events if event.result is not None]


def test_each_channel_of_a_source_has_events_of_its_own(tiny_bundle: Path, voice: Samples) -> None:
    detector = Detector(tiny_bundle)
    both = np.stack([voice, np.zeros_like(voice)], axis=1)
    chunks = [*np.array_split(both, 9), Lost(800)]
    events = list(detector.listen(ChunkSource(chunks, RATE, 2), channel="each"))
    assert {event.channel for event in events} == {0, 1}
    assert {event.kind for event in events if event.channel == 1} == {"gap", "finished"}
    assert [one.channel for one in results(events)] == [0, 1]
    only = list(detector.listen(ChunkSource(chunks, RATE, 2), channel=0))
    assert only == [event for event in events if event.channel == 0]


def test_unusable_sample_of_one_channel_is_counted_once(tiny_bundle: Path) -> None:
    both = np.stack([tone(1), tone(1)], axis=1).astype(np.float32) / 32_768
    both[5, 0] = np.nan
    both[9] = 99
    result = Detector(tiny_bundle).detect(both, RATE)
    assert (result.reason, result.missing) == ("not finite", 2 / RATE)
