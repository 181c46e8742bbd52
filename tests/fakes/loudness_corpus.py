"""A corpus made on the spot, for bundles.py: noise, the bona fide clips loud as a rule, the spoofs quiet as a rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

__all__ = ["RATE", "make_corpus"]

RATE = 16_000


def make_corpus(
    path: Path,
    *,
    bonafide: int = 40,
    spoof: int = 60,
    seconds: float = 1.5,
    seed: int = 0,
    subsets: Sequence[str] = ("dev", "eval"),
) -> Path:
    """Writes protocols and clips of noise in ASVspoof 2019 LA's layout; all subsets have as many clips."""
    rng = np.random.default_rng(seed)
    (path / "protocols").mkdir(parents=True)
    for subset in subsets:
        (path / subset).mkdir()
        lines = []
        for number in range(bonafide + spoof):
            genuine = number < bonafide
            name = f"L_{subset[0].upper()}_{number:04}"
            loudness = rng.lognormal(np.log(0.024 if genuine else 0.016), 0.3)
            noise = rng.standard_normal(round(seconds * RATE)) * loudness
            soundfile.write(path / subset / f"{name}.wav", noise, RATE, subtype="FLOAT")
            system, key = ("-", "bonafide") if genuine else (f"S{number % 3}", "spoof")
            lines.append(f"speaker{number % 7} {name} - {system} {key}\n")
        (path / "protocols" / f"loudness.LA.cm.{subset}.trl.txt").write_text("".join(lines), encoding="utf-8")
    return path
