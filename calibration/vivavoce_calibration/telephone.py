"""Recordings as they come through a telephone: decoded, resampled, coded and decoded again."""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import dataclass

import soundfile

from vivavoce.audio import Samples, Source, load
from vivavoce.errors import ConfigurationError

__all__ = ["LINES", "available", "through"]


@dataclass(frozen=True, slots=True)
class Line:
    """A codec at its sample rate: what libsndfile calls it, or else what ffmpeg does."""

    rate: int
    subtype: str | None = None
    encoder: tuple[str, ...] = ()


LINES: dict[str, Line] = {
    "pcm-8k": Line(8_000, "PCM_16"),
    "pcm-16k": Line(16_000, "PCM_16"),
    "g711-mulaw": Line(8_000, "ULAW"),
    "g711-alaw": Line(8_000, "ALAW"),
    "gsm-fr": Line(8_000, "GSM610"),
    "amr-nb": Line(8_000, encoder=("libopencore_amrnb", "-b:a", "12.2k", "-f", "amr")),
    "amr-wb": Line(16_000, encoder=("libvo_amrwbenc", "-b:a", "12.65k", "-f", "amr")),
}
"""Telephone lines by name. AMR takes an ffmpeg that has the encoder."""


def available(name: str) -> bool:
    """Whether this machine has the codec. Raises ConfigurationError where there is no such line."""
    if name not in LINES:
        raise ConfigurationError(f'There is no telephone line "{name}". Choose one of: {", ".join(LINES)}.')
    line = LINES[name]
    if line.subtype:
        return True
    listed = subprocess.run(["ffmpeg", "-hide_banner", "-encoders"], capture_output=True, text=True) if _ffmpeg() else None
    return listed is not None and line.encoder[0] in listed.stdout


def through(name: str, source: Source) -> tuple[Samples, int]:
    """What arrives of a recording, (n,) and its rate, from the line of that name. Raises as `load` does."""
    line = LINES[name]
    samples = load(source, line.rate)
    with io.BytesIO() as coded:
        soundfile.write(coded, samples.clip(-1, 1), line.rate, format="WAV", subtype=line.subtype or "PCM_16")
        content = coded.getvalue() if line.subtype else _with_ffmpeg(coded.getvalue(), line)
    arrived, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    return arrived[: len(samples)], rate


def _ffmpeg() -> str | None:
    return shutil.which("ffmpeg")


def _with_ffmpeg(wav: bytes, line: Line) -> bytes:
    quiet = ("ffmpeg", "-loglevel", "error", "-i", "pipe:0")
    coded = subprocess.run([*quiet, "-c:a", *line.encoder, "pipe:1"], input=wav, capture_output=True, check=True).stdout
    return subprocess.run([*quiet, "-f", "wav", "pipe:1"], input=coded, capture_output=True, check=True).stdout
