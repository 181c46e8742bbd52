"""Guards a voice agent: audio frames in, "allow", "hold", "step-up" or "deny" out, while the caller is still speaking.

The agent may answer small talk on "hold", acts on requests only on "allow", asks for another proof on "step-up", where the
score lies between two thresholds, and hands over to a person on "deny". The gate changes its mind as often as the evidence
does: a caller who hands the telephone to a loudspeaker is judged again.

python examples/voice_agent_gate.py examples/audio/human_allison_en.flac --accept fpr=10% --reject fnr=5%
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from vivavoce import Detector, Policy, VivavoceError
from vivavoce.audio import load
from vivavoce.result import Verdict

RATE = 16_000

Decision = Literal["allow", "hold", "step-up", "deny"]
DECISIONS: dict[Verdict, Decision] = {"bonafide": "allow", "undecided": "step-up", "spoof": "deny"}


class Gate:
    """One caller. `push` takes a frame of any length, float32 or int16, and gives the decision that now holds.

    `sure` windows in a row are needed for "allow" as for "deny"; until then, and once nobody has spoken for `patience` seconds,
    the decision is "hold": the next voice may be another one.
    """

    def __init__(self, detector: Detector, sample_rate: int, *, sure: int = 2, patience: float = 5.0) -> None:
        policy = Policy(alarm_after=sure, clear_after=sure, forget_after=patience)
        self._stream = detector.stream(sample_rate=sample_rate, policy=policy)
        self._rate, self._patience = sample_rate, patience
        self._time = self._quiet_since = 0.0
        self._speaking = False
        self.decision: Decision = "hold"
        self.score: float | None = None
        """The log-likelihood ratio behind the decision, for the log."""

    def push(self, frame: NDArray[Any]) -> Decision:
        self._time += len(frame) / self._rate
        for event in self._stream.feed(frame):
            if event.kind == "verdict" and event.verdict:
                self.decision = DECISIONS[event.verdict]
                self.score = event.score
            elif event.kind in ("speech-started", "speech-ended"):
                self._speaking = event.kind == "speech-started"
                self._quiet_since = event.time
        if not self._speaking and self._time - self._quiet_since > self._patience:
            self.decision, self.score = "hold", None
        return self.decision


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path, help="a recording that plays the caller")
    parser.add_argument("--frame", type=float, default=0.02, help="seconds of a frame (0.02)")
    parser.add_argument("--sure", type=int, default=1, help="windows in a row that a decision takes (1)")
    parser.add_argument("--accept", help="allow from this threshold on, such as fpr=5%%; `vivavoce info` lists them")
    parser.add_argument("--reject", help="deny below this one, such as fnr=5%%; without both, the bundle's own")
    parser.add_argument("--bundle", type=Path, help="a bundle's folder; the embedded one by default")
    options = parser.parse_args(arguments)

    detector = Detector(options.bundle, accept=options.accept, reject=options.reject)
    voice = load(options.recording, RATE)
    gate = Gate(detector, RATE, sure=options.sure)
    size, shown = round(options.frame * RATE), None
    for start in range(0, len(voice), size):
        if (decision := gate.push(voice[start : start + size])) != shown:
            score = "" if gate.score is None else f"  score {gate.score:+.2f}"
            print(f"{start / RATE:6.2f} s  {decision}{score}")
            shown = decision
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except VivavoceError as error:
        sys.exit(f"Error: {error}")
