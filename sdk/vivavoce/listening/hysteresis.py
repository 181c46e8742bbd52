"""The watch: turns the window scores of a running stream into verdicts, speaker after speaker."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ..policy import Alarms, Policy
from ..result import Event, Segment, Verdict
from .verdict import Judge

__all__ = ["Watch"]


class Watch:
    """The verdicts of one stream. Positions and lengths are in samples at the contract's rate.

    Windows that score below that of `alarms` speak for "spoof", those that the judge's band accepts for "bonafide". A side is
    believed once enough windows in a row agree. What lies between speaks for neither, so the last verdict stands; where there
    is none yet, windows between the band's thresholds make it "undecided".
    """

    def __init__(self, policy: Policy, judge: Judge, alarms: Alarms) -> None:
        self._policy, self._judge, self._alarm_below = policy, judge, alarms.below
        contract = judge.contract
        self._hop = round(alarms.hop * contract.sample_rate)
        self._first_verdict = contract.first_verdict * contract.sample_rate
        self._enough = min(contract.minimum_speech * contract.sample_rate, contract.window / 2)
        self._patience = policy.forget_after * contract.sample_rate
        # In step with the grid where the hops are equal, so that most windows are scored once for both.
        self.end = (contract.window - 1) % self._hop + 1
        """Where the next window ends."""
        self._needed = {"spoof": alarms.after, "bonafide": alarms.clear_after, "undecided": alarms.clear_after}
        self._verdict: Verdict | None = None
        self._forget(0)

    def hear(self, silence: int, heard: int) -> None:
        """Takes note that nobody has spoken for `silence` samples, and that there was speech for `heard` in all."""
        if silence > self._patience:
            self._forget(heard)

    def step(self) -> None:
        """Goes on to the next window."""
        self.end += self._hop

    def wants(self, speech: int, heard: int) -> bool:
        """Whether a window with `speech` samples of speech, after `heard` in all, says enough about this speaker."""
        return speech >= self._enough and heard - self._heard_before >= self._first_verdict

    def take(self, segment: Segment, speech: int) -> Iterator[Event]:
        """What follows from one more window, with `speech` samples of speech."""
        if self._policy.scores:
            yield Event("score", segment.start, segment.end, score=segment.score)
        side = self._side(segment.score)
        if side != self._run_side:
            self._begin_run(side)
        self._run.append((segment, speech))
        if len(self._run) == self._needed[side] and self._speaks(side):
            yield self._verdict_on(side)

    def _verdict_on(self, side: Verdict) -> Event:
        score = sum(one.score * weight for one, weight in self._run) / sum(weight for _, weight in self._run)
        changed, self._verdict = side != self._verdict, side
        return Event(
            "verdict",
            self._run[0][0].start,
            self._run[-1][0].end,
            verdict=side,
            score=score,
            probability=self._judge.probability(score),
            threshold=self._alarm_below if side == "spoof" else self._judge.band.accept,
            changed=changed,
            provenance=self._judge.provenance,
        )

    def _side(self, score: float) -> Verdict:
        if score < self._alarm_below:
            return "spoof"
        return "bonafide" if score >= self._judge.band.accept else "undecided"

    def _speaks(self, side: Verdict) -> bool:
        """Whether windows of this side are a verdict: not where they lie between and one stands, or nothing but a limit on
        false alarms keeps them from being spoof."""
        if side != "undecided":
            return True
        between = all(segment.score >= self._judge.band.reject for segment, _ in self._run)
        return between and self._verdict in (None, "undecided")

    def _forget(self, heard: int) -> None:
        """Begins with a new speaker, after speech for `heard` samples."""
        self._heard_before = heard
        self._verdict = None
        self._begin_run("undecided")

    def _begin_run(self, side: Verdict) -> None:
        self._run_side = side
        self._run: deque[tuple[Segment, int]] = deque(maxlen=self._needed[side])
