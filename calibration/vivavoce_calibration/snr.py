"""How far speech stands out of the noise of a recording, estimated from the recording alone."""

from __future__ import annotations

import numpy as np

from vivavoce.audio import Samples
from vivavoce.listening.speech_gate import CHUNK, SpeechGate

__all__ = ["estimated_snr"]

QUIETEST = 0.1
ROUNDING = 2.0**-30 / 12
"""The power of what rounding to 16 bits adds, so that digital silence has a level."""


def estimated_snr(samples: Samples) -> float | None:
    """The power of the speech in a 16 kHz signal (n,) over that of its quietest tenth, in dB; None where nobody speaks.

    Both are means over chunks of 32 ms, in each of which the speech gate hears speech or not. Where nobody pauses, the quietest
    tenth is speech, and the estimate is too low; where pauses were muted, it tells the muting.
    """
    speech = SpeechGate().feed(samples)
    power = np.square(samples[: len(speech) * CHUNK].astype(np.float64)).reshape(-1, CHUNK).mean(axis=1) + ROUNDING
    if not speech.any():
        return None
    quietest = np.sort(power)[: max(1, round(QUIETEST * len(power)))]
    return float(10 * np.log10(power[speech].mean() / quietest.mean()))
