"""Recordings as they come through a telephone: decoded, resampled, coded and decoded again."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from vivavoce.audio import Samples, Source, load
from vivavoce.errors import ConfigurationError, needs_extra

__all__ = ["LINES", "available", "through"]


@dataclass(frozen=True, slots=True)
class Line:
    """A codec at its sample rate: what libsndfile calls it, or else FFmpeg's encoder, its container and bits a second."""

    rate: int
    subtype: str | None = None
    encoder: str = ""
    container: str = ""
    bits: int = 0


LINES: dict[str, Line] = {
    "pcm-8k": Line(8_000, "PCM_16"),
    "pcm-16k": Line(16_000, "PCM_16"),
    "g711-mulaw": Line(8_000, "ULAW"),
    "g711-alaw": Line(8_000, "ALAW"),
    "gsm-fr": Line(8_000, "GSM610"),
    "amr-nb": Line(8_000, encoder="libopencore_amrnb", container="amr", bits=12_200),
    "g722": Line(16_000, encoder="g722", container="g722", bits=64_000),
}
"""Telephone lines by name. AMR at 12.2 kbit/s and G.722 at 64 take PyAV, the extra `formats`."""


def available(name: str) -> bool:
    """Whether this machine has the codec. Raises ConfigurationError where there is no such line."""
    if name not in LINES:
        raise ConfigurationError(f'There is no telephone line "{name}". Choose one of: {", ".join(LINES)}.')
    if LINES[name].subtype:
        return True
    try:
        from av.codec import Codec

        Codec(LINES[name].encoder, "w")
    except (ImportError, ValueError):
        return False
    return True


def through(name: str, source: Source) -> tuple[Samples, int]:
    """What arrives of a recording, (n,) and its rate, from the line of that name. Raises as `load` does."""
    line = LINES[name]
    samples = load(source, line.rate).clip(-1, 1)
    return (_with_libsndfile if line.subtype else _with_ffmpeg)(samples, line)[: len(samples)], line.rate


def _with_libsndfile(samples: Samples, line: Line) -> Samples:
    with io.BytesIO() as coded:
        soundfile.write(coded, samples, line.rate, format="WAV", subtype=line.subtype)
        coded.seek(0)
        arrived: Samples = soundfile.read(coded, dtype="float32")[0]
    return arrived


def _with_ffmpeg(samples: Samples, line: Line) -> Samples:
    with needs_extra("formats"):
        import av
    with io.BytesIO() as coded:
        container: Any
        with av.open(coded, "w", format=line.container) as container:
            stream = container.add_stream(line.encoder, rate=line.rate, layout="mono")
            stream.bit_rate = line.bits
            frame = av.AudioFrame.from_ndarray((32_767 * samples).astype(np.int16)[None], format="s16", layout="mono")
            frame.sample_rate = line.rate
            for packets in (stream.encode(frame), stream.encode(None)):
                container.mux(packets)
        coded.seek(0)
        with av.open(coded, format=line.container) as container:
            blocks = [block.to_ndarray() for block in container.decode(audio=0)]
    arrived = np.concatenate(blocks, axis=1)[0]
    scale = np.iinfo(np.int16).max + 1 if arrived.dtype == np.int16 else 1
    heard: Samples = arrived.astype(np.float32) / np.float32(scale)
    return heard
