"""Level checks: what makes a signal unfit, and what does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivavoce.audio import Samples, load
from vivavoce.listening.levels import LOUDEST, LevelMeter, is_clipped

CLIPS = sorted(path for path in (Path(__file__).parents[3] / "examples" / "audio").iterdir() if path.suffix != ".md")


@pytest.fixture(scope="module", params=CLIPS, ids=lambda path: path.stem)
def speech(request: pytest.FixtureRequest) -> Samples:
    clip = load(request.param, 16_000)
    return clip / np.abs(clip).max()


@pytest.mark.parametrize("gain", [0.001, 1, 2, 5])
def test_speech_as_it_is_and_limited_to_a_fifth_of_its_peak_can_be_judged(speech: Samples, gain: float) -> None:
    assert not is_clipped(np.clip(gain * speech, -1, 1))


@pytest.mark.parametrize("gain", [50, 1000])
@pytest.mark.parametrize("level", [1, 0.01])
def test_speech_of_which_only_two_levels_are_left_is_clipped(speech: Samples, gain: float, level: float) -> None:
    assert is_clipped(level * np.clip(gain * speech, -1, 1))


def test_silence_is_not_clipped() -> None:
    assert not is_clipped(np.zeros(100, np.float32))
    assert not is_clipped(np.zeros(0, np.float32))


@given(st.lists(st.sampled_from([0.0, 0.5, -1.0, LOUDEST, 11.0, -1e30, np.nan, np.inf, -np.inf]), max_size=30))
def test_meter_counts_what_it_replaces(values: list[float]) -> None:
    samples = np.array(values, np.float32)
    meter = LevelMeter()
    usable = meter.heard(meter.usable(samples[:, None])[:, 0])
    bad = ~np.isfinite(samples)
    loud = np.isfinite(samples) & (np.abs(samples) > LOUDEST)
    np.testing.assert_array_equal(usable, np.where(bad | loud, 0, samples))
    assert (meter.samples, meter.not_finite, meter.out_of_range) == (len(values), bad.sum(), loud.sum())
    assert meter.peak == np.abs(usable).max(initial=0)


@pytest.mark.parametrize(
    ("samples", "strict", "lenient"),
    [
        ([], "empty", "empty"),
        ([0.5], None, None),
        ([0.5, np.nan], "not finite", None),
        ([np.nan, 99.0], "not finite", "silent"),
        ([0.5, 99.0], "out of range", None),
        ([1e-4], "silent", "silent"),
    ],
)
def test_problems(samples: list[float], strict: str | None, lenient: str | None) -> None:
    meter = LevelMeter()
    meter.heard(meter.usable(np.array(samples, np.float32)[:, None])[:, 0])
    assert (meter.problem(strict=True), meter.problem(strict=False)) == (strict, lenient)
