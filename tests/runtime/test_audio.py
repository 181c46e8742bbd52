"""Decoding: what libsndfile reads and arrays of every kind become the same samples; everything else is an AudioError."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vivavoce.audio import Blocks, Resampler, load, open_audio
from vivavoce.decoding.arrays import as_float
from vivavoce.decoding.mixing import to_mono
from vivavoce.errors import AudioError

RATE = 16_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


def encoded(samples: NDArray[Any] = TONE, rate: int = RATE, container: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        *(("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "PCM_U8"), ("WAV", "ULAW"), ("RF64", "PCM_16"), ("AIFF", "PCM_16")),
        *(("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)),
    ],
)
def test_formats_decode_to_the_same_tone(container: str, subtype: str | None) -> None:
    decoded = load(encoded(container=container, subtype=subtype), RATE)
    middle = slice(4000, 12_000)
    spectrum = np.abs(np.fft.rfft(decoded[middle] * np.hanning(8000)))
    assert np.argmax(spectrum) * RATE / 8000 == 440
    assert np.abs(decoded[middle]).max() == pytest.approx(0.5, abs=0.03)


def test_path_bytes_file_and_array_are_the_same_source(tmp_path: Path) -> None:
    path = tmp_path / "tone.flac"
    path.write_bytes(encoded(container="FLAC"))
    samples, rate = soundfile.read(path, dtype="float32")
    expected = load(path, RATE)
    for source in (str(path), path.read_bytes(), memoryview(path.read_bytes()), (samples, rate)):
        np.testing.assert_array_equal(load(source, RATE), expected)
    with path.open("rb") as file:
        np.testing.assert_array_equal(load(file, RATE), expected)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_sample_types_share_one_full_scale(dtype: type[np.generic]) -> None:
    scale = -float(np.iinfo(dtype).min) if np.issubdtype(dtype, np.integer) else 1.0
    converted = as_float((np.array([-1, -0.5, 0, 0.25]) * scale).astype(dtype))
    assert converted.dtype == np.float32
    assert converted.tolist() == [-1, -0.5, 0, 0.25]


def test_values_beyond_float32_become_infinite_without_a_warning() -> None:
    assert np.isinf(as_float(np.array([1e300]))).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.uint64, np.complex64, np.bool_, object, "U1"])
def test_other_sample_types_are_refused(dtype: Any) -> None:
    with pytest.raises(AudioError, match="Give float32, float64, int16 or int32"):
        as_float(np.zeros(3, dtype))


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 1000))
def test_mono_is_the_mean_of_the_channels_however_the_array_lies_in_memory(n: int, channels: int, seed: int) -> None:
    samples = np.random.default_rng(seed).uniform(-1, 1, (n, channels)).astype(np.float32)
    mono = to_mono(samples)
    np.testing.assert_allclose(mono, samples.mean(axis=1, dtype=np.float64), atol=1e-6)
    np.testing.assert_array_equal(mono, to_mono(np.asfortranarray(samples)))
    np.testing.assert_array_equal(mono, np.concatenate([to_mono(row[None]) for row in samples]))


@given(st.integers(1, 20), st.lists(st.integers(0, 60), max_size=10))
def test_blocks_are_of_one_size_and_lose_nothing(size: int, lengths: list[int]) -> None:
    signal = np.arange(sum(lengths), dtype=np.float32)
    blocks = Blocks(size)
    whole = [block for piece in np.split(signal, np.cumsum(lengths)) for block in blocks.feed(piece)]
    rest = blocks.finish()
    assert all(len(block) == size for block in whole)
    assert len(rest) < size
    np.testing.assert_array_equal(np.concatenate([*whole, rest]), signal)
    assert len(blocks.finish()) == 0


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([8000, 11_025, 16_000, 44_100, 48_000, 192_000]), st.integers(0, 30_000), st.integers(0, 99))
def test_resampling_keeps_the_duration(rate: int, length: int, seed: int) -> None:
    samples = np.random.default_rng(seed).normal(0, 0.1, length).astype(np.float32)
    resampler = Resampler(rate, RATE)
    pieces = [resampler.feed(piece) for piece in np.array_split(samples, 7)]
    assert abs(sum(map(len, [*pieces, resampler.finish()])) - length * RATE / rate) <= 1


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000, 192_000])
def test_resampling_keeps_the_tone(rate: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    np.testing.assert_allclose(load((tone, rate), RATE)[2000:-2000], TONE[2000:-2000], atol=1e-3)


def cut_short(content: bytes, share: float) -> bytes:
    return content[: int(len(content) * share)]


@pytest.mark.parametrize("container", ["WAV", "FLAC"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_file_that_was_cut_off_is_refused(container: str, share: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 10 * RATE)
    content = encoded(noise, container=container)
    assert len(load(content, RATE)) == 10 * RATE
    with pytest.raises(AudioError, match=r"cut off.*Copy it again|cannot be decoded"):
        load(cut_short(content, share), RATE)


def test_wav_whose_writer_did_not_know_the_length_is_read() -> None:
    content = bytearray(encoded(subtype="PCM_16"))
    position = content.index(b"data") + 4
    content[position : position + 4] = struct.pack("<I", 0xFFFFFFFF)
    content[4:8] = struct.pack("<I", 0xFFFFFFFF)
    assert len(load(bytes(content), RATE)) == RATE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"This is not a recording.\n" * 100, "cannot be decoded"),
        (b"RIFF\x00\x00\x00\x00WAVE", "cannot be decoded"),
        (b"\x00" * 1000, "cannot be decoded"),
        (encoded()[:20], "cannot be decoded"),
    ],
    ids=["0 bytes", "text", "header alone", "zeros", "20 bytes"],
)
def test_file_that_is_no_recording_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "call.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=rf"call\.wav.*{message}"):
        load(path, RATE)
    with pytest.raises(AudioError):
        load(content, RATE)


def test_damage_within_a_file_is_an_error_of_ours_or_audio(tmp_path: Path) -> None:
    content = bytearray(encoded(np.random.default_rng(0).normal(0, 0.1, 5 * RATE), container="FLAC"))
    content[len(content) // 2 : len(content) // 2 + 2000] = bytes(2000)
    try:
        decoded = load(bytes(content), RATE)
    except AudioError:
        return
    assert len(decoded) == 5 * RATE


@pytest.mark.parametrize(
    "source",
    [
        "no such file.wav",
        Path(),
        3,
        None,
        [0.0, 1.0],
        io.StringIO("text"),
        (TONE,),
        (TONE, RATE, 1),
        (TONE, 7999),
        (TONE, 192_001),
        (TONE, 16_000.5),
        (RATE, TONE),
        (b"RIFF" + bytes(100), RATE),
        TONE,
        (TONE, "16000"),
        (TONE, True),
        (np.zeros((2, 2, 2), np.float32), RATE),
        (np.float32(1), RATE),
        (np.zeros((100, RATE), np.float32), RATE),
        (["a", "b"], RATE),
    ],
    ids=lambda source: type(source).__name__,
)
def test_everything_else_is_refused_with_a_sentence(source: Any) -> None:
    with pytest.raises(AudioError) as caught:
        load(source, RATE)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("rate", [7999, 192_001, 1])
def test_rates_out_of_range_are_refused_in_files_too(rate: int) -> None:
    with pytest.raises(AudioError, match="Rates from 8000 to 192000 Hz"):
        load(encoded(rate=rate), RATE)


@pytest.mark.parametrize("shape", [(0,), (0, 2)])
def test_empty_array_is_audio_without_samples(shape: tuple[int, ...]) -> None:
    assert len(load((np.zeros(shape, np.float32), RATE), RATE)) == 0


def test_hours_are_read_in_blocks_of_ten_seconds() -> None:
    with open_audio((np.zeros((25 * RATE, 2), np.int16), RATE)) as audio:
        assert [len(block) / RATE for block in audio.blocks] == [10, 10, 5]
        assert (audio.rate, audio.channels) == (RATE, 2)
