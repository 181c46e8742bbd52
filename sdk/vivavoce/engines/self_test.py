"""The self test: whether an engine gives, on this machine, the scores that its bundle was packed with."""

from __future__ import annotations

import os

import numpy as np

from ..audio import Samples, load
from ..bundle import Bundle
from ..errors import BundleError
from .engine import Engine

__all__ = ["clip", "self_test", "self_test_audio"]


def self_test(bundle: Bundle, engine: Engine) -> float:
    """The largest deviation, in units of the engine's raw score, over the windows of the bundle's self test.

    The engine passes where it is at most `bundle.manifest.self_test.tolerance`; a score that is not a number gives nan, which
    is not. Raises BundleError where the self test's file is missing, altered, or holds too few samples, and where the
    engine does not run.
    """
    expected = np.array(bundle.manifest.self_test.scores)
    window = bundle.manifest.audio.window
    audio = self_test_audio(bundle)
    if len(audio) < len(expected) * window:
        raise BundleError(
            f"{bundle.manifest.self_test.file} holds {len(audio)} samples; {len(expected)} windows of {window} are announced. "
            f"Pack the bundle again."
        )
    windows = audio[: len(expected) * window].reshape(-1, 1, window)
    try:
        scores = np.concatenate([engine.score(one) for one in windows])
    except Exception as error:  # Runtimes have exceptions of their own, which share no parent.
        raise BundleError(f"{engine.file.file} loads, but does not run: {error}. Pack the bundle again.") from error
    return float(np.abs(scores - expected).max())


def self_test_audio(bundle: Bundle) -> Samples:
    """The self test's audio as mono samples (n,) at the bundle's rate, its file checked against the manifest."""
    manifest = bundle.manifest
    return load(bundle.read(manifest.self_test.file, manifest.self_test.sha256), manifest.audio.sample_rate)


def clip(bundle: Bundle, file: str | os.PathLike[str] | None, seconds: float) -> tuple[Samples, str]:
    """What benchmarks measure on, as mono samples (n,) at the bundle's rate, and what to call it.

    It is the recording `file`, or without one the self test's audio over and over for `seconds`. Raises as `load`.
    """
    rate = bundle.manifest.audio.sample_rate
    if file is not None:
        return load(file, rate), os.fspath(file)
    return np.resize(self_test_audio(bundle), round(seconds * rate)), "the self test's audio, repeated"
