"""Voice login: enrol, verify, and ask for more where the countermeasure is not sure.

The countermeasure's band decides first, then the speaker verifier. That is a stand-in, means and deviations of cepstra and a
cosine: put your own into `embed`. `voice_login_worth.py` tells on a corpus what the pair is worth. Needs scipy
(`pip install "vivavoce[app,calibrate]"`).

python examples/voice_login.py --enrol examples/audio/human_carlo_it.flac --verify examples/audio/synthetic_pico_it.flac
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.signal import stft

from vivavoce import Detector, VivavoceError
from vivavoce.audio import load

Decision = Literal["accept", "step up", "reject"]
Vector = NDArray[np.floating[Any]]


def embed(path: Path) -> Vector:
    """Means and standard deviations of 19 mel cepstra over the louder half of the frames, (38,)."""
    power = np.abs(stft(load(path, 16_000), 16_000, nperseg=400, noverlap=240, nfft=512)[2]) ** 2
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28) / 2595) - 1) / 8000 * 256
    bins = np.arange(257)[:, None]
    rising, falling = (bins - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - bins) / np.diff(edges)[1:]
    mel = np.log(np.maximum(np.minimum(rising, falling), 0).T @ power + 1e-10)
    voiced = mel[:, mel.mean(axis=0) >= np.median(mel.mean(axis=0))]
    cepstra = dct(voiced, axis=0, norm="ortho")[1:20]
    return np.concatenate([cepstra.mean(axis=1), cepstra.std(axis=1)])


class Login:
    """Enrols people by name, and lets them in: "accept", "step up" (ask for a code) or "reject", with the reason."""

    def __init__(self, detector: Detector, alike: float) -> None:
        self._detector, self._alike = detector, alike
        self._models: dict[str, Vector] = {}

    def enrol(self, name: str, recordings: Sequence[Path]) -> None:
        """Takes somebody's voice. Only living voices: a model of a synthetic one would open the door to it."""
        for recording in recordings:
            if not (result := self._detector.detect(recording)).accepted:
                raise ValueError(f"{recording} cannot enrol anybody: {result}. {result.remedy or 'Record again.'}")
        self._models[name] = np.mean([unit(embed(recording)) for recording in recordings], axis=0)

    def verify(self, name: str, recording: Path) -> tuple[Decision, str]:
        """Whether a recording is of that person, living."""
        result = self._detector.detect(recording)
        if result.verdict == "spoof":
            return "reject", str(result)
        if self._models[name] @ unit(embed(recording)) < self._alike:
            return "reject", "another voice"
        return ("accept", str(result)) if result.accepted else ("step up", f"{result}. {result.remedy}")


def unit(voice: Vector) -> Vector:
    return voice / np.linalg.norm(voice)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--enrol", nargs="+", type=Path, required=True, help="recordings of one person")
    parser.add_argument("--verify", nargs="+", type=Path, required=True, help="recordings of who claims to be that person")
    parser.add_argument("--accept", default="fpr=10%", help="the threshold from which a voice is taken for living")
    parser.add_argument("--reject", default="fnr=10%", help="the threshold below which it is not; between, step up")
    parser.add_argument("--alike", type=float, default=0.8, help="the cosine from which two voices are one person's (0.8)")
    parser.add_argument("--bundle", type=Path, help="a bundle's folder; the embedded one by default")
    options = parser.parse_args(arguments)

    login = Login(Detector(options.bundle, accept=options.accept, reject=options.reject), options.alike)
    login.enrol("you", options.enrol)
    for recording in options.verify:
        decision, why = login.verify("you", recording)
        print(f"{recording}: {decision} ({why})")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (VivavoceError, ValueError) as error:
        sys.exit(f"Error: {error}")
