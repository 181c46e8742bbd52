"""Recordings of every container that libsndfile and FFmpeg write, made here; see test_containers.py and test_fuzz.py."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

__all__ = ["ENCODINGS", "FFMPEG", "RARE", "RATE", "SILENT", "by_ffmpeg", "encoded", "tone", "wav"]

RATE = 16_000

ENCODINGS = (
    *(("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610")),
    *(("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("CAF", "PCM_16")),
    *(("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")),
)
"""Containers and encodings of libsndfile."""

RARE = (
    *(("AVR", "PCM_16"), ("HTK", "PCM_16"), ("SVX", "PCM_16"), ("MAT4", "PCM_16"), ("MAT5", "FLOAT"), ("MPC2K", "PCM_16")),
    *(("SDS", "PCM_16"), ("VOC", "PCM_U8"), ("VOC", "PCM_16"), ("NIST", "PCM_16"), ("NIST", "ULAW"), ("AU", "G721_32")),
)
"""Others that say how much audio they hold."""

SILENT = (("IRCAM", "PCM_16"), ("PAF", "PCM_16"), ("PVF", "PCM_16"), ("XI", "DPCM_16"))
"""Others that do not."""

FFMPEG = (
    *(("mp4", "aac"), ("matroska", "libopus"), ("webm", "libopus"), ("adts", "aac"), ("latm", "aac"), ("flv", "aac")),
    *(("mpegts", "mp2"), ("avi", "mp2"), ("mov", "pcm_s16le"), ("tta", "tta")),
)
"""Containers and codecs that PyAV's wheels write and libsndfile does not read."""


def tone(seconds: float = 1.0, hertz: float = 440, rate: int = RATE) -> NDArray[np.int16]:
    """A tone of half full scale, (n,)."""
    return (16_384 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.int16)


def encoded(samples: NDArray[Any], container: str, subtype: str | None = None, rate: int = RATE) -> bytes:
    """A file by libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def by_ffmpeg(samples: NDArray[np.int16], container: str, codec: str, rate: int = RATE, **options: str) -> bytes:
    """A file by FFmpeg's libraries, of one channel."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as output:
        stream: Any = output.add_stream(codec, rate=rate, layout="mono")
        fifo = av.AudioFifo()
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = rate
        for converted in av.AudioResampler(stream.format, "mono", rate).resample(frame):
            converted.pts = None
            fifo.write(converted)
        while (piece := fifo.read(stream.codec_context.frame_size or 1024, partial=True)) is not None:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return file.getvalue()


def wav(
    samples: NDArray[Any],
    *,
    size: int | None = None,
    riff: int | None = None,
    after: bytes = b"",
    tag: int = 1,
    rate: int = RATE,
) -> bytes:
    """A WAV of one channel; `size` and `riff` are what its header claims."""
    data, width = samples.tobytes(), samples.itemsize
    form = struct.pack("<IHHIIHH", 16, tag, 1, RATE, RATE * width, width, 8 * width)
    body = b"WAVEfmt " + form + b"data" + struct.pack("<I", len(data) if size is None else size) + data + after
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body
