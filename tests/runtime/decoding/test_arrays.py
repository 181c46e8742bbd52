"""Arrays as people hold them: the same samples give the same answer in whatever they lie, or are refused with the remedy."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recordings import RATE, encoded, tone

from vivavoce import AudioError, ConfigurationError, Detector
from vivavoce.audio import load
from vivavoce.decoding.arrays import as_rate, as_samples, companded

TONE = tone(0.5)
STEREO = np.stack([TONE, np.zeros_like(TONE)], axis=1)


@pytest.mark.parametrize(
    ("held", "tolerance"),
    [
        (TONE.astype(">i2"), 0),
        (TONE.astype(np.int64), 0),
        (TONE.tolist(), 0),
        (TONE.astype(np.int32) << 16, 0),
        (TONE.tobytes(), 0),
        (memoryview(TONE.tobytes()), 0),
        (memoryview(TONE), 0),
        (TONE[None], 0),
        (TONE[:, None], 0),
        (np.stack([TONE, TONE]), 0),
        (np.stack([TONE, TONE], axis=1), 0),
        (TONE.astype(np.float64) / 32_768, 0),
        ((TONE / 32_768).astype(">f4"), 0),
        ((TONE / 32_768).astype(np.float16), 1e-3),
        ((TONE // 256 + 128).astype(np.uint8), 1 / 128),
        ((TONE // 256).astype(np.int8), 1 / 128),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', '')} {getattr(value, 'shape', '')}",
)
def test_same_samples_whatever_they_lie_in(held: Any, tolerance: float) -> None:
    expected = load((TONE, RATE), RATE)
    np.testing.assert_allclose(load((held, RATE), RATE), expected, rtol=0, atol=tolerance)


def test_tensors_with_gradients_and_of_torchs_own_types_are_arrays() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(TONE / np.float32(32_768)).requires_grad_()
    expected = load((TONE, RATE), RATE)
    for held in (tensor, tensor[None], tensor.double()):
        np.testing.assert_array_equal(load((held, RATE), RATE), expected)
    np.testing.assert_allclose(load((tensor.bfloat16(), RATE), RATE), expected, atol=1e-2)


@pytest.mark.parametrize("rate", [16_000.0, np.float32(16_000), np.int16(16_000), np.uint16(16_000), np.array(16_000)])
def test_rate_is_a_whole_number_of_any_type(rate: Any) -> None:
    assert as_rate("It", rate) == RATE
    assert type(as_rate("It", rate)) is int
    assert len(load((np.tile(TONE, 60), rate), RATE)) == 60 * len(TONE)


@pytest.mark.parametrize(
    ("source", "rate", "remedy"),
    [
        ((RATE, TONE), None, "SciPy's order. Give \\(samples, sample_rate\\)"),
        (TONE, None, "detect\\(samples, sample_rate\\)"),
        ({"array": TONE, "sampling_rate": RATE}, None, "Give what is in it: the samples and their rate"),
        ((TONE, RATE), RATE, "Give it once"),
        (b"abc", RATE, "3 bytes are no whole samples"),
        (np.zeros((1, 1, 9)), RATE, "samples\\[0\\]"),
        (np.zeros((70, 90)), RATE, "1 to 64"),
        (TONE.astype(np.uint16), RATE, "astype"),
        (TONE, True, "in hertz"),
        (TONE, 16_000.5, "whole number"),
        (TONE, 10**400, "whole number"),
        ("call.wav", RATE, "Leave sample_rate out"),
        (io.BytesIO(b"x"), RATE, "Leave sample_rate out"),
        (encoded(TONE, "FLAC"), RATE, "like a recording"),
        (encoded(TONE, "WAV"), RATE, "like a recording"),
        (b"\0\0\0\x1cftypM4A \0\0\0\0", RATE, "like a recording"),
        (b"\x1aE\xdf\xa3\x01\0\0\0", RATE, "like a recording"),
        (object(), RATE, "Give a NumPy array|not supported|not audio"),
    ],
    ids=lambda value: "" if isinstance(value, np.ndarray | tuple) else repr(value)[:20],
)
def test_what_cannot_be_told_is_refused_with_the_remedy(source: Any, rate: Any, remedy: str) -> None:
    with pytest.raises(AudioError, match=remedy):
        as_samples(source, rate)


def test_longer_axis_is_time() -> None:
    assert [as_samples(np.zeros(shape), RATE)[0].shape for shape in [(2, 60), (60, 2), (2, 2), (1, 5)]] == [
        *((60, 2), (60, 2), (2, 2), (5, 1)),
    ]


def test_companded_bytes_are_those_of_telephony() -> None:
    # G.711: silence is 0xFF in mu-law and 0xD5 in A-law, which has no zero; the loudest are 0x00 and 0xAA.
    assert [companded("ULAW")[byte] for byte in (0xFF, 0x00, 0x80)] == [0, -32_124, 32_124]
    assert [abs(companded("ALAW")[byte]) for byte in (0xD5, 0xAA)] == [8, 32_256]


def test_detect_takes_samples_and_rate_as_two_arguments(tiny_bundle: Path) -> None:
    detector = Detector(tiny_bundle)
    expected = detector.detect((TONE, RATE))
    assert detector.detect(TONE, RATE) == detector.detect(TONE, sample_rate=16_000.0) == expected
    with detector.stream(RATE) as stream:
        stream.feed(TONE[None])
    assert stream.finish() == expected


@pytest.mark.parametrize("channel", [2, -1, True, "left", None])
def test_channel_that_is_not_there_is_refused(tiny_bundle: Path, channel: Any) -> None:
    with pytest.raises(ConfigurationError, match='Choose one of: "mix", 0, 1'):
        Detector(tiny_bundle).detect(STEREO, RATE, channel=channel)
