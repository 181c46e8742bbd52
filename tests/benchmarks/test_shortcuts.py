"""Shortcuts: what says nothing about the speaker moves the embedded bundle's scores and verdicts within measured bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shortcuts
from conftest import SHARED
from numpy.typing import NDArray

from vivavoce import Detector, Result
from vivavoce.decoding.mixing import to_mono

# A change: the most by which the mean of a class may shift (nats) and the largest share of flipped verdicts. What the embedded
# bundle measured stands beside each: on the corpus's clips, then on those of examples/audio. What is loose is a weakness of the
# bundle. `python benchmarks/shortcuts.py CORPUS --write` derives these lines anew.
BOUNDS = {
    # bounds: begin
    "20 dB softer": (0.1, 0.05),  # 0.00 and 0.00, 0.00 and 0.00
    "20 dB louder": (0.1, 0.05),  # 0.00 and 0.00, 0.00 and 0.00
    "1 s of digital silence at both ends": (1.3, 0.15),  # 0.59 and 0.09, 1.17 and 0.00; loose
    "1 s of noise at −80 dB at both ends": (1.2, 0.15),  # 0.59 and 0.09, 1.14 and 0.00; loose
    "leading silence trimmed": (0.2, 0.05),  # 0.09 and 0.00, 0.10 and 0.00
    "begun 1 s later": (0.3, 0.15),  # 0.02 and 0.09, 0.22 and 0.00
    "begun 5 ms later": (0.2, 0.15),  # 0.10 and 0.00, 0.03 and 0.08
    "sampled at 48 kHz": (0.3, 0.15),  # 0.17 and 0.09, 0.11 and 0.00
    "sampled at 8 kHz": (0.7, 0.15),  # 0.61 and 0.09, 0.46 and 0.08; loose
    "stereo, both channels alike": (0.1, 0.05),  # 0.00 and 0.00, 0.00 and 0.00
    "stereo, one channel silent": (0.1, 0.05),  # 0.00 and 0.00, 0.00 and 0.00
    "random band limit": (0.3, 0.15),  # 0.17 and 0.00, 0.17 and 0.08
    "noise suppressed": (0.9, 0.25),  # 0.71 and 0.18, 0.82 and 0.08; loose
    "Opus, 16 kHz": (0.8, 0.05),  # 0.30 and 0.00, 0.67 and 0.00; loose
    "Opus, 8 kHz": (0.8, 0.25),  # 0.72 and 0.18, 0.48 and 0.08; loose
    "Vorbis, 16 kHz": (0.9, 0.05),  # 0.77 and 0.00, 0.32 and 0.00; loose
    "MP3, 16 kHz": (1.1, 0.25),  # 1.05 and 0.18, 0.88 and 0.00; loose
    "µ-law, 8 kHz": (0.7, 0.15),  # 0.63 and 0.09, 0.37 and 0.08; loose
    "A-law, 8 kHz": (0.8, 0.15),  # 0.70 and 0.09, 0.51 and 0.08; loose
    "GSM 06.10, 8 kHz": (1.3, 0.25),  # 1.23 and 0.18, 0.77 and 0.17; loose
    "IMA ADPCM, 16 kHz": (1.1, 0.15),  # 0.96 and 0.09, 0.21 and 0.00; loose
    "accepted bona fide, any codec": (0.3, 0.25),  # 0.23 and 0.19, 0.03 and 0.03; loose
    # bounds: end
}


def measured(detect: Callable[[Any], Result], corpus: Path | None, every: int = 1) -> dict[str, list[Any]]:
    """The pairs of every change, on a corpus's clips or on the examples: on all, or on every second, third, ... of them."""
    return dict(shortcuts.with_summary(dict(shortcuts.measure(detect, shortcuts.read_clips(corpus)[::every]))))


@cache
def embedded() -> tuple[Callable[[Any], Result], list[Any]]:
    """The embedded bundle's detector, and what it answers on the clips as they are."""
    detect = Detector().detect
    return detect, shortcuts.unchanged(detect, shortcuts.read_clips(SHARED / "corpus" if SHARED.is_dir() else None))


@cache
def of_the_embedded_bundle(name: str) -> list[Any]:
    """The pairs of one change, or of all codecs together."""
    if name == shortcuts.ANY_CODEC:
        return shortcuts.with_summary({codec: of_the_embedded_bundle(codec) for codec in shortcuts.BY_CODEC})[name]
    return shortcuts.under(name, *embedded())


def broken(found: Mapping[str, list[Any]]) -> set[str]:
    """The changes under which a detector breaks its bounds."""
    return {name for name, pairs in found.items() if not all(np.less_equal(shortcuts.worst(pairs), BOUNDS[name]))}


@pytest.mark.parametrize("name", BOUNDS)
def test_scores_and_verdicts_stay_within_bounds(name: str) -> None:
    pairs = of_the_embedded_bundle(name)
    shift, flips = shortcuts.worst(pairs)
    assert shift <= BOUNDS[name][0], shortcuts.by_class(pairs)
    assert flips <= BOUNDS[name][1], shortcuts.by_class(pairs)


def test_every_change_is_bounded_and_nearly_every_clip_decided() -> None:
    assert set(BOUNDS) == {*shortcuts.CHANGES, shortcuts.ANY_CODEC}
    assert {pair.key for pair in of_the_embedded_bundle(shortcuts.ANY_CODEC)} == {"bonafide"}
    _, before = embedded()
    assert {answer.clip.key for answer in before} == {"bonafide", "spoof"}
    assert len(before) >= 10


def scorer(hear: Callable[[NDArray[np.float32], int], float]) -> Callable[[Any], Result]:
    """A detector that goes by one property of the samples (n,) and their rate, and accepts what has a positive score."""

    def detect(sound: Any) -> Result:
        samples, rate = sound
        score = hear(to_mono(samples), rate)
        seconds = len(samples) / rate
        return Result("bonafide" if score >= 0 else "spoof", score, None, 0.0, 0.0, None, seconds, seconds)

    return detect


def level(x: NDArray[np.float32], rate: int) -> float:
    return 5 * math.log10(float(np.mean(x**2))) + 17.5


def stillness(x: NDArray[np.float32], rate: int) -> float:
    return 20 * float(np.mean(np.abs(x) < 3e-4)) - 5


def treble(x: NDArray[np.float32], rate: int) -> float:
    power = np.abs(np.fft.rfft(x)) ** 2
    return math.log10(float(np.sum(power[np.fft.rfftfreq(len(x), 1 / rate) > 4200])) / float(np.sum(power)) + 1e-12) + 3


def edge(x: NDArray[np.float32], rate: int) -> float:
    return 2000 * float(np.max(np.abs(x[: rate // 100]))) - 1


@pytest.mark.parametrize(
    ("hear", "caught"),
    [
        (level, {"20 dB softer", "20 dB louder", "stereo, one channel silent"}),
        (stillness, {"1 s of digital silence at both ends", "20 dB softer"}),
        (treble, {"sampled at 8 kHz", "GSM 06.10, 8 kHz", shortcuts.ANY_CODEC}),
        (edge, {"leading silence trimmed", "begun 1 s later"}),
    ],
)
def test_a_detector_that_takes_a_shortcut_is_caught(hear: Callable[..., float], caught: set[str]) -> None:
    assert caught <= broken(measured(scorer(hear), None, every=3))


def test_a_detector_that_hears_none_of_it_passes() -> None:
    assert not broken(measured(scorer(lambda x, rate: 1.0), None, every=6))
