"""A small sample of a corpus that stands for all of it, for activation ranges."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from .corpora import Trial

__all__ = ["representative"]


def representative(trials: Sequence[Trial], count: int) -> list[Trial]:
    """`count` trials, or all where there are fewer, drawn in turn from every group of class, system or source, and codec.

    Each group gives one before any gives a second, and speakers that were drawn come last, so rare systems and codecs are
    there as surely as common ones. The sample is always the same.
    """
    rng = random.Random(0)
    groups: defaultdict[tuple[str, str, str], list[Trial]] = defaultdict(list)
    for trial in rng.sample(list(trials), len(trials)):
        groups[trial.key, trial.group, trial.codec or ""].append(trial)
    queues = [_speakers_in_turn(group) for group in groups.values()]
    rounds = (queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue))
    return [trial for trial, _ in zip(rounds, range(count), strict=False)]


def _speakers_in_turn(group: Sequence[Trial]) -> list[Trial]:
    seen: defaultdict[str | None, int] = defaultdict(int)
    keyed: list[tuple[int, int, Trial]] = []
    for trial in group:
        keyed.append((seen[trial.speaker], len(keyed), trial))
        seen[trial.speaker] += 1
    return [trial for *_, trial in sorted(keyed, key=lambda item: item[:2])]
