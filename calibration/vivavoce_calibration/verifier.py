"""A speaker verifier's scores, for the cost of a countermeasure in front of it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from .corpora import CorpusError
from .metrics import AsvErrorRates, asv_error_rates, eer_threshold

__all__ = ["read_verifier"]

KINDS = ("target", "nontarget", "spoof")


def read_verifier(path: Path) -> AsvErrorRates:
    """The error rates of a verifier at the threshold of its EER between targets and nontargets, from its scores.

    The file has ASVspoof 2019's layout, `SYSTEM KIND SCORE` a line, separated by spaces, the kind being target, nontarget or
    spoof. Raises CorpusError, naming the line, for another layout, and where a kind is missing.
    """
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split()
        try:
            _, kind, score = fields
            scores[kind].append(float(score))
        except ValueError as error:
            raise CorpusError(
                f"{path}, line {number}, is not a system, a kind of trial and a score. Give the layout of ASVspoof 2019."
            ) from error
    if set(scores) != set(KINDS):
        found = ", ".join(scores) or "nothing"
        raise CorpusError(f"{path} has scores for {found}. Give a file with all of: {', '.join(KINDS)}.")
    target, nontarget, spoof = (scores[kind] for kind in KINDS)
    return asv_error_rates(target, nontarget, spoof, eer_threshold(target, nontarget))
