"""Segments of a recording: where they lie, what scores them, and which stretch of them stands out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vivavoce import ConfigurationError, Detector
from vivavoce.audio import load
from vivavoce.commands.scan_rows import strip
from vivavoce.result import Segment, lowest_stretch

CLIP = Path(__file__).parents[2] / "examples" / "audio" / "human_allison_en.flac"


def made(*scores: float) -> list[Segment]:
    return [Segment(0.5 * place, 0.5 * place + 0.5, score) for place, score in enumerate(scores)]


def test_segments_are_as_long_as_the_hop_and_change_no_verdict(tiny_bundle: Path) -> None:
    detector = Detector(tiny_bundle)
    plain = detector.detect(CLIP)
    found = detector.detect(CLIP, segment_hop=0.25)
    assert replace(found, segments=plain.segments) == plain
    assert len(found.segments) == int(np.ceil(found.duration / 0.25))
    assert all(one.end == pytest.approx(after.start) for one, after in zip(found.segments, found.segments[1:], strict=False))
    assert found.segments[-1].end == found.duration


def test_a_segment_has_the_score_of_the_windows_around_it(tiny_bundle: Path) -> None:
    detector = Detector(tiny_bundle, speech_gate=False)
    manifest, samples = detector.bundle.manifest, load(CLIP, 16_000)
    assert manifest.calibration is not None
    found = detector.detect((samples, 16_000), segment_hop=0.5).segments
    for place in (0, 3, 6):
        begins = [8_000 * (place - 1), 8_000 * place][place == 0 :]
        heard = [np.resize(samples[begin : begin + 16_000], manifest.audio.window) for begin in begins]
        scores = manifest.calibration.scale * detector.engine.score(np.stack(heard)) + manifest.calibration.offset
        assert found[place].score == pytest.approx(scores.mean(), abs=1e-4)


def test_silence_has_no_segments(tiny_bundle: Path) -> None:
    assert Detector(tiny_bundle).detect((np.zeros(64_000, np.float32), 16_000), segment_hop=0.5).segments == ()


@pytest.mark.parametrize(
    ("hop", "message"),
    [
        *((hop, r"segment_hop=.* is not possible. Give 0.05 to") for hop in (0.01, 100, -1, float("nan"))),
        *((hop, r"segment_hop=.* is not a number. Give one") for hop in (True, "0.5")),
    ],
)
def test_hops_that_cannot_be_are_refused(hop: float, message: str, tiny_bundle: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Detector(tiny_bundle).detect(CLIP, segment_hop=hop)
    with pytest.raises(ConfigurationError, match=message):
        Detector(tiny_bundle).detect_many([CLIP], segment_hop=hop)


def test_the_lowest_stretch_is_the_one_that_stands_out() -> None:
    found = lowest_stretch(made(2, 3, 2, -4, -5, 2, 3))
    assert found == Segment(1.5, 2.5, -4.5)
    assert lowest_stretch(made(-3, -3, 1, 1, 1)) == Segment(0.0, 1.0, -3)
    assert lowest_stretch(made(1)) is None


def test_scan_draws_them(tiny_bundle: Path) -> None:
    result = replace(Detector(tiny_bundle).detect(CLIP), segments=tuple(made(0, 8, -8, 8)))
    assert strip(result, ascii_only=False) == "▅█▁█  lowest from 1.00 to 1.50 s, -8.0"
    assert strip(result, ascii_only=True).startswith("+#_#")
    assert strip(replace(result, segments=()), ascii_only=False) == ""
